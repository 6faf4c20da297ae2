package quicnet

import "golang.org/x/sys/unix"

// Options that set a buffer's size: the ordinary one, by which it can be read
// too, then the one that needs CAP_NET_ADMIN and ignores net.core.?mem_max.
var (
	receiveOptions = []int{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE}
	sendOptions    = []int{unix.SO_SNDBUF, unix.SO_SNDBUFFORCE}
)

// segments says whether the kernel splits large sends into datagrams.
func segments(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	return err == nil
}
