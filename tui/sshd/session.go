package sshd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"

	"signalbox/engine/view"
	"signalbox/tui"
)

// session shows the console to one visitor.
func (s *Server) session(sess ssh.Session) {
	g, _ := sess.Context().Value(grantKey{}).(*Grant)
	pty, sizes, hasTerminal := sess.Pty()
	switch {
	case g == nil:
		s.bye(sess, 255, "not logged in")
	case len(sess.RawCommand()) > 0 || !hasTerminal:
		s.bye(sess, 64, "there is a console here and nothing else: ssh -t, and no command")
	case !s.sit():
		s.bye(sess, 75, fmt.Sprintf("all %d seats are taken", maxSessions))
	default:
		defer s.rise()
		s.console(sess, g, pty, sizes)
	}
}

func (s *Server) bye(sess ssh.Session, code int, text string) {
	_, err := io.WriteString(sess, "signalbox: "+text+"\r\n")
	if eerr := sess.Exit(code); err == nil {
		err = eerr
	}
	if err != nil {
		s.opt.Log.Debug("sshd: goodbye", "err", err)
	}
}

func (s *Server) sit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions >= maxSessions {
		return false
	}
	s.sessions++
	return true
}

func (s *Server) rise() {
	s.mu.Lock()
	s.sessions--
	s.mu.Unlock()
}

// console runs a console in the session until its visitor leaves, its line
// breaks or it stops reading.
func (s *Server) console(sess ssh.Session, g *Grant, pty ssh.Pty, sizes <-chan ssh.Window) {
	ctx, cancel := context.WithCancel(sess.Context())
	defer cancel()
	from := hostOf(sess.RemoteAddr())
	s.opt.Event(view.Event{
		Kind: "ssh.session", Subject: from.String(), Message: fmt.Sprintf("console opened by %s as %s", g.Author(), g.Role),
		Fields: map[string]any{"key": gossh.FingerprintSHA256(g.Key), "role": string(g.Role)},
	})
	out := &watched{w: sess}
	go out.watch(ctx, func() {
		s.opt.Event(view.Event{Kind: "ssh.stuck", Severity: view.Warn, Subject: from.String(), Message: "a terminal no longer reads; its session is cut"})
		cancel()
		_ = sess.Context().Value(ssh.ContextKeyConn).(gossh.Conn).Close() // the library always sets it; nobody is left to be told
	})
	err := s.run(ctx, sess, out, g, pty, sizes)
	why := "closed"
	code := 0
	if err != nil {
		why, code = err.Error(), 1
		s.opt.Log.Error("sshd: console", "err", err)
		s.bye(sess, code, "the console failed, the node is not affected; connect again")
	}
	s.opt.Event(view.Event{Kind: "ssh.session", Subject: from.String(), Message: fmt.Sprintf("console of %s ended: %s", g.Author(), why)})
}

func (s *Server) run(ctx context.Context, sess ssh.Session, out io.Writer, g *Grant, pty ssh.Pty, sizes <-chan ssh.Window) error {
	resize := make(chan tui.Size)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case w, ok := <-sizes:
				if !ok {
					return
				}
				select {
				case resize <- clamp(w):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	size := clamp(pty.Window)
	return tui.Run(ctx, s.opt.Seat(g.Author(), g.Role), tui.RunOptions{
		Options: tui.Options{Role: g.Role, Title: s.opt.Title, Theme: s.opt.Theme}, In: sess, Out: out, Env: environment(pty.Term, sess.Environ()),
		Width: size.Width, Height: size.Height, Resize: resize,
	})
}

// clamp keeps a size that a visitor claims within reason.
func clamp(w ssh.Window) tui.Size {
	return tui.Size{Width: min(max(w.Width, 1), 500), Height: min(max(w.Height, 1), 200)}
}

// environment keeps of what a visitor sends what describes a terminal.
func environment(term string, env []string) []string {
	out := []string{"TERM=" + term}
	for _, e := range env {
		k, _, _ := strings.Cut(e, "=")
		if (k == "COLORTERM" || k == "NO_COLOR" || k == "LANG" || strings.HasPrefix(k, "LC_")) && len(out) < 16 && len(e) < 256 {
			out = append(out, e)
		}
	}
	return out
}

// watched is a writer that knows since when it has been at one write.
type watched struct {
	w     io.Writer
	since atomic.Int64 // Unix ns; 0: not writing
}

// Write writes, watched.
func (w *watched) Write(b []byte) (int, error) {
	w.since.Store(time.Now().UnixNano())
	defer w.since.Store(0)
	return w.w.Write(b)
}

// watch calls cut once when a write takes too long, and ends with ctx.
func (w *watched) watch(ctx context.Context, cut func()) {
	t := time.NewTicker(stuckAfter / 10)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if since := w.since.Load(); since != 0 && now.UnixNano()-since > int64(stuckAfter) {
				cut()
				return
			}
		}
	}
}
