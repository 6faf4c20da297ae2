package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// initialSize is the least a client's first datagram may have (RFC 9000
// section 14.1); smaller ones are dropped unread.
const initialSize = 1200

// forgedInitial is a QUIC v1 Initial with the connection ids random and the
// payload noise (RFC 9000 section 17.2.2): to a server it looks like a new
// client until it tries to decrypt it.
func forgedInitial(buf []byte) {
	rand.Read(buf)
	buf[0] = 0xc3 // long header, Initial, four bytes of packet number
	binary.BigEndian.PutUint32(buf[1:], 1)
	buf[5] = 8  // destination connection id: 8 random bytes
	buf[14] = 8 // source connection id: 8 random bytes
	buf[23] = 0 // no token
	binary.BigEndian.PutUint16(buf[24:], 0x4000|uint16(initialSize-26))
}

// flood sends pps forged Initials a second to addr, from several source
// addresses and many ports, until ctx ends. It returns how many went out.
func flood(ctx context.Context, addr netip.AddrPort, pps int) (uint64, error) {
	const sockets = 32
	conns := make([]*net.UDPConn, 0, sockets)
	defer func() {
		for _, c := range conns {
			c.Close() // nothing is lost with it
		}
	}()
	for i := range sockets {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 9, byte(i%8+1))})
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
	}
	var sent atomic.Uint64
	buf := make([]byte, initialSize)
	const tick = 2 * time.Millisecond
	t := time.NewTicker(tick)
	defer t.Stop()
	start := time.Now()
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return sent.Load(), nil
		case <-t.C:
		}
		due := uint64(time.Since(start).Seconds() * float64(pps))
		for burst := 0; sent.Load() < due && burst < pps/50; burst++ {
			forgedInitial(buf)
			i++
			if _, err := conns[i%sockets].WriteToUDPAddrPort(buf, addr); err == nil {
				sent.Add(1)
			}
		}
	}
}
