package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
	"signalbox/relay/wire"
)

// fedRoom is the room that all peers share.
const fedRoom = "bench"

// FederationParams describe a node with linked relays, all talking into one
// room.
type FederationParams struct {
	Peers      int     `json:"peers"`
	Blackholed int     `json:"blackholed"` // peers whose traffic stops, without a close, after a third of the time
	PPS        int     `json:"pps"`        // packets a second of each peer
	Payload    int     `json:"payload"`
	Trunk      bool    `json:"trunk"` // the node may send several packets in one datagram
	Seconds    float64 `json:"seconds"`
}

func (p *FederationParams) check() error {
	if p.Peers < 2 || p.Peers > 64 || p.Blackholed < 0 || p.Blackholed > p.Peers-2 || p.PPS < 1 || p.Payload < payloadHead || p.Seconds < 3 {
		return config.Exit(config.ExitUsage, "bench: %d peers, %d of them blackholed, at %d packets a second for %.0f s is out of range", p.Peers, p.Blackholed, p.PPS, p.Seconds)
	}
	return nil
}

// fedPeer is one relay as the node sees it: a certificate, a hello, a member in
// the room, media and signs of life.
type fedPeer struct {
	// Constant after link.
	conn *quicnet.Conn
	gate *quicnet.Gate
	tag  uint64
	keys *state.Keys

	// Any goroutine (atomic).
	received [64]atomic.Uint64 // by sender
	corrupt  atomic.Uint64
	phase    *atomic.Int32
	media    *[phases]histogram
	signals  *histogram
}

// newFedPeers makes peers without connections, and the node's configuration
// that lets them in.
func newFedPeers(n int, trunk bool, dir string) ([]*fedPeer, string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "[federation]\ntrunk = %v\n[[global_rooms]]\nname = %q\n", trunk, fedRoom)
	peers := make([]*fedPeer, n)
	for i := range peers {
		var seed [32]byte
		rand.Read(seed[:]) // never fails
		keys, err := state.NewKeys(seed)
		if err != nil {
			return nil, "", err
		}
		cert, err := keys.TLSCertificate()
		if err != nil {
			return nil, "", err
		}
		fmt.Fprintf(&b, "[[trusted]]\nfingerprint = %q\nlabel = \"peer-%d\"\n", state.TLSFingerprint(cert.Certificate[0]), i)
		peers[i] = &fedPeer{tag: uint64(i), keys: keys}
	}
	path := filepath.Join(dir, "federation.toml")
	return peers, path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// link connects the peer and says who is there.
func (p *fedPeer) link(ctx context.Context, g *errgroup.Group, addr netip.AddrPort) error {
	cert, err := p.keys.TLSCertificate()
	if err != nil {
		return err
	}
	cl, gate, err := quicnet.NewFreezableClient(quicnet.ClientConfig{SocketBuffer: 1 << 20})
	if err != nil {
		return err
	}
	g.Go(func() error { <-ctx.Done(); return cl.Close() })
	p.gate = gate
	p.conn, err = cl.DialConfig(ctx, quicnet.DialConfig{Addr: addr, ALPN: quicnet.ALPNWZP, ServerName: quicnet.RelayServerName, Cert: cert})
	if err != nil {
		return err
	}
	hello, name := "v=1", fmt.Sprintf("member-%d", p.tag)
	for _, s := range []wire.Signal{
		&wire.FederationHello{TLSFingerprint: state.TLSFingerprint(cert.Certificate[0]), Signalbox: &hello},
		&wire.GlobalRoomActive{Room: fedRoom, Participants: []wire.RoomParticipant{{Fingerprint: name, Alias: &name}}},
	} {
		if err := sendSignal(p.conn, s); err != nil {
			return err
		}
	}
	g.Go(func() error { p.listen(ctx); return nil })
	g.Go(func() error { p.receive(ctx); return nil })
	g.Go(func() error { p.ping(ctx); return nil })
	return nil
}

// listen answers the node's pings and times its answers to ours.
func (p *fedPeer) listen(ctx context.Context) {
	for {
		s, err := readSignal(ctx, p.conn)
		if err != nil {
			return
		}
		switch m := s.(type) {
		case *wire.Ping:
			if sendSignal(p.conn, &wire.Pong{TimestampMS: m.TimestampMS}) != nil {
				return
			}
		case *wire.Pong:
			p.signals.add(time.Since(time.UnixMicro(int64(m.TimestampMS))))
		}
	}
}

