package quicnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// socket is the UDP socket quic-go reads and writes. It is a *net.UDPConn in
// all but two things: it may let packets gather before they are read, and
// while quic-go ends a connection on the first error of a write,
// errors that pass (no buffer space, a firewall rule, a route that flaps) are
// taken for what they are, one lost packet, and counted.
type socket struct {
	*net.UDPConn
	pulse pulse

	// Constant after openSocket.
	port      uint16
	inode     uint64 // 0: unknown
	rcvbuf    int    // bytes, as the kernel reports it
	sndbuf    int
	gso       bool
	sndErrors uint64           // the machine's counter when we began
	batch     *ipv4.PacketConn // of UDPConn; reads IPv6 as well
	send      func(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)

	// Any goroutine (atomic).
	sendErrors atomic.Uint64
	black      atomic.Pointer[map[netip.AddrPort]bool] // what is sent there is lost; nil: nothing is
}

// openSocket binds addr. An IPv4 address gets an IPv4 socket, "[::]" a dual
// one, or, on a machine without IPv6, an IPv4 one.
func openSocket(addr string, cfg *Config) (*socket, error) {
	ua, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("quicnet: address %q: %w", addr, err)
	}
	network := "udp"
	if ua.IP.To4() != nil { // with "udp", Go would make 0.0.0.0 dual stack
		network = "udp4"
	}
	c, err := net.ListenUDP(network, ua)
	if errors.Is(err, syscall.EAFNOSUPPORT) && network == "udp" && (ua.IP == nil || ua.IP.IsUnspecified()) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero, Port: ua.Port})
	}
	if err != nil {
		return nil, fmt.Errorf("quicnet: listen on %s: %w", addr, err)
	}
	// quic-go would write its own complaint about small buffers to the standard
	// log, into the console's screen; we report the sizes ourselves.
	if err := os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true"); err != nil {
		return nil, errors.Join(fmt.Errorf("quicnet: %w", err), c.Close())
	}
	s := &socket{
		UDPConn: c, batch: ipv4.NewPacketConn(c), send: c.WriteMsgUDP,
		pulse: pulse{tick: cfg.ReadTick, above: cfg.ReadTickAbove},
		port:  netip.MustParseAddrPort(c.LocalAddr().String()).Port(),
	}
	if err := s.tune(cfg.SocketBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("quicnet: socket %s: %w", addr, err), c.Close())
	}
	return s, nil
}

// tune asks for large buffers and notes what the kernel has granted.
func (s *socket) tune(buffer int) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var gerr error
	err = raw.Control(func(fd uintptr) {
		f := int(fd)
		s.rcvbuf, gerr = growBuffer(f, buffer, receiveOptions)
		if gerr != nil {
			return
		}
		s.sndbuf, gerr = growBuffer(f, buffer, sendOptions)
		var st unix.Stat_t
		if unix.Fstat(f, &st) == nil {
			s.inode = st.Ino
		}
		off, envErr := strconv.ParseBool(os.Getenv("QUIC_GO_DISABLE_GSO"))
		s.gso = segments(f) && (envErr != nil || !off)
	})
	s.sndErrors = sndbufErrors()
	return errors.Join(err, gerr)
}

// check closes a socket that is none any more. A read that waits for it would
// wait for ever, and whoever reads would not learn of it.
func (s *socket) check() {
	raw, err := s.SyscallConn()
	if err != nil {
		return // closed: the reader knows
	}
	dead := false
	err = raw.Control(func(fd uintptr) {
		_, gerr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		dead = gerr != nil
	})
	if err == nil && dead {
		_ = s.Close() // the error is that of the reads that end now
	}
}

// growBuffer tries the options of one direction in turn until the buffer has
// the wanted bytes. None has to succeed: the size counts, and is returned.
func growBuffer(fd, want int, options []int) (int, error) {
	for _, o := range options {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, options[0])
		if err != nil {
			return 0, err
		}
		if got >= 2*want { // the kernel doubles what it is asked for
			return got, nil
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, want) // some kernels refuse what is above their limit
	}
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, options[0])
}

// WriteMsgUDP is what quic-go sends with.
func (s *socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if black := s.black.Load(); black != nil && (*black)[canonical(addr)] {
		return len(b), len(oob), nil
	}
	n, oobn, err = s.send(b, oob, addr)
	if err == nil {
		return n, oobn, nil
	}
	if errors.Is(err, syscall.EPERM) { // the first packet to an address may get this for nothing
		n, oobn, err = s.send(b, oob, addr)
	}
	if err != nil && passing(err) {
		s.sendErrors.Add(1)
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// passing errors are the network's state of the moment. What is not here ends
// the connection, except what quic-go handles itself: EMSGSIZE (path MTU
// discovery) and EIO (no segmentation offload on this interface).
func passing(err error) bool {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	switch no {
	case syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN, syscall.EPERM, syscall.EACCES, syscall.ENETUNREACH,
		syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.ECONNREFUSED, syscall.EADDRNOTAVAIL:
		return true
	default:
		return false
	}
}
