package cli

import (
	"golang.org/x/sys/unix"
)

// writable asks the kernel whether we may write to a directory.
func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }

// clockSynchronised asks the kernel; where it does not say, there is nothing
// to warn of.
func clockSynchronised() bool {
	var t unix.Timex
	st, err := unix.Adjtimex(&t)
	return err != nil || st != unix.TIME_ERROR
}

// checkGSO tries whether the kernel splits large sends, which halves the cost
// of a packet.
func checkGSO() finding {
	f := finding{Check: "gso", Detail: "the kernel splits large sends"}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return finding{"gso", warned, err.Error(), ""}
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1200)
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		f.Status, f.Detail, f.Remedy = warned, "the kernel does not split large sends: "+err.Error(), "use Linux 4.18 or newer"
	}
	return f
}
