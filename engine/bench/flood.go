package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// initialSize is the least a client's first datagram may have (RFC 9000
// section 14.1); smaller ones are dropped unread.
const initialSize = 1200

// forgedInitial is a QUIC v1 Initial with the connection ids random and the
// payload noise (RFC 9000 section 17.2.2): to a server it looks like a new
// client until it tries to decrypt it.
func forgedInitial(buf []byte) []byte {
	rand.Read(buf)
	buf[0] = 0xc3 // long header, Initial, four bytes of packet number
	binary.BigEndian.PutUint32(buf[1:], 1)
	buf[5] = 8  // destination connection id: 8 random bytes
	buf[14] = 8 // source connection id: 8 random bytes
	buf[23] = 0 // no token
	binary.BigEndian.PutUint16(buf[24:], 0x4000|uint16(initialSize-26))
	return buf
}

// garbage is noise that no connection knows: a third of it looks like a packet
// of one, a third like the beginning of one that it is not. It returns the part
// of buf to send.
func garbage(buf []byte) []byte {
	rand.Read(buf)
	n := 20 + int(binary.BigEndian.Uint16(buf[6:]))%(len(buf)-20)
	switch buf[8] % 3 {
	case 0:
		buf[0] = 0x40 | buf[0]&0x3f // short header (RFC 9000 section 17.3.1)
	case 1:
		buf[0] |= 0xc0
		binary.BigEndian.PutUint32(buf[1:], 1)
	}
	return buf[:n]
}

// flooding is what a flood did.
type flooding struct {
	Packets       uint64 `json:"packets"`
	Bytes         uint64 `json:"bytes"`
	AnsweredBytes uint64 `json:"answered_bytes"` // what the node sent back: at most three times as much (RFC 9000 section 8.1)
}

const (
	floodSockets = 32
	floodTick    = 2 * time.Millisecond
)

// flood sends so many packets a second to addr, from several source addresses
// and many ports, until ctx ends.
func flood(ctx context.Context, addr netip.AddrPort, pps int, packet func(buf []byte) []byte) (flooding, error) {
	var fl flooding
	var answered atomic.Uint64
	conns := make([]*net.UDPConn, 0, floodSockets)
	var readers sync.WaitGroup
	for i := range floodSockets {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 9, byte(i%8+1))})
		if err != nil {
			return fl, err
		}
		defer c.Close()
		conns = append(conns, c)
		readers.Go(func() { count(c, &answered) })
	}
	buf := make([]byte, initialSize)
	t := time.NewTicker(floodTick)
	defer t.Stop()
	for start := time.Now(); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		due := uint64(time.Since(start).Seconds() * float64(pps))
		for burst := 0; fl.Packets < due && burst < pps/50; burst++ {
			p := packet(buf)
			if _, err := conns[fl.Packets%floodSockets].WriteToUDPAddrPort(p, addr); err == nil {
				fl.Packets++
				fl.Bytes += uint64(len(p))
			}
		}
	}
	late := time.Now().Add(time.Second)
	for _, c := range conns {
		if err := c.SetReadDeadline(late); err != nil {
			return fl, err
		}
	}
	readers.Wait()
	fl.AnsweredBytes = answered.Load()
	return fl, nil
}

// count adds up the bytes that arrive until the socket's deadline.
func count(c *net.UDPConn, bytes *atomic.Uint64) {
	var buf [2048]byte
	for {
		n, err := c.Read(buf[:])
		if err != nil {
			return
		}
		bytes.Add(uint64(n))
	}
}
