package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui"
	"signalbox/tui/internal/sample"
)

func signer(t testing.TB) gossh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gossh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func line(options string, s gossh.Signer, comment string) string {
	return strings.TrimSpace(options + " " + strings.TrimSpace(string(gossh.MarshalAuthorizedKey(s.PublicKey()))) + " " + comment)
}

// door is a server under test with what it reported.
type door struct {
	t    *testing.T
	addr string
	keys string
	srv  *Server
	stop func()

	mu     sync.Mutex
	events []view.Event
	seats  []string
}

func open(t *testing.T, lines ...string) *door {
	t.Helper()
	d := &door{t: t, keys: filepath.Join(t.TempDir(), "keys")}
	d.write(lines...)
	_, host, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d.srv, err = New(Options{
		HostKey: host, Keys: d.keys,
		Seat: func(author string, r control.Role) tui.Source {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.seats = append(d.seats, author+" "+string(r))
			return sample.NewSource(sample.HotShard, 40)
		},
		Event: func(e view.Event) { d.mu.Lock(); d.events = append(d.events, e); d.mu.Unlock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.srv.Serve(ctx, l) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(d.stop)
	return d
}

func (d *door) write(lines ...string) {
	d.t.Helper()
	if err := os.WriteFile(d.keys, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *door) dial(signers ...gossh.Signer) (*gossh.Client, error) {
	return gossh.Dial("tcp", d.addr, &gossh.ClientConfig{
		User: "anybody", Auth: []gossh.AuthMethod{gossh.PublicKeys(signers...)}, Timeout: 5 * time.Second,
		HostKeyCallback: func(_ string, _ net.Addr, key gossh.PublicKey) error {
			if got := gossh.FingerprintSHA256(key); got != d.srv.Fingerprint() {
				return fmt.Errorf("host key %s", got)
			}
			return nil
		},
	})
}

// screen collects what a console sends.
type screen struct {
	mu   sync.Mutex
	b    bytes.Buffer
	news chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Write(b)
	select {
	case s.news <- struct{}{}:
	default:
	}
	return len(b), nil
}

// wait returns once text was sent.
func (s *screen) wait(t *testing.T, text string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		ok := strings.Contains(s.b.String(), text)
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.news:
		case <-limit:
			t.Fatalf("%q never came; there was %q", text, s.b.String())
		}
	}
}

// console opens a session with a terminal.
func console(t *testing.T, c *gossh.Client) (*gossh.Session, *screen, io.WriteCloser) {
	t.Helper()
	sess, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	scr := &screen{news: make(chan struct{}, 1)}
	sess.Stdout = scr
	in, err := sess.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sess.RequestPty("xterm-256color", 30, 100, nil); err != nil {
		t.Fatal(err)
	}
	if err := sess.Shell(); err != nil {
		t.Fatal(err)
	}
	return sess, scr, in
}

func TestAnOperatorSeesAndActs(t *testing.T) {
	op := signer(t)
	d := open(t, line("role=operator", op, "ada@home"))
	c, err := d.dial(op)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sess, scr, in := console(t, c)
	scr.wait(t, "operator")
	if err := sess.WindowChange(40, 120); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(in, "2p")
	scr.wait(t, "this is what the node would do")
	fmt.Fprint(in, "\x03")
	fmt.Fprint(in, "q")
	if err := sess.Wait(); err != nil {
		t.Fatalf("q ended with %v", err)
	}
	if want := "ssh:ada@home " + gossh.FingerprintSHA256(op.PublicKey()) + " operator"; !slices.Contains(d.seats, want) {
		t.Fatalf("seats %q, want %q", d.seats, want)
	}
}

func TestAViewerHasNoKeysThatAct(t *testing.T) {
	v := signer(t)
	d := open(t, line("", v, "")) // no role: the lesser one
	c, err := d.dial(v)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, scr, in := console(t, c)
	scr.wait(t, "viewer")
	fmt.Fprint(in, "2p?")
	scr.wait(t, "the keys that change the node are absent")
	scr.mu.Lock()
	defer scr.mu.Unlock()
	if strings.Contains(scr.b.String(), "this is what the node would do") {
		t.Fatal("a viewer was shown a plan")
	}
}

// TestAPanicEndsOneSession: what goes wrong in one visitor's console is told to
// that visitor; the other sees nothing of it.
func TestAPanicEndsOneSession(t *testing.T) {
	op, v := signer(t), signer(t)
	d := open(t, line("role=operator", op, ""), line("role=viewer", v, ""))
	seat := d.srv.opt.Seat
	bad := &faulty{Source: sample.NewSource(sample.HotShard, 40)}
	d.srv.opt.Seat = func(author string, r control.Role) tui.Source {
		if r == control.Viewer {
			return bad
		}
		return seat(author, r)
	}
	c1, err := d.dial(v)
	if err != nil {
		t.Fatal(err)
	}
	defer c1.Close()
	c2, err := d.dial(op)
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	ends, scr1, _ := console(t, c1)
	_, scr2, in2 := console(t, c2)
	scr1.wait(t, "viewer")
	scr2.wait(t, "operator")
	bad.broken.Store(true)
	var ee *gossh.ExitError
	if err := ends.Wait(); !errors.As(err, &ee) || ee.ExitStatus() != 1 {
		t.Errorf("the session ended with %v", err)
	}
	scr1.wait(t, "the node is not affected")
	fmt.Fprint(in2, "3")
	scr2.wait(t, "rooms, worst first")
}

// faulty fails on demand.
type faulty struct {
	*sample.Source
	broken atomic.Bool
}

func (f *faulty) Snapshot() *view.Snapshot {
	if f.broken.Load() {
		panic("planted")
	}
	return f.Source.Snapshot()
}

// TestTheRoleIsThatOfTheKeyThatWasProved offers an operator's public key
// first, without holding it, and logs in with a viewer's.
func TestTheRoleIsThatOfTheKeyThatWasProved(t *testing.T) {
	op, v := signer(t), signer(t)
	d := open(t, line("role=operator", op, ""), line("role=viewer", v, ""))
	c, err := d.dial(thief{op.PublicKey()}, v)
	if err != nil {
		c, err = d.dial(v)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, scr, _ := console(t, c)
	scr.wait(t, "viewer")
	for _, s := range d.seats {
		if strings.HasSuffix(s, "operator") {
			t.Fatalf("seats %q", d.seats)
		}
	}
}

// thief knows a public key only.
type thief struct{ pub gossh.PublicKey }

func (t thief) PublicKey() gossh.PublicKey { return t.pub }
func (thief) Sign(io.Reader, []byte) (*gossh.Signature, error) {
	return &gossh.Signature{Format: gossh.KeyAlgoED25519, Blob: make([]byte, 64)}, nil
}

func TestWhoIsRefused(t *testing.T) {
	known, far := signer(t), signer(t)
	d := open(t, line("", known, ""), line(`role=operator,from="192.0.2.0/24"`, far, ""))
	if _, err := d.dial(signer(t)); err == nil {
		t.Fatal("a stranger was let in")
	}
	if _, err := d.dial(far); err == nil {
		t.Fatal("a key was accepted from where it may not be used")
	}
	if _, err := gossh.Dial("tcp", d.addr, &gossh.ClientConfig{
		User: "root", Auth: []gossh.AuthMethod{gossh.Password("root")}, HostKeyCallback: gossh.InsecureIgnoreHostKey(), //nolint:gosec // the server's own test
	}); err == nil {
		t.Fatal("a password was accepted")
	}
	d.mu.Lock()
	if len(d.events) == 0 || d.events[0].Kind != "ssh.refused" {
		t.Errorf("events %+v", d.events)
	}
	d.mu.Unlock()
	d.write("# nobody") // the file is read anew
	if _, err := d.dial(known); err == nil {
		t.Fatal("a key that was taken out is let in")
	}
	d.write("garbage", line("", known, ""))
	if _, err := d.dial(known); err == nil {
		t.Fatal("a file with a line that is not understood lets somebody in")
	}
}

func TestThereIsAConsoleAndNothingElse(t *testing.T) {
	op := signer(t)
	d := open(t, line("role=operator", op, ""))
	c, err := d.dial(op)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sess, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := sess.CombinedOutput("cat /etc/passwd")
	var ee *gossh.ExitError
	if !errors.As(err, &ee) || ee.ExitStatus() != 64 || !strings.Contains(string(out), "nothing else") {
		t.Errorf("a command: %q, %v", out, err)
	}
	if sess, err = c.NewSession(); err != nil {
		t.Fatal(err)
	}
	if err := sess.RequestSubsystem("sftp"); err == nil {
		t.Error("a subsystem was granted")
	}
	if _, err := c.Dial("tcp", "127.0.0.1:22"); err == nil {
		t.Error("a connection was forwarded")
	}
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("a port was forwarded")
	}
	for range maxSessions {
		_, scr, _ := console(t, c)
		scr.wait(t, "operator")
	}
	_, scr, _ := console(t, c)
	scr.wait(t, "seats are taken")
}

func TestStrangersAreBounded(t *testing.T) {
	op := signer(t)
	d := open(t, line("role=operator", op, ""))
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for range maxPerHost {
		c, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		b := make([]byte, 4) // its banner: it has been admitted
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.dial(op); err == nil {
		t.Fatal("one host holds more than its share of the door")
	}
	for _, c := range held {
		_ = c.Close()
	}
	held = nil
	for i := 0; ; i++ { // the places are free again as soon as the server has noticed
		c, err := d.dial(op)
		if err == nil {
			_ = c.Close()
			break
		}
		if i == 1000 {
			t.Fatal(err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	k := signer(t)
	good, err := ParseKeys([]byte("\n# x\n" + line(`role=operator,from="10.0.0.0/8,2001:db8::1"`, k, "ada \x1b[2J") + "\n"))
	if err != nil || len(good) != 1 || good[0].Role != control.Operator || len(good[0].From) != 2 || strings.Contains(good[0].Comment, "\x1b") {
		t.Fatalf("%+v, %v", good, err)
	}
	if a := netip.MustParseAddr("::ffff:10.1.2.3"); !good[0].allows(a) {
		t.Error("a mapped address is the address")
	}
	for _, bad := range []string{
		"nonsense", line("no-pty", k, ""), line("role=root", k, ""), line(`from="*.example.org"`, k, ""), line(`from="!10.0.0.1"`, k, ""),
		line(`command="sh"`, k, ""), line(`from=""`, k, ""),
	} {
		if _, err := ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	path := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(path, []byte(line("", k, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeys(path); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a file anybody may write: %v", err)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(line(`role=operator,from="10.0.0.0/8"`, signer(f), "x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		gs, err := ParseKeys(b)
		for _, g := range gs {
			if g.Key == nil || g.Role != control.Viewer && g.Role != control.Operator {
				t.Fatalf("%+v, %v", g, err)
			}
		}
	})
}

// TestAStuckTerminalIsCut blocks a writer for longer than is allowed.
func TestAStuckTerminalIsCut(t *testing.T) {
	w := &watched{w: io.Discard}
	w.since.Store(time.Now().Add(-2 * stuckAfter).UnixNano())
	cut := make(chan struct{})
	go w.watch(t.Context(), func() { close(cut) })
	<-cut
}
