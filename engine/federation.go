package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
	"signalbox/engine/view"
	"signalbox/relay"
	"signalbox/relay/fed"
	"signalbox/relay/wire"
)

// Times of federation links.
const (
	helloTimeout  = 5 * time.Second // spec wzp 4.5
	fedDialLimit  = 8 * time.Second
	fedTick       = 500 * time.Millisecond
	fedWriteLimit = 2 * time.Second // one signal, credit included; then the peer is stalled
	fedReadLimit  = 5 * time.Second // one signal, from its first byte
	creditWait    = 20 * time.Millisecond
	yieldDial     = 300 * time.Millisecond // to a relay that dials us too
)

// sniFederation is what a federation link asks for (spec wzp 1.3).
const sniFederation = quicnet.RelayServerName

// federation is the node's links to other relays.
type federation struct {
	// Constant after openFederation.
	mesh *fed.Mesh
	on   bool // the configuration has anything of it, or lets it be found

	named atomic.Pointer[named] // never nil; stored by openFederation and renamed

	mu       sync.Mutex // leaf; guards the fields below
	kicks    map[string]chan struct{}
	proving  map[string]time.Time // by fingerprint: when a dial back was last tried
	refusals []view.Refusal       // the newest last
	said     map[string]time.Time // by subject: when an operator was last told
	asked    map[string]chan *wire.RouteResponse
	answers  map[string]int // by fingerprint: questions of a signalbox under way
}

// openFederation makes the mesh. The identity is known by now.
func (e *Engine) openFederation() {
	f := &e.fed
	f.kicks, f.proving, f.said = map[string]chan struct{}{}, map[string]time.Time{}, map[string]time.Time{}
	f.asked, f.answers = map[string]chan *wire.RouteResponse{}, map[string]int{}
	configured := len(e.cfg.Peers)+len(e.cfg.Trusted)+len(e.cfg.GlobalRooms) > 0
	f.on = e.cfg.Legacy.RemoteRelay == "" && (configured || e.cfg.DiscoverRelays()) // forwarded rooms are the remote's
	cfg := fed.Config{
		Self: state.NormalFingerprint(e.info.TLSFingerprint), LinkPPS: e.cfg.Federation.LinkPPS, RoomPPS: e.cfg.Federation.RoomPPS, NoTrunk: !e.cfg.Federation.Trunk,
		QueueMaxAge: e.cfg.Relay.QueueMaxAge, Event: e.event, Call: e.callFrom, Presence: e.presenceFrom, Gone: e.relayGone,
		Asked: e.askedBy, Answered: e.answeredBy, Heard: e.heard(),
	}
	for _, r := range e.cfg.GlobalRooms {
		cfg.Rooms = append(cfg.Rooms, r.Name)
	}
	f.named.Store(&named{e.cfg.Peers, e.cfg.Trusted})
	cfg.Peers = f.named.Load().relays()
	f.mesh = fed.New(cfg, uint64(e.started.UnixMicro()))
	if f.on {
		e.hub.SetRemote(relayWay{e})
	}
}

// named are the relays of the configuration. It is never changed once stored.
type named struct {
	peers   []config.Peer
	trusted []config.Trusted
}

func (n *named) relays() (out []fed.Peer) {
	for _, p := range n.peers {
		out = append(out, fed.Peer{Fingerprint: state.NormalFingerprint(p.Fingerprint), Label: p.Label, URL: p.URL})
	}
	for _, t := range n.trusted {
		out = append(out, fed.Peer{Fingerprint: state.NormalFingerprint(t.Fingerprint), Label: t.Label})
	}
	return out
}

// renamed puts other relays of the configuration in force. Links to those that
// stay as they were are left alone.
func (e *Engine) renamed(n *named) {
	e.fed.named.Store(n)
	for _, p := range e.fed.mesh.SetPeers(n.relays(), e.discovers(), e.mono()) {
		if p.URL != "" {
			e.spawn(func(ctx context.Context) { e.keepLink(ctx, p) })
		}
	}
}

