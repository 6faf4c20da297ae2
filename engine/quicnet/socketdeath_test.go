package quicnet

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that has died must end Run with an error: a node that goes on
// without one looks well and serves nobody.
func TestRunEndsWhenTheSocketDies(t *testing.T) {
	for name, kill := range map[string]func(*socket) error{
		"closed": func(s *socket) error { return s.Close() },
		"descriptor taken away": func(s *socket) error {
			raw, err := s.SyscallConn()
			if err != nil {
				return err
			}
			null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(null)
			cerr := raw.Control(func(fd uintptr) { err = unix.Dup3(null, int(fd), unix.O_CLOEXEC) })
			if err == nil {
				err = cerr
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Listen(testConfig(t, 1))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx, func(*Conn) {}) }()
			cl := newClient(t, ClientConfig{})
			dial(t, cl, at(e, "127.0.0.1"), "room")
			if err := kill(e.dial.sock); err != nil {
				t.Fatal(err)
			}
			e.Kernel() // as the engine asks every second
			select {
			case err := <-ended:
				if err == nil {
					t.Fatal("Run says that all is well")
				}
				t.Log(err)
			case <-ctx.Done():
				t.Fatal("Run goes on without a socket")
			}
		})
	}
}
