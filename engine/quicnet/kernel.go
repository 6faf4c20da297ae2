package quicnet

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"signalbox/engine/view"
)

// maxProcLine bounds one line of a kernel table.
const maxProcLine = 4096

// kernel reads what the kernel tells of our socket. What it does not tell is
// zero.
func (s *socket) kernel() view.Kernel {
	v := view.Kernel{RcvbufBytes: s.rcvbuf, SndbufBytes: s.sndbuf, GSO: s.gso}
	for _, path := range []string{"/proc/net/udp6", "/proc/net/udp"} {
		f, err := os.Open(path)
		if err != nil {
			continue // no IPv6, or no /proc
		}
		drops, ok := socketDrops(f, s.inode, s.port)
		f.Close() // opened for reading: nothing to lose
		if ok {
			v.UDPRcvbufErrors = drops
			break
		}
	}
	// The machine's counter covers all sockets; our own count of refused sends
	// is in it where the kernel counts them, so the larger one is right.
	if now := sndbufErrors(); now > s.sndErrors {
		v.UDPSndbufErrors = now - s.sndErrors
	}
	v.UDPSndbufErrors = max(v.UDPSndbufErrors, s.sendErrors.Load())
	return v
}

// socketDrops finds a socket in a table in the format of /proc/net/udp, by
// inode or, where that is unknown, by local port, and returns its drops: the
// packets that found its receive buffer full.
func socketDrops(r io.Reader, inode uint64, port uint16) (uint64, bool) {
	const local, ino, drops = 1, 9, 12 // columns
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, maxProcLine), maxProcLine)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) <= drops {
			continue
		}
		if inode != 0 {
			if n, err := strconv.ParseUint(f[ino], 10, 64); err != nil || n != inode {
				continue
			}
		} else {
			_, hex, _ := strings.Cut(f[local], ":")
			if n, err := strconv.ParseUint(hex, 16, 16); err != nil || uint16(n) != port {
				continue
			}
		}
		n, err := strconv.ParseUint(f[drops], 10, 64)
		return n, err == nil
	}
	return 0, false
}

// sndbufErrors is the machine's count of UDP packets refused for want of send
// buffer.
func sndbufErrors() uint64 {
	f, err := os.Open("/proc/net/snmp")
	if err != nil {
		return 0
	}
	defer f.Close()
	return snmpValue(f, "Udp:", "SndbufErrors")
}

// snmpValue reads a value from a file in the format of /proc/net/snmp: a line
// of names, then a line of values, both beginning with the protocol.
func snmpValue(r io.Reader, proto, name string) uint64 {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, maxProcLine), maxProcLine)
	var names []string
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) == 0 || f[0] != proto {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, n := range names {
			if n == name && i < len(f) {
				v, err := strconv.ParseUint(f[i], 10, 64)
				if err != nil {
					return 0
				}
				return v
			}
		}
		return 0
	}
	return 0
}