// uplink is for the relay: rooms that are shared get their way out.
func (e *Engine) uplink(g *relay.GlobalRoom) (relay.Uplink, *relay.Remotes) {
	if !e.fed.on {
		return nil, nil
	}
	return e.fed.mesh.Global(g)
}

// roomFor is the one name of the room a client asks for: a shared room has a
// plain and a hashed one (spec wzp 5.13).
func (e *Engine) roomFor(asked string) string {
	if !e.fed.on {
		return asked
	}
	name, _ := e.fed.mesh.Canonical(asked)
	return name
}

// federate runs federation: its clock, and a dialler for each peer.
func (e *Engine) federate(ctx context.Context) {
	for _, p := range e.fed.named.Load().peers {
		if peer, ok := e.fed.mesh.Find(p.Fingerprint); ok {
			e.spawn(func(ctx context.Context) { e.keepLink(ctx, peer) })
		}
	}
	if e.cfg.DiscoverRelays() && len(e.cfg.GlobalRooms) > 0 {
		e.spawn(e.discover)
	}
	t := time.NewTicker(fedTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		e.guarded("federation clock", func() {
			e.fed.mesh.Tick(e.mono())
			e.fed.mesh.ForgetFound(e.mono(), foundIdle)
			if e.fed.on {
				e.tellPresence()
			}
		})
	}
}

// kick is the channel by which a peer's dialler is told not to wait.
func (f *federation) kick(fingerprint string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.kicks[fingerprint]
	if c == nil {
		c = make(chan struct{}, 1)
		f.kicks[fingerprint] = c
	}
	return c
}

// keepLink keeps a link to the peer for as long as ctx lives: it dials whenever
// there is none, more and more rarely while that fails.
func (e *Engine) keepLink(ctx context.Context, p fed.Peer) {
	m, kick := e.fed.mesh, e.fed.kick(p.Fingerprint)
	changed := m.Changed(p.Fingerprint)
	var back fed.Backoff
	if !m.Preferred(p.Fingerprint) && !sleep(ctx, yieldDial, nil) {
		return
	}
	for ctx.Err() == nil {
		if now, known := m.Find(p.Fingerprint); !known || now != p {
			return // it was found, and forgotten, or the configuration has another
		}
		if m.Settled(p.Fingerprint) {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		start := time.Now()
		up := e.dialOnce(ctx, p)
		lived := time.Duration(0)
		if up {
			lived = time.Since(start)
		}
		wait := back.Next(lived, rand.Float64()) //nolint:gosec // jitter
		if !m.Preferred(p.Fingerprint) {
			wait += yieldDial
		}
		if !sleep(ctx, wait, kick) {
			return
		}
	}
}

// sleep waits for d, or less when it is kicked; false when ctx has ended.
func sleep(ctx context.Context, d time.Duration, kick <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-kick:
	}
	return true
}

// dialOnce dials a peer and runs the link until it ends; false when there was
// none.
func (e *Engine) dialOnce(ctx context.Context, p fed.Peer) bool {
	c, err := e.dialRelay(ctx, p, sniFederation)
	if err != nil {
		if ctx.Err() == nil {
			err = dialTrouble(p.URL, err)
			e.fed.mesh.Dialled(p.Fingerprint, err, e.mono())
			e.sayOnce("dial/"+p.Fingerprint, view.Event{Kind: "link_failed", Severity: view.Warn, Subject: linkName(p), Message: fmt.Sprintf("no link to %s: %v", linkName(p), err)})
		}
		return false
	}
	return e.runFederation(ctx, c, fed.Up{Fingerprint: p.Fingerprint, Verified: true, Outbound: true})
}

// dialTrouble is why there is no link, in words: most often nobody answers.
func dialTrouble(url string, err error) error {
	if s := err.Error(); strings.Contains(s, "timeout") || strings.Contains(s, "deadline") {
		return errors.New("no answer from " + clean(url))
	}
	return err
}

func linkName(p fed.Peer) string {
	switch {
	case p.Label != "":
		return clean(p.Label)
	case p.URL != "":
		return clean(p.URL)
	}
	return p.Fingerprint[:min(16, len(p.Fingerprint))]
}

