// Package webtest drives a real browser for tests: it starts Chromium without
// a window and speaks the few words of the DevTools protocol that open a page,
// run a script in it and take its picture.
//
// It is ours, over the WebSocket library the node has anyway: the libraries
// for this generate code for the whole protocol, some hundred thousand lines.
package webtest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Names are the programs that will do.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

const (
	startTime = time.Minute // on a busy machine
	callTime  = 45 * time.Second
	replyMax  = 32 << 20
)

// Browser is a running Chromium.
type Browser struct {
	// Constant after Start.
	t    testing.TB
	conn *websocket.Conn

	// mu guards; a leaf.
	mu      sync.Mutex
	last    int
	waiting map[int]chan reply
	gone    error
}

// reply is a message of the protocol.
type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Start runs a browser until the test ends. wav is what its microphone hears,
// again and again; empty: a beep. A machine without Chromium skips the test.
func Start(tb testing.TB, wav string) *Browser {
	tb.Helper()
	if testing.Short() {
		tb.Skip("a real browser takes seconds to start")
	}
	path := find()
	if path == "" {
		tb.Skipf("no Chromium here (%s): how a real browser fares is not tested", strings.Join(names, ", "))
	}
	args := []string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--disable-background-networking", "--disable-component-update", "--mute-audio", "--remote-debugging-port=0",
		"--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
		"--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
		"--user-data-dir=" + tb.TempDir(),
	}
	if wav != "" {
		args = append(args, "--use-file-for-fake-audio-capture="+wav)
	}
	b := &Browser{t: tb, waiting: map[int]chan reply{}}
	b.connect(run(tb, path, append(args, "about:blank")))
	return b
}

func find() string {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	return ""
}

// run starts the program and returns where it listens.
func run(tb testing.TB, path string, args []string) string {
	tb.Helper()
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has children of its own
	cmd.Env = append(os.Environ(), "HOME="+tb.TempDir())
	out, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	at, drained := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(drained)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if _, addr, ok := strings.Cut(sc.Text(), "DevTools listening on "); ok {
				at <- addr
			}
		}
	}()
	tb.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its group, which we made; it may have ended
		<-drained
		_ = cmd.Wait() // was killed
	})
	select {
	case addr := <-at:
		return addr
	case <-drained:
		tb.Fatal("the browser ended at once")
	case <-time.After(startTime):
		tb.Fatalf("the browser is not ready within %v", startTime)
	}
	return ""
}

func (b *Browser) connect(addr string) {
	c, _, err := websocket.Dial(b.t.Context(), addr, nil) //nolint:bodyclose // the library closes it
	if err != nil {
		b.t.Fatal(err)
	}
	c.SetReadLimit(replyMax)
	b.conn = c
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.listen()
	}()
	b.t.Cleanup(func() {
		_ = c.CloseNow() // the browser goes next
		<-done
	})
}

// listen hands answers to who waits for them.
func (b *Browser) listen() {
	for {
		_, text, err := b.conn.Read(context.Background())
		if err != nil {
			b.mu.Lock()
			b.gone = err
			for _, w := range b.waiting {
				close(w)
			}
			clear(b.waiting)
			b.mu.Unlock()
			return
		}
		var r reply
		if json.Unmarshal(text, &r) != nil || r.ID == 0 {
			continue // an event
		}
		b.mu.Lock()
		w := b.waiting[r.ID]
		delete(b.waiting, r.ID)
		b.mu.Unlock()
		if w != nil {
			w <- r
		}
	}
}

// call asks the browser for something and waits for the answer.
func (b *Browser) call(session, method string, params, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	w := make(chan reply, 1)
	b.mu.Lock()
	if b.gone != nil {
		b.mu.Unlock()
		return b.gone
	}
	b.last++
	id := b.last
	b.waiting[id] = w
	b.mu.Unlock()
	m := map[string]any{"id": id, "method": method, "params": params}
	if session != "" {
		m["sessionId"] = session
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := b.conn.Write(ctx, websocket.MessageText, text); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	case r, ok := <-w:
		switch {
		case !ok:
			return errors.New("the browser is gone")
		case r.Error != nil:
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(r.Result, result)
	}
}

// Page is one tab.
type Page struct {
	b       *Browser
	session string
}

// Open opens a page of that size and waits until it is loaded.
func (b *Browser) Open(url string, width, height int, dark bool) *Page {
	b.t.Helper()
	var target struct{ TargetID string }
	var session struct{ SessionID string }
	b.must(b.call("", "Target.createTarget", map[string]any{"url": "about:blank", "newWindow": true, "width": width, "height": height}, &target))
	b.must(b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session))
	p := &Page{b, session.SessionID}
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	b.must(b.call(p.session, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil))
	b.must(b.call(p.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 2, "mobile": false}, nil))
	var nav struct{ ErrorText string }
	b.must(b.call(p.session, "Page.navigate", map[string]any{"url": url}, &nav))
	if nav.ErrorText != "" {
		b.t.Fatalf("%s: %s", url, nav.ErrorText)
	}
	p.Until("document.readyState === 'complete' && location.href !== 'about:blank'")
	return p
}

func (b *Browser) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// Eval runs a script, waits for its promise if it is one, and puts its value
// into result unless that is nil. It may do what a click may.
func (p *Page) Eval(script string, result any) error {
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	switch {
	case err != nil:
		return err
	case r.ExceptionDetails != nil:
		return fmt.Errorf("script: %s %s", r.ExceptionDetails.Text, r.ExceptionDetails.Exception.Description)
	case result == nil || len(r.Result.Value) == 0:
		return nil
	}
	return json.Unmarshal(r.Result.Value, result)
}

// Must is Eval, or the end of the test.
func (p *Page) Must(script string, result any) {
	p.b.t.Helper()
	p.b.must(p.Eval(script, result))
}

// Until asks again and again until a script's value is true.
func (p *Page) Until(script string) {
	p.b.t.Helper()
	var ok bool
	p.Value("Boolean("+script+")", &ok)
}

// Value asks again and again until a script's value is neither false nor nothing,
// and puts it into result.
func (p *Page) Value(script string, result any) {
	p.b.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var err error
	for end := time.Now().Add(callTime); time.Now().Before(end); <-tick.C {
		var v json.RawMessage
		if err = p.Eval(script, &v); err == nil && len(v) > 0 && string(v) != "false" && string(v) != "null" {
			p.b.must(json.Unmarshal(v, result))
			return
		}
	}
	var text string
	_ = p.Eval("document.body.innerText + JSON.stringify(globalThis.signalbox?.stats())", &text) // only to tell more
	p.b.t.Fatalf("gave up waiting for %s (%v); the page says:\n%s", script, err, text)
}

// Shoot writes a PNG of the page.
func (p *Page) Shoot(file string) {
	p.b.t.Helper()
	var shot struct{ Data string }
	p.b.must(p.b.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot))
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	p.b.must(err)
	p.b.must(os.WriteFile(filepath.Clean(file), png, 0o644)) //nolint:gosec // a picture for everybody
}