// ping asks ten times a second, in microseconds: the field is only echoed.
func (p *fedPeer) ping(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if p.gate.Frozen() {
			return
		}
		if sendSignal(p.conn, &wire.Ping{TimestampMS: uint64(time.Now().UnixMicro())}) != nil {
			return
		}
	}
}

func (p *fedPeer) receive(ctx context.Context) {
	var entries []wire.TrunkEntry
	buf := make([]byte, 0, 2048)
	for {
		dg, err := p.conn.ReceiveDatagram(ctx)
		if err != nil {
			return
		}
		if len(dg) < wire.RoomHashSize || binary.BigEndian.Uint64(dg) != wire.TagTrunk {
			p.packet(dg, buf)
			continue
		}
		if entries, err = wire.DecodeTrunk(entries[:0], dg[wire.RoomHashSize:]); err != nil {
			p.corrupt.Add(1)
		}
		for i := range entries {
			p.packet(entries[i].Payload, buf)
		}
	}
}

func (p *fedPeer) packet(dg, buf []byte) {
	if len(dg) < wire.RoomHashSize {
		p.corrupt.Add(1)
		return
	}
	_, tag, at, ok := check(dg[wire.RoomHashSize:], buf)
	if !ok || tag >= uint64(len(p.received)) {
		p.corrupt.Add(1)
		return
	}
	p.received[tag].Add(1)
	p.media[p.phase.Load()].add(time.Since(time.Unix(0, at)))
}

// talk sends at an even pace until the time is over or the peer is frozen, and
// returns how many packets it sent.
func (p *fedPeer) talk(ctx context.Context, fp *FederationParams) uint64 {
	hash := wire.RoomHash(fedRoom)
	gap := time.Second / time.Duration(fp.PPS)
	total := int(fp.Seconds * float64(fp.PPS))
	next := time.Now().Add(time.Duration(p.tag) * gap / 64)
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	for k := range total {
		select {
		case <-ctx.Done():
			return uint64(k)
		case <-t.C:
		}
		if p.gate.Frozen() {
			return uint64(k)
		}
		pkt := appendPacket(nil, uint16(k), p.tag, uint64(time.Now().UnixNano()), fp.Payload, nil)
		if p.conn.SendDatagram(wire.AppendFederated(nil, hash, pkt)) != nil {
			return uint64(k)
		}
		next = next.Add(gap)
		t.Reset(time.Until(next))
	}
	return uint64(total)
}

// RunFederation loads a node of our own with linked relays. Expected, delivered
// and lost are between those that are not blackholed.
func RunFederation(ctx context.Context, exe string, p FederationParams) (*Result, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "signalbox-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	peers, conf, err := newFedPeers(p.Peers, p.Trunk, dir)
	if err != nil {
		return nil, err
	}
	n, err := StartNode(ctx, exe, "--config", conf)
	if err != nil {
		return nil, err
	}
	r, err := loadFederation(ctx, n, peers, &p)
	if serr := n.Stop(); err == nil && serr != nil {
		err = fmt.Errorf("bench: the node did not end well: %w", serr)
	}
	return r, err
}

func loadFederation(ctx context.Context, n *Node, peers []*fedPeer, p *FederationParams) (*Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	var phase atomic.Int32
	var media [phases]histogram
	var signals, ignored histogram
	var ignoredMedia [phases]histogram
	healthy := peers[:p.Peers-p.Blackholed]
	for i, fp := range peers {
		fp.phase, fp.media, fp.signals = &phase, &media, &signals
		if i >= len(healthy) {
			fp.media, fp.signals = &ignoredMedia, &ignored
		}
		if err := fp.link(gctx, g, n.Addr); err != nil {
			return nil, err
		}
	}
	if err := n.linked(ctx, p.Peers); err != nil {
		return nil, err
	}
	before, err := sample(ctx, n)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	var down atomic.Int64 // ns
	g.Go(func() error { return blackhole(gctx, n, peers[len(healthy):], p, &phase, &down) })
	sent := talkAll(ctx, peers, p)
	res := newResult("federation", p, 0)
	pause(ctx, time.Second) // for the last packets on their way
	res.DurationS = time.Since(start).Seconds()
	after, err := sample(ctx, n)
	if err != nil {
		return nil, err
	}
	res.between(healthy, sent)
	res.measure(before, after)
	all := &histogram{}
	for i := range media {
		all.merge(&media[i])
	}
	res.LatencyUS = all.quantiles()
	extra := map[string]any{
		"before_us": media[0].quantiles(), "during_us": media[1].quantiles(), "after_us": media[2].quantiles(), "signal_us": signals.quantiles(),
		"note": "expected, delivered, lost and latency are between peers that were not blackholed",
	}
	if p.Blackholed > 0 {
		extra["shown_down_s"] = time.Duration(down.Load()).Seconds()
	}
	if after.ok {
		res.ServerDropped = nonZero(after.snap.Ledger.Federation.Dropped)
	}
	res.Extra = extra
	cancel()
	return res, g.Wait()
}

