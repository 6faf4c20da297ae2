package quicnet

import (
	"net"
	"sync"
	"syscall"
)

// NewFreezableClient is NewClient with a Gate that can stop its traffic, for
// tests and demos that need a peer which is there but does nothing, as a
// stopped process or a sleeping telephone.
func NewFreezableClient(cfg ClientConfig) (*Client, *Gate, error) {
	g := &Gate{open: make(chan struct{})}
	close(g.open)
	c, err := makeClient(cfg, g)
	if err != nil {
		return nil, nil, err
	}
	return c, g, nil
}

// Gate stops a client's socket. While it is frozen the client sends nothing
// and reads nothing; what arrives waits in the kernel's buffer, or is lost
// there, exactly as with a stopped process. Calls that send may block.
type Gate struct {
	// mu guards; a leaf.
	mu     sync.Mutex
	open   chan struct{} // closed while traffic passes
	frozen bool
	ended  bool
}

// Freeze stops (true) or resumes (false) the client's traffic. It returns
// ErrClosed after the client has been closed.
func (g *Gate) Freeze(on bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ended:
		return ErrClosed
	case on && !g.frozen:
		g.open = make(chan struct{})
	case !on && g.frozen:
		close(g.open)
	}
	g.frozen = on
	return nil
}

// Frozen says whether traffic is stopped.
func (g *Gate) Frozen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.frozen
}

// end opens the gate for good.
func (g *Gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen {
		close(g.open)
	}
	g.frozen, g.ended = false, true
}

// pass waits until traffic passes.
func (g *Gate) pass() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

// frozenSocket puts a gate before every read and write of a socket. quic-go
// writes through WriteMsgUDP; the socket's ReadBatch reads through SyscallConn.
type frozenSocket struct {
	*socket
	gate *Gate
}

// WriteMsgUDP waits at the gate, then sends.
func (s *frozenSocket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	s.gate.pass()
	return s.socket.WriteMsgUDP(b, oob, addr)
}

// SyscallConn gives access to the descriptor, reads waiting at the gate.
func (s *frozenSocket) SyscallConn() (syscall.RawConn, error) {
	raw, err := s.socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	return frozenRaw{raw, s.gate}, nil
}

type frozenRaw struct {
	syscall.RawConn
	gate *Gate
}

// Read waits inside the callback, that is after the descriptor has become
// readable: a read that was under way when the gate closed is held too.
func (r frozenRaw) Read(f func(fd uintptr) bool) error {
	return r.RawConn.Read(func(fd uintptr) bool {
		r.gate.pass()
		return f(fd)
	})
}
