//go:build !linux

package quicnet

import "golang.org/x/sys/unix"

// Options that set a buffer's size, and by which it can be read.
var (
	receiveOptions = []int{unix.SO_RCVBUF}
	sendOptions    = []int{unix.SO_SNDBUF}
)

// segments says whether the kernel splits large sends into datagrams.
func segments(int) bool { return false }
