package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/dispatch"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
)

// The lean node: edge, dispatcher (one shard) and dht.Node as the engine has
// them, and nothing else, so that many fit into one process.
const (
	leanShards    = 1
	leanCapacity  = 256
	leanQueue     = 16
	leanAcceptors = 4
	leanMessage   = 64 << 10
	leanWrite     = 5 * time.Second
)

// fleetCounts are summed over all lean nodes there ever were. Any goroutine.
type fleetCounts struct {
	controlDropped, requestsDropped, linkFull atomic.Uint64
	links                                     atomic.Int64
}

// leanNode is one DHT node of the fleet.
type leanNode struct {
	// Constant after startLean.
	id    table.ID
	addr  netip.AddrPort
	node  *dht.Node
	edge  *quicnet.Endpoint
	queue *dispatch.Dispatcher[leanMsg]
	base  time.Time
	count *fleetCounts
	ctx   context.Context //nolint:containedctx // the node's life, for links that outlive the call that dialled them
	stop  context.CancelFunc
	wg    sync.WaitGroup

	gens atomic.Uint64
}

type leanMsg struct {
	link    *leanLink
	payload []byte
}

// startLean starts a node at addr.
func startLean(parent context.Context, addr netip.AddrPort, seeds []dht.Seed, k int, count *fleetCounts) (*leanNode, error) {
	var seed [state.SeedSize]byte
	rand.Read(seed[:])
	keys, err := state.NewKeys(seed)
	if err != nil {
		return nil, err
	}
	cert, err := keys.DHTCertificate()
	if err != nil {
		return nil, err
	}
	n := &leanNode{id: keys.NodeID(), base: time.Now(), count: count}
	n.edge, err = quicnet.Listen(quicnet.Config{
		Addr: addr.String(), TLSCert: cert, DHTCert: cert, Retry: quicnet.RetryNever, ExemptLoopback: true, SocketBuffer: 256 << 10, Acceptors: leanAcceptors,
	})
	if err != nil {
		return nil, err
	}
	n.addr = n.edge.Addr()
	n.queue = dispatch.New[leanMsg](dispatch.Config{
		Plane: "dht", Shards: leanShards, Capacity: leanCapacity, Epoch: n.base,
		// A loop among thousands that waits for a core is not stuck.
		Watchdog: dispatch.Watchdog{Every: 5 * time.Second, WedgedAfter: time.Minute, ReplaceAfter: 2 * time.Minute},
	}, leanHandler{n})
	n.node, err = dht.New(dht.Config{
		ID: n.id, K: k, ListenAddrs: []netip.AddrPort{n.addr}, Seeds: seeds, AllowLoopback: true,
		Now: func() int64 { return int64(time.Since(n.base)) }, Dialer: leanDialer{n},
	})
	if err != nil {
		return nil, errors.Join(err, n.edge.Close())
	}
	n.ctx, n.stop = context.WithCancel(parent)
	for _, run := range []func(context.Context) error{
		n.queue.Run, n.node.Run,
		func(ctx context.Context) error {
			return n.edge.Run(ctx, func(c *quicnet.Conn) { n.serve(c, nil, new(*leanLink)) })
		},
	} {
		n.wg.Go(func() {
			if err := run(n.ctx); err != nil {
				n.stop() // a node of which a part has ended is a dead node, and will not be found
			}
		})
	}
	return n, nil
}

// close ends the node as a shutdown does and waits for it.
func (n *leanNode) close() {
	n.stop()
	n.wg.Wait()
}

// leanHandler is the shard loop.
type leanHandler struct{ n *leanNode }

func (h leanHandler) Handle(shard int, m *leanMsg, now int64) {
	h.n.node.Handle(shard, m.link, m.payload, now)
}
func (leanHandler) Flush(int)                  {}
func (leanHandler) Describe(m *leanMsg) string { return fmt.Sprintf("%d bytes", len(m.payload)) }

// leanLink is one connection.
type leanLink struct {
	// Constant after serve.
	c     *quicnet.Conn
	id    table.ID
	gen   uint64
	out   chan []byte
	count *fleetCounts
}

func (l *leanLink) PeerID() table.ID           { return l.id }
func (l *leanLink) RemoteAddr() netip.AddrPort { return l.c.RemoteAddr() }
func (l *leanLink) Generation() uint64         { return l.gen }
func (l *leanLink) Close(reason string)        { l.c.Close(0, reason) }

var errLeanFull = errors.New("bench: the link's send queue is full")

func (l *leanLink) Send(payload []byte) error {
	select {
	case l.out <- slices.Clone(payload):
		return nil
	default:
		l.count.linkFull.Add(1)
		return errLeanFull
	}
}

// serve runs one connection until it ends. up, if given, is closed when it is
// registered and *made is the link.
func (n *leanNode) serve(c *quicnet.Conn, up chan<- struct{}, made **leanLink) {
	defer c.Close(0, "bye")
	l := &leanLink{c: c, id: c.PeerID(), gen: n.gens.Add(1), out: make(chan []byte, leanQueue), count: n.count}
	n.count.links.Add(1)
	defer n.count.links.Add(-1)
	n.node.Connected(l)
	*made = l
	if up != nil {
		close(up)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if l.write() != nil {
			l.Close("write failed")
		}
	})
	l.Close(n.read(l).Error())
	wg.Wait()
	n.node.Disconnected(l)
}

func (l *leanLink) write() error {
	st, err := l.c.OpenUniStream()
	if err != nil {
		return err
	}
	var buf []byte
	for {
		select {
		case <-l.c.Context().Done():
			return nil
		case m := <-l.out:
			buf = append(binary.BigEndian.AppendUint32(buf[:0], uint32(len(m))), m...)
		}
		if err := st.SetWriteDeadline(time.Now().Add(leanWrite)); err != nil {
			return err
		}
		if _, err := st.Write(buf); err != nil {
			return err
		}
	}
}

// read moves messages to the shard as the engine does, replies on the control
// lane, until that fails.
func (n *leanNode) read(l *leanLink) error {
	st, err := l.c.AcceptUniStream(n.ctx)
	if err != nil {
		return err
	}
	src := l.RemoteAddr().Addr()
	var head [4]byte
	for {
		if _, err := io.ReadFull(st, head[:]); err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[:])
		if size == 0 || size > leanMessage {
			return fmt.Errorf("bench: a message of %d bytes", size)
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(st, payload); err != nil {
			return err
		}
		lane, dropped := dispatch.Media, &n.count.requestsDropped
		if wire.IsReply(payload) {
			lane, dropped = dispatch.Control, &n.count.controlDropped
		}
		now := int64(time.Since(n.base))
		if _, ok := n.queue.Submit(now, src, lane, len(payload), leanMsg{l, payload}); !ok {
			dropped.Add(1)
			n.node.LocalDrop(now)
		}
	}
}

// leanDialer opens links.
type leanDialer struct{ n *leanNode }

func (d leanDialer) Dial(ctx context.Context, id table.ID, addr netip.AddrPort) (dht.Link, error) {
	n := d.n
	c, err := n.edge.DialDHT(ctx, addr, id)
	if err != nil {
		return nil, err
	}
	if n.ctx.Err() != nil {
		c.Close(0, "stopping")
		return nil, n.ctx.Err()
	}
	up, made := make(chan struct{}), new(*leanLink)
	n.wg.Go(func() { n.serve(c, up, made) }) // Run's tasks dial, so wg is not at zero
	<-up
	return *made, nil
}