// dialRelay connects to a relay and takes nobody for it who shows another
// certificate than the one that is pinned (spec wzp 7.2 row 28).
func (e *Engine) dialRelay(ctx context.Context, p fed.Peer, sni string) (*quicnet.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, fedDialLimit)
	defer cancel()
	pin, err := hex.DecodeString(p.Fingerprint)
	if err != nil || len(pin) != 32 {
		return nil, fmt.Errorf("the fingerprint %q is not 64 hex digits: nobody can have it", p.Fingerprint)
	}
	addr, err := resolveUDP(ctx, p.URL)
	if err != nil {
		return nil, err
	}
	dc := quicnet.DialConfig{Addr: addr, ALPN: quicnet.ALPNWZP, ServerName: sni, ExpectCert: [32]byte(pin)}
	if sni == sniFederation {
		dc.Cert = e.tlsCert
	}
	return e.edge.Dial(ctx, dc)
}

// resolveUDP looks a name up, unless it is an address.
func resolveUDP(ctx context.Context, hostport string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(ips) == 0 {
		return netip.AddrPort{}, errors.New("the name " + host + " has no address")
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(n)), nil
}

// serveFederation takes a link that another relay has opened (spec wzp 4.5).
func (e *Engine) serveFederation(ctx context.Context, c *quicnet.Conn) {
	hctx, cancel := context.WithTimeout(ctx, helloTimeout)
	sig, err := readSignal(hctx, c)
	cancel()
	h, ok := sig.(*wire.FederationHello)
	if err != nil || !ok {
		why := "something else instead of a hello"
		if err != nil {
			why = "no hello: " + err.Error()
		}
		e.refuseLink(c, "", why, "")
		return
	}
	up, why, line := e.proveInbound(ctx, c, h)
	if why != "" {
		e.refuseLink(c, h.TLSFingerprint, why, line)
		return
	}
	up.Hello = h
	e.runFederation(ctx, c, up)
}

// entry is what the configuration says of a relay.
func (e *Engine) entry(fingerprint string) (url string, unproven, known bool) {
	n := e.fed.named.Load()
	for _, p := range n.peers {
		if state.NormalFingerprint(p.Fingerprint) == fingerprint {
			url, unproven, known = p.URL, unproven || p.Unproven, true
		}
	}
	for _, t := range n.trusted {
		if state.NormalFingerprint(t.Fingerprint) == fingerprint {
			unproven, known = unproven || t.Unproven, true
		}
	}
	return url, unproven, known
}

// proveInbound finds out whether a relay is who it says: by the certificate it
// has shown, else by dialling back to where the configuration says that it is.
// why is empty when it may be linked, line is what would let it.
func (e *Engine) proveInbound(ctx context.Context, c *quicnet.Conn, h *wire.FederationHello) (up fed.Up, why, line string) {
	claimed := state.NormalFingerprint(h.TLSFingerprint)
	if _, err := hex.DecodeString(claimed); err != nil || len(claimed) != 64 {
		return up, "its hello carries no fingerprint", ""
	}
	up.Fingerprint = claimed
	url, unproven, known := e.entry(claimed)
	shown := c.PeerCertificate()
	if shown != nil && state.NormalFingerprint(state.TLSFingerprint(shown)) != claimed {
		return up, "it claims to be another relay than its certificate says", ""
	}
	if !known && shown != nil && e.guest(claimed) {
		known = true
	}
	text := h.TLSFingerprint
	switch {
	case !known:
		return up, "it is not in [[peers]] or [[trusted]]", trustLine(text, shown == nil)
	case shown != nil:
		up.Verified = true
		return up, "", ""
	case url != "" && e.dialBack(ctx, c, claimed, url):
		up.Verified = true
		return up, "", ""
	case unproven:
		return up, "", ""
	}
	return up, "it cannot prove who it is: it shows no certificate, and " + dialBackWhy(url), unprovenLine
}

func dialBackWhy(url string) string {
	if url == "" {
		return "there is no address to dial it back at"
	}
	return "it does not come from " + clean(url) + " or that is not who answers there"
}