func talkAll(ctx context.Context, peers []*fedPeer, p *FederationParams) []uint64 {
	sent := make([]uint64, len(peers))
	var wg sync.WaitGroup
	for i, fp := range peers {
		wg.Go(func() { sent[i] = fp.talk(ctx, p) })
	}
	wg.Wait()
	return sent
}

// between books what the peers have sent to, and got from, each other.
func (r *Result) between(peers []*fedPeer, sent []uint64) {
	for i, to := range peers {
		for k := range peers {
			if k != i {
				r.Expected += sent[k]
				r.Delivered += to.received[k].Load()
			}
		}
		r.Sent += sent[i]
		r.Corrupt += to.corrupt.Load()
	}
	r.Lost = int64(r.Expected) - int64(r.Delivered)
}

func nonZero(m map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for k, v := range m {
		if v > 0 {
			out[k] = v
		}
	}
	return out
}

// linked waits until the node has so many links up, with their room.
func (n *Node) linked(ctx context.Context, want int) error {
	for range 100 {
		s, err := n.Snapshot(ctx)
		if err != nil {
			return err
		}
		up := 0
		for i := range s.Links {
			if s.Links[i].State == "up" && s.Links[i].Verified && len(s.Links[i].Rooms) == 1 {
				up++
			}
		}
		if up == want {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("bench: not all of %d links have come up within 10 s", want)
}

// blackhole freezes the peers after a third of the time and notes how long the
// node took to show them all down.
func blackhole(ctx context.Context, n *Node, peers []*fedPeer, p *FederationParams, phase *atomic.Int32, down *atomic.Int64) error {
	third := time.Duration(p.Seconds / phases * float64(time.Second))
	if !pause(ctx, third) {
		return nil
	}
	phase.Store(1)
	for _, fp := range peers {
		if err := fp.gate.Freeze(true); err != nil {
			return err
		}
	}
	for start := time.Now(); pause(ctx, 250*time.Millisecond); {
		if time.Since(start) >= third {
			phase.Store(2)
		}
		s, err := n.Snapshot(ctx)
		if err != nil {
			return nil //nolint:nilerr // the load is over
		}
		gone := 0
		for i := range s.Links {
			if s.Links[i].State == "down" {
				gone++
			}
		}
		if gone >= len(peers) {
			down.CompareAndSwap(0, int64(time.Since(start)))
		}
	}
	return nil
}

func federationCommand() *cobra.Command {
	var o output
	p := FederationParams{}
	c := &cobra.Command{Use: "federation", Short: "Linked relays that talk into one room", Args: cobra.NoArgs}
	o.flags(c, false)
	f := c.Flags()
	f.IntVar(&p.Peers, "peers", 5, "linked relays")
	f.IntVar(&p.Blackholed, "blackholed", 0, "relays whose traffic stops, without a close, after a third of the time")
	f.IntVar(&p.PPS, "pps", 20, "packets a second of each relay")
	f.IntVar(&p.Payload, "payload", 108, "bytes of payload after the 12 byte header")
	f.BoolVar(&p.Trunk, "trunk", true, "the node may send several packets in one datagram")
	f.Float64Var(&p.Seconds, "seconds", 30, "how long they talk")
	c.RunE = func(c *cobra.Command, _ []string) error {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		r, err := RunFederation(c.Context(), exe, p)
		if err != nil {
			return err
		}
		return o.print(c, r)
	}
	return c
}
