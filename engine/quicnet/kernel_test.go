package quicnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
)

const procUDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 0100007F:1151 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 42
  102: 00000000:1152 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 7
short line
`

func TestSocketDrops(t *testing.T) {
	for _, tc := range []struct {
		inode uint64
		port  uint16
		want  uint64
		ok    bool
	}{{4711, 0, 42, true}, {4712, 0x1151, 7, true}, {0, 0x1151, 42, true}, {9, 0x1151, 0, false}, {0, 1, 0, false}} {
		if got, ok := socketDrops(strings.NewReader(procUDP), tc.inode, tc.port); got != tc.want || ok != tc.ok {
			t.Errorf("inode %d port %d: %d, %v", tc.inode, tc.port, got, ok)
		}
	}
}

func TestSNMPValue(t *testing.T) {
	const text = "Tcp: RtoMin SndbufErrors\nTcp: 1 2\nUdp: InDatagrams RcvbufErrors SndbufErrors\nUdp: 9 8 77\nUdpLite: InDatagrams\nUdpLite: 3\n"
	if got := snmpValue(strings.NewReader(text), "Udp:", "SndbufErrors"); got != 77 {
		t.Error(got)
	}
	for _, bad := range []string{"", "Udp: SndbufErrors\n", "Udp: SndbufErrors\nUdp:\n", "Udp: SndbufErrors\nUdp: x\n", "Udp: A\nUdp: 1\n"} {
		if got := snmpValue(strings.NewReader(bad), "Udp:", "SndbufErrors"); got != 0 {
			t.Errorf("%q: %d", bad, got)
		}
	}
}

func TestKernelOfALiveSocket(t *testing.T) {
	e, _ := start(t, testConfig(t, 1), nil)
	k := e.Kernel()
	if k.RcvbufBytes < 100_000 || k.SndbufBytes < 100_000 || k.UDPRcvbufErrors != 0 {
		t.Errorf("%+v", k)
	}
}

// A send the network refuses for the moment is a lost packet, not the end of a
// connection; what quic-go must see, it sees.
func TestPassingSendErrors(t *testing.T) {
	s, err := openSocket("127.0.0.1:0", &Config{SocketBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var answers []error
	s.send = func(b, oob []byte, _ *net.UDPAddr) (int, int, error) {
		err := answers[0]
		answers = answers[1:]
		if err != nil {
			return 0, 0, &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", err)}
		}
		return len(b), len(oob), nil
	}
	var counted uint64
	for _, tc := range []struct {
		answers []error
		counted uint64
		err     error
	}{
		{[]error{nil}, 0, nil},
		{[]error{syscall.ENOBUFS}, 1, nil},
		{[]error{syscall.ENETUNREACH}, 1, nil},
		{[]error{syscall.EPERM, nil}, 0, nil}, // the kernel's first-packet quirk
		{[]error{syscall.EPERM, syscall.EPERM}, 1, nil},
		{[]error{syscall.EMSGSIZE}, 0, syscall.EMSGSIZE}, // path MTU discovery
		{[]error{syscall.EIO}, 0, syscall.EIO},           // no segmentation offload here
		{[]error{syscall.EBADF}, 0, syscall.EBADF},       // the socket is gone
	} {
		answers = tc.answers
		counted += tc.counted
		n, _, err := s.WriteMsgUDP([]byte("abc"), nil, nil)
		if !errors.Is(err, tc.err) || (err == nil) != (n == 3) || s.sendErrors.Load() != counted || len(answers) != 0 {
			t.Errorf("%v: %d, %v, %d counted", tc, n, err, s.sendErrors.Load())
		}
	}
	if got := s.kernel().UDPSndbufErrors; got < counted {
		t.Errorf("%d shown, %d counted", got, counted)
	}
}

func TestPrefixKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := prefixKey(netip.MustParseAddr(in)); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s", in, got)
		}
	}
}
