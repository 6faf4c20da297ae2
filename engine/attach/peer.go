package attach

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/state"
)

// socketMode lets the node's user and group in (contract section 1); the
// kernel's word on who it is decides in addition.
const socketMode = 0o660

// Listen makes the admin socket. A socket that a killed process left behind is
// replaced; one that a living process answers on is state.ErrSocketInUse.
func Listen(path string) (net.Listener, error) {
	if err := state.ClearStaleSocket(path); err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		if cerr := l.Close(); cerr != nil {
			err = fmt.Errorf("%w; %w", err, cerr)
		}
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

// peer is who is at the other end of a connection.
type peer struct {
	author  string
	role    control.Role // empty: may do nothing
	refusal string       // why
}

type peerKey struct{}

// credentials are what the kernel says of a process on the other end.
type credentials struct{ uid, gid uint32 }

// identify asks the kernel who connected.
func identify(c net.Conn) peer {
	cr, err := peerCredentials(c)
	if err != nil {
		return peer{author: "uid:unknown", refusal: err.Error()}
	}
	return judge(cr, credentials{uint32(os.Geteuid()), uint32(os.Getegid())}, groupsOf)
}

// judge makes an operator of the node's own user, root, and the members of the
// node's own group, and refuses everybody else.
func judge(cr, own credentials, groups func(uid uint32) []string) peer {
	p := peer{author: "uid:" + userName(cr.uid)}
	switch {
	case cr.uid == own.uid, cr.uid == 0, cr.gid == own.gid:
		p.role = control.Operator
	case slices.Contains(groups(cr.uid), strconv.FormatUint(uint64(own.gid), 10)):
		p.role = control.Operator
	default:
		p.refusal = "neither the node's user nor in its group"
	}
	return p
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// groupsOf lists the ids of the groups a user belongs to; none when unknown.
func groupsOf(uid uint32) []string {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil
	}
	g, err := u.GroupIds()
	if err != nil {
		return nil
	}
	return g
}

// limited holds at most a number of connections. For one more, that which has
// waited longest for a request goes: whoever only sits there keeps nobody out.
type limited struct {
	net.Listener
	most int

	mu   sync.Mutex // leaf
	open map[*limitedConn]struct{}
}

func newLimited(l net.Listener, n int) *limited {
	return &limited{Listener: l, most: n, open: map[*limitedConn]struct{}{}}
}

// Accept returns the next connection there is room for. It hides nothing of
// the connection's type from peerCredentials.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		lc := &limitedConn{Conn: c, l: l, waits: time.Now()}
		out, ok := l.admit(lc)
		if out != nil { // whatever comes of it: it is out of the way
			_ = out.Conn.Close()
		}
		if ok {
			return lc, nil
		}
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
}

// admit makes room for c, by sending another away if it must; false when all
// others are being answered.
func (l *limited) admit(c *limitedConn) (out *limitedConn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		for o := range l.open {
			if !o.waits.IsZero() && (out == nil || o.waits.Before(out.waits)) {
				out = o
			}
		}
		if out == nil {
			return nil, false
		}
		delete(l.open, out)
	}
	l.open[c] = struct{}{}
	return out, true
}

// state notes whether a connection waits for a request; it is the server's
// ConnState.
func (l *limited) state(c net.Conn, st http.ConnState) {
	lc, ok := c.(*limitedConn)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lc.waits = time.Time{}
	if st == http.StateNew || st == http.StateIdle {
		lc.waits = time.Now()
	}
}

type limitedConn struct {
	net.Conn
	l     *limited
	waits time.Time // for a request, since; zero: it is being answered. Guarded by l.mu
}

// Close closes the connection and makes room for another.
func (c *limitedConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.open, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// NetConn is the connection inside.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }
