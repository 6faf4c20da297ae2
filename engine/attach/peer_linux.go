package attach

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerCredentials reads SO_PEERCRED: who the process was when it connected.
func peerCredentials(c net.Conn) (credentials, error) {
	if w, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = w.NetConn()
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return credentials{}, errors.New("not a unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return credentials{}, err
	}
	var cr *unix.Ucred
	var serr error
	if err := raw.Control(func(fd uintptr) { cr, serr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return credentials{}, err
	}
	if serr != nil {
		return credentials{}, fmt.Errorf("peer credentials: %w", serr)
	}
	return credentials{cr.Uid, cr.Gid}, nil
}
