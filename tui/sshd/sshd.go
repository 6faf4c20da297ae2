// Package sshd is the console's front door: an SSH server that shows the
// console to holders of listed keys and does nothing else. There are no
// passwords, no commands, no subsystems, no forwarding and no agents; a session
// without a terminal is told so and ends.
//
// Who comes in is decided by an authorized_keys file of its own, read anew
// whenever it has changed (ReadKeys). Connections that have not proved who they
// are, and sessions, are bounded, and a terminal that stops reading is cut.
//
// Goroutines: those of the SSH library, per connection; per session the
// console's and one watch. Locks: mu guards the counts and the cached file, and
// is held for no longer than reading that file takes.
package sshd

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"

	"signalbox/engine/control"
	"signalbox/engine/view"
	"signalbox/tui"
	"signalbox/tui/style"
)

// Limits.
const (
	maxSessions  = 8
	maxStrangers = 16 // connections that have not proved who they are
	maxPerHost   = 4  // of these, from one address
	loginTime    = 10 * time.Second
	maxTries     = 6
	stuckAfter   = 30 * time.Second // in one write: the terminal no longer reads
	logEvery     = 10 * time.Second // refusals are told at most so often
)

// Options configure a Server. All but Log and Event are required.
type Options struct {
	HostKey ed25519.PrivateKey
	Keys    string                                         // authorized_keys file
	Seat    func(author string, r control.Role) tui.Source // the node, for one visitor
	Title   string
	Theme   style.Theme // of every console; empty: what each terminal asks for
	Log     *slog.Logger
	Event   func(view.Event)
}

// Server serves consoles over SSH.
type Server struct {
	// Constant after New.
	opt Options
	srv *ssh.Server

	mu        sync.Mutex
	strangers map[netip.Addr]int
	waiting   int
	sessions  int
	grants    []Grant
	read      fileState // of the file the grants are from
	readErr   error
	refused   int
	told      time.Time
}

// fileState tells whether a file has changed.
type fileState struct {
	mod  time.Time
	size int64
	mode os.FileMode
}

// Keys of the connection's context.
type (
	grantKey  struct{}
	settleKey struct{}
)

// New makes a server. It fails when the key file cannot be used.
func New(opt Options) (*Server, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Event == nil {
		opt.Event = func(view.Event) {}
	}
	signer, err := gossh.NewSignerFromKey(opt.HostKey)
	if err != nil {
		return nil, fmt.Errorf("sshd: host key: %w", err)
	}
	s := &Server{opt: opt, strangers: map[netip.Addr]int{}}
	if _, err := s.grantsNow(); err != nil {
		return nil, err
	}
	s.srv = &ssh.Server{
		Handler: s.session, HostSigners: []ssh.Signer{signer}, Version: "signalbox",
		PublicKeyHandler: s.login, ConnCallback: s.admit, ConnectionFailedCallback: s.failed,
		PtyCallback:     func(ssh.Context, ssh.Pty) bool { return true },
		ChannelHandlers: map[string]ssh.ChannelHandler{"session": s.channel},
		RequestHandlers: map[string]ssh.RequestHandler{}, SubsystemHandlers: map[string]ssh.SubsystemHandler{},
		ServerConfigCallback: func(ssh.Context) *gossh.ServerConfig { return &gossh.ServerConfig{MaxAuthTries: maxTries} },
	}
	return s, nil
}

// Fingerprint is the host key's, as ssh shows it.
func (s *Server) Fingerprint() string {
	return gossh.FingerprintSHA256(s.srv.HostSigners[0].PublicKey())
}

// Serve answers on l until ctx ends, and returns once every session has ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		if err := s.srv.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.opt.Log.Debug("sshd: close", "err", err)
		}
	})
	defer stop()
	err := s.srv.Serve(l)
	if errors.Is(err, ssh.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// grantsNow returns what the key file says, reading it when it has changed.
func (s *Server) grantsNow() ([]Grant, error) {
	st, err := os.Stat(s.opt.Keys)
	if err != nil {
		return nil, fmt.Errorf("sshd: %w", err)
	}
	now := fileState{st.ModTime(), st.Size(), st.Mode()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now != s.read {
		s.grants, s.readErr = ReadKeys(s.opt.Keys)
		s.read = now
	}
	return s.grants, s.readErr
}

// admit is asked about every connection before anything is read from it.
func (s *Server) admit(ctx ssh.Context, c net.Conn) net.Conn {
	host := hostOf(c.RemoteAddr())
	s.mu.Lock()
	full := s.waiting >= maxStrangers || s.strangers[host] >= maxPerHost
	if !full {
		s.waiting++
		s.strangers[host]++
	}
	s.mu.Unlock()
	if full {
		s.refuse(host, "too many connections that have not logged in")
		return nil
	}
	limit := time.AfterFunc(loginTime, func() { _ = c.Close() }) // its reader finds out
	settle := sync.OnceFunc(func() {
		limit.Stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiting--
		if s.strangers[host]--; s.strangers[host] <= 0 {
			delete(s.strangers, host)
		}
	})
	ctx.SetValue(settleKey{}, settle)
	return &conn{c, settle}
}

// conn is a connection on probation until it opens a session.
type conn struct {
	net.Conn
	settle func()
}

// Close ends the probation too.
func (c *conn) Close() error {
	c.settle()
	return c.Conn.Close()
}

// login decides about one key. The library guarantees that the last key asked
// about is the one the client has proved to hold.
func (s *Server) login(ctx ssh.Context, key ssh.PublicKey) bool {
	ctx.SetValue(grantKey{}, (*Grant)(nil))
	host := hostOf(ctx.RemoteAddr())
	grants, err := s.grantsNow()
	if err != nil {
		s.refuse(host, "the key file cannot be used: "+err.Error())
		return false
	}
	for i := range grants {
		g := &grants[i]
		if !ssh.KeysEqual(g.Key, key) {
			continue
		}
		if !g.allows(host) {
			s.refuse(host, "a listed key, which may not be used from there")
			return false
		}
		ctx.SetValue(grantKey{}, g)
		return true
	}
	return false
}

func (s *Server) failed(c net.Conn, err error) {
	s.refuse(hostOf(c.RemoteAddr()), "not logged in: "+err.Error())
}

// refuse tells of refusals, a burst of them once.
func (s *Server) refuse(host netip.Addr, why string) {
	now := time.Now()
	s.mu.Lock()
	s.refused++
	n := s.refused
	tell := now.Sub(s.told) >= logEvery
	if tell {
		s.told, s.refused = now, 0
	}
	s.mu.Unlock()
	if tell {
		s.opt.Event(view.Event{
			Kind: "ssh.refused", Severity: view.Warn, Subject: host.String(),
			Message: fmt.Sprintf("%d refused over SSH, the last from %s: %s", n, host, why), Fields: map[string]any{"count": n},
		})
	}
}

// channel lets a connection that has logged in open sessions, and nothing else.
func (s *Server) channel(srv *ssh.Server, c *gossh.ServerConn, ch gossh.NewChannel, ctx ssh.Context) {
	if settle, ok := ctx.Value(settleKey{}).(func()); ok {
		settle()
	}
	ssh.DefaultSessionHandler(srv, c, ch, ctx)
}

func hostOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