// unprovenLine lets a relay in that cannot prove who it is.
const unprovenLine = "unproven = true"

// trustLine is what an operator would add to the configuration, as TOML, to let
// a relay in that has no entry there.
func trustLine(fingerprint string, unproven bool) string {
	s := fmt.Sprintf("[[trusted]]\nfingerprint = %q", clean(fingerprint))
	if unproven {
		s += "\n" + unprovenLine
	}
	return s
}

// admitting is a refusal's line where there is one line only to say it in: an
// entry's lines as TOML of one line, which stands before all tables of a file.
func admitting(line string) string {
	keys, entry := strings.CutPrefix(line, "[[trusted]]\n")
	if !entry {
		return "to admit it, add to its entry: " + line
	}
	return "to admit it, begin the configuration with: trusted = [{" + strings.ReplaceAll(keys, "\n", ", ") + "}] (beside other entries, add what signalbox doctor prints)"
}

// dialBack proves a relay that shows no certificate: what comes from the very
// address and port at which a relay with the pinned certificate answers is that
// relay, since it dials from the port it listens on (spec wzp 1.5).
func (e *Engine) dialBack(ctx context.Context, c *quicnet.Conn, fingerprint, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, fedDialLimit)
	defer cancel()
	addr, err := resolveUDP(ctx, url)
	if err != nil || addr != c.RemoteAddr() {
		return false
	}
	f := &e.fed
	f.mu.Lock()
	recent := time.Since(f.proving[fingerprint]) < time.Second
	if !recent {
		f.proving[fingerprint] = time.Now() // only relays of the configuration come here
	}
	f.mu.Unlock()
	if recent {
		return false // it will try again
	}
	back, err := e.dialRelay(ctx, fed.Peer{Fingerprint: fingerprint, URL: addr.String()}, "ping")
	if err != nil {
		return false
	}
	back.Close(0, "ping")
	return true
}

// refuseLink ends a connection that is not to be a link, and says why once a
// minute for each relay.
func (e *Engine) refuseLink(c *quicnet.Conn, claimed, why, line string) {
	c.Close(0, closeReason)
	from := c.RemoteAddr()
	subject := clean(claimed)
	if len(subject) > 95 {
		subject = subject[:95]
	}
	e.fed.refused(view.Refusal{At: time.Now().UTC(), Remote: from.String(), Fingerprint: subject, Reason: why, Line: line})
	msg := fmt.Sprintf("a relay at %s was refused: %s", from, why)
	if line != "" {
		msg += "; " + admitting(line)
	}
	e.sayOnce("refused/"+from.Addr().String(), view.Event{Kind: "link_refused", Severity: view.Warn, Subject: from.String(), Message: msg})
	e.endings.add(view.Ending{At: time.Now().UTC(), Kind: "link", Subject: subject, Remote: from.String(), Reason: "refused: " + why})
}

const (
	maxRefusals = 16
	maxSaid     = 1024
	sayEvery    = time.Minute
)

func (f *federation) refused(r view.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.refusals {
		if o := &f.refusals[i]; o.Fingerprint == r.Fingerprint && o.Reason == r.Reason {
			r.Count = o.Count
			f.refusals = append(f.refusals[:i], f.refusals[i+1:]...)
			break
		}
	}
	r.Count++
	if len(f.refusals) >= maxRefusals {
		f.refusals = f.refusals[1:]
	}
	f.refusals = append(f.refusals, r)
}

// listRefusals are the newest first.
func (f *federation) listRefusals() []view.Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]view.Refusal, 0, len(f.refusals))
	for _, r := range slices.Backward(f.refusals) {
		out = append(out, r)
	}
	return out
}

// sayOnce reports something that may come often, once a minute for each key.
func (e *Engine) sayOnce(key string, ev view.Event) {
	f := &e.fed
	now := time.Now()
	f.mu.Lock()
	due := now.Sub(f.said[key]) >= sayEvery
	if due {
		if len(f.said) >= maxSaid {
			clear(f.said)
		}
		f.said[key] = now
	}
	f.mu.Unlock()
	if due {
		e.event(ev)
	}
}
