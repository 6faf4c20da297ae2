package dht

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/dht/wire"
	"signalbox/engine/view"
)

// Reachability verdicts of the snapshot.
const (
	verdictUnknown   = "unknown"   // too few peers have told where they see us
	verdictPublic    = "public"    // a stranger has reached us unasked
	verdictNAT       = "nat"       // all see one address, no stranger gets through
	verdictSymmetric = "symmetric" // every peer sees another port
)

// Periods and bounds of knowing where we are.
const (
	reachEvery     = 5 * time.Second
	reachSettle    = 200 * time.Millisecond // links come in bunches
	observedFor    = 30 * time.Minute
	provedFor      = time.Hour        // without a stranger among those sent
	proveAgain     = 40 * time.Minute // 27-53 min: strangers are sent for before that
	defaultQuorum  = 2
	maxObservers   = 32
	dialBackFirst  = 15 * time.Second
	dialBackMax    = 10 * time.Minute
	dialBackEnough = 3 // questions without a stranger getting through: we are behind something
	maxSent        = 4096
	sentFor        = 10 * time.Minute // longer than a NAT keeps a mapping of UDP
	sentAgain      = time.Minute      // those with a link are noted so often
	duplicateAfter = 40 * time.Second // a link that old is alive: a dead one ends after 30 s
	retireAfter    = 2 * rpcTimeout   // answers to what was asked over a relayed link still come
)

// families of addresses, in the order of their indices.
const numFamilies = 2

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// reach is what the node knows of its own place in the network.
type reach struct {
	sent sentBook

	mu     sync.Mutex                     // a leaf; guards the fields below
	seen   map[netip.AddrPort]observation // by the observer's network
	proof  [numFamilies]int64             // when a stranger last got through; longAgo: never, or to another address
	place  [numFamilies]netip.AddrPort    // the address agreed on last
	asked  [numFamilies]int               // strangers sent to us since the last proof
	tries  [numFamilies]int               // dial-backs asked for since, those included nobody could be sent for
	askAt  [numFamilies]int64             // when to ask again
	self   []table.Addr                   // our published set
	now    standing                       // as of the last pass
	told   string                         // the verdict last told as an event
	vers   uint64                         // of self, from 1
	rotate int                            // whom to ask next

	counter atomic.Uint64 // of ADDRESS messages, over all links
}

// observation is where one network sees us.
type observation struct {
	addr   netip.AddrPort
	at     int64
	dialed bool // the observer is one we chose
}

// standing is the state of one pass.
type standing struct {
	verdict   string
	addrs     []view.Addr
	observers int
}

// never is older than anything: see maintain.go for the other end.
const longAgo = -never

func (n *Node) initReach() {
	n.reach.seen = map[netip.AddrPort]observation{}
	n.reach.proof = [numFamilies]int64{longAgo, longAgo}
	n.reach.askAt = n.reach.proof
	n.reach.now.verdict, n.reach.told = verdictUnknown, verdictUnknown
	n.reach.sent.init(n.cfg.AllowLoopback)
	n.routes.init()
	n.channels.init()
	n.relaying.init()
}

func (cfg *Config) reachDefaults() {
	if cfg.LocalAddrs == nil {
		cfg.LocalAddrs = func() []netip.AddrPort { return nil }
	}
	if cfg.Quorum <= 0 {
		cfg.Quorum = defaultQuorum
	}
	if cfg.RelayRate <= 0 {
		cfg.RelayRate = 64 << 10
	}
	cfg.RelayedMost = cmp.Or(cfg.RelayedMost, defaultRelayed)
	cfg.Advertise = table.Canonical(cfg.Advertise)
}

// observerKey is the network a report comes from: one voice per /24 or /48,
// however many peers speak from there.
func (n *Node) observerKey(from netip.AddrPort) netip.AddrPort {
	from = table.Canonical(from)
	if n.cfg.AllowLoopback {
		return from
	}
	return netip.AddrPortFrom(table.Subnet(from.Addr()).Addr(), 0)
}

// observed takes the report of the peer of s about where it sees us.
func (n *Node) observed(s *session, addr netip.AddrPort, now int64) {
	addr = table.Canonical(addr)
	if !s.direct() || !table.Storable(addr) || table.LocalScope(addr.Addr()) && !n.cfg.AllowLoopback {
		return
	}
	r, key := &n.reach, n.observerKey(s.link.RemoteAddr())
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.seen[key]; !known && len(r.seen) >= maxObservers {
		r.forget()
	}
	r.seen[key] = observation{addr, now, s.dialed.Load()}
}

// forget drops the report that is worth least: those who came to us before
// those we chose, then the oldest. The caller holds mu.
func (r *reach) forget() {
	var worst netip.AddrPort
	var o observation
	for k, x := range r.seen {
		if !worst.IsValid() || o.dialed && !x.dialed || o.dialed == x.dialed && x.at < o.at {
			worst, o = k, x
		}
	}
	delete(r.seen, worst)
}

// proved notes that a peer has reached us from an address we had sent nothing
// to. A neighbour in the same local network proves nothing.
func (r *reach) proved(from netip.AddrPort, now int64, lenient bool) {
	ip := table.Canonical(from).Addr()
	if table.LocalScope(ip) && !lenient {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fam := familyOf(ip)
	r.proof[fam], r.asked[fam], r.tries[fam], r.askAt[fam] = now, 0, 0, longAgo
}

// vote is what the observers of one family say.
type vote struct {
	addr      netip.AddrPort // agreed on; invalid: none
	symmetric bool           // they agree on the IP and not on the port
	voices    int
}

// poll counts the fresh reports of a family. Those we chose decide alone as
// soon as there are enough of them. The caller holds mu.
func (r *reach) poll(fam, quorum int, now int64) vote {
	var chosen, all []netip.AddrPort
	for k, o := range r.seen {
		switch {
		case now-o.at > int64(observedFor):
			delete(r.seen, k)
		case familyOf(o.addr.Addr()) != fam:
		default:
			all = append(all, o.addr)
			if o.dialed {
				chosen = append(chosen, o.addr)
			}
		}
	}
	if len(chosen) >= quorum {
		all = chosen
	}
	v := vote{voices: len(all)}
	ports, ips := map[netip.AddrPort]int{}, map[netip.Addr]int{}
	for _, a := range all {
		ports[a]++
		ips[a.Addr()]++
	}
	for a, k := range ports {
		if k >= quorum && 2*k > len(all) {
			v.addr = a
		}
	}
	if !v.addr.IsValid() {
		for _, k := range ips {
			v.symmetric = v.symmetric || k >= quorum && 2*k > len(all)
		}
	}
	return v
}

// reachJob keeps peers informed of where we are, and ourselves.
func (n *Node) reachJob(ctx context.Context, woken bool) time.Duration {
	if !woken || sleep(ctx, jitter(reachSettle)) {
		n.reachPass(ctx)
	}
	return jitter(reachEvery)
}

func (n *Node) reachPass(ctx context.Context) {
	now, all := n.now(), slices.Collect(n.reg.all)
	if n.reach.sent.again(now) {
		for _, s := range all {
			if s.direct() {
				n.reach.sent.mark(s.link.RemoteAddr(), now)
			}
		}
	}
	n.tidyLinks(all, now)
	n.channels.idle(now)
	n.assess(now)
	if n.tell(ctx, all) {
		n.assess(n.now()) // the answers say where we are
	}
	n.askDialBack(ctx, all)
	n.improve(all, n.now())
}

// assess makes up the mind about where we are.
func (n *Node) assess(now int64) {
	local := n.cfg.LocalAddrs()
	r := &n.reach
	r.mu.Lock()
	var self []table.Addr
	st := standing{verdict: verdictUnknown}
	if n.cfg.Advertise.IsValid() && table.Storable(n.cfg.Advertise) {
		self = append(self, table.Addr{AddrPort: n.cfg.Advertise, Type: table.Direct})
	}
	for fam := range numFamilies {
		v := r.poll(fam, n.cfg.Quorum, now)
		r.moved(fam, v.addr)
		st.observers += v.voices
		verdict := r.judge(fam, v, slices.Contains(local, v.addr), now)
		if verdictRank(verdict) > verdictRank(st.verdict) {
			st.verdict = verdict
		}
		if !v.addr.IsValid() || v.addr == n.cfg.Advertise {
			continue
		}
		typ, name := table.Unverified, table.Unverified.String()
		switch verdict {
		case verdictPublic:
			typ, name = table.Direct, table.Direct.String()
		case verdictNAT:
			name = verdictNAT
		}
		self = append(self, table.Addr{AddrPort: v.addr, Type: typ})
		st.addrs = append(st.addrs, view.Addr{Addr: v.addr.String(), Type: name})
	}
	if n.cfg.Advertise.IsValid() {
		st.addrs = append([]view.Addr{{Addr: n.cfg.Advertise.String(), Type: "advertised"}}, st.addrs...)
	}
	for _, a := range localScope(local) {
		self = append(self, table.Addr{AddrPort: a, Type: table.Lan})
		st.addrs = append(st.addrs, view.Addr{Addr: a.String(), Type: table.Lan.String()})
	}
	if r.vers == 0 || !slices.Equal(self, r.self) {
		r.self, r.vers = self, r.vers+1
	}
	r.now = st
	before := r.told
	r.told = st.verdict
	r.mu.Unlock()
	if before != st.verdict {
		n.event(view.Info, "dht.reachability", st.verdict, fmt.Sprintf("reachability is %s, was %s", st.verdict, before),
			map[string]any{"observers": st.observers})
	}
}

// verdictRank orders verdicts from the one that says least.
func verdictRank(v string) int {
	return slices.Index([]string{verdictUnknown, verdictSymmetric, verdictNAT, verdictPublic}, v)
}

// moved forgets what was proved of another address. The caller holds mu.
func (r *reach) moved(fam int, to netip.AddrPort) {
	if !to.IsValid() || to == r.place[fam] {
		return
	}
	if r.place[fam].IsValid() {
		r.proof[fam], r.asked[fam], r.tries[fam], r.askAt[fam] = longAgo, 0, 0, longAgo
	}
	r.place[fam] = to
}

// proven reports whether strangers get through, as far as is known. That the
// last proof is old says nothing by itself: in a small network everybody has
// been here already, and nobody is left who could prove it anew. It lapses when
// strangers were sent and none arrived. The caller holds mu.
func (r *reach) proven(fam int, now int64) bool {
	return r.proof[fam] != longAgo && (now-r.proof[fam] < int64(provedFor) || r.asked[fam] < dialBackEnough)
}

// judge is the verdict on one family. The caller holds mu.
func (r *reach) judge(fam int, v vote, ours bool, now int64) string {
	switch {
	case r.proven(fam, now) && !v.symmetric:
		return verdictPublic
	case v.symmetric:
		return verdictSymmetric
	case !v.addr.IsValid():
		return verdictUnknown
	case !ours || r.asked[fam] >= dialBackEnough:
		return verdictNAT
	default: // an address of our own machine, perhaps behind a firewall
		return verdictUnknown
	}
}

// localScope picks up to one local address per family to tell neighbours.
func localScope(local []netip.AddrPort) (out []netip.AddrPort) {
	var have [numFamilies]bool
	for _, a := range local {
		a = table.Canonical(a)
		ip := a.Addr()
		if f := familyOf(ip); table.LocalScope(ip) && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && table.Storable(a) && !have[f] {
			have[f] = true
			out = append(out, a)
		}
	}
	return out
}

// askDialBack has a peer send a stranger to us, when nobody has come for long.
func (n *Node) askDialBack(ctx context.Context, all []*session) {
	now := n.now()
	for fam := range numFamilies {
		if !n.reach.mayAskDialBack(fam, n.cfg.ID, now) {
			continue
		}
		var askable []*session
		for _, s := range all {
			if s.direct() && familyOf(table.Canonical(s.link.RemoteAddr()).Addr()) == fam {
				askable = append(askable, s)
			}
		}
		if s := n.reach.pickDialBack(fam, n.cfg.Quorum, askable, now); s != nil {
			m, err := n.askReach(ctx, s, wire.Answer, func(buf []byte, req uint64) []byte {
				return wire.AppendIntroduce(buf, req, wire.ForDialBack, &table.ID{})
			})
			if err == nil && m.Result == wire.ResultOK {
				n.reach.dialBackAsked(fam)
			}
		}
	}
}

// mayAskDialBack says whether it is time. A fleet that was proved in one second
// does not ask anew in one second.
func (r *reach) mayAskDialBack(fam int, self table.ID, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.proof[fam]
	fresh := at != longAgo && now-at < spread(uint64(at), uint64(fam), self, int64(proveAgain))
	return !fresh && now >= r.askAt[fam]
}

// pickDialBack picks whom to ask; nil where nobody can be asked, or we do not
// know where we are.
func (r *reach) pickDialBack(fam, quorum int, askable []*session, now int64) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(askable) == 0 || !r.poll(fam, quorum, now).addr.IsValid() {
		return nil
	}
	r.askAt[fam] = now + int64(jitter(min(dialBackFirst<<min(r.tries[fam], 8), dialBackMax)))
	r.tries[fam]++
	r.rotate++
	slices.SortFunc(askable, func(a, b *session) int { return cmp.Compare(a.gen, b.gen) })
	return askable[r.rotate%len(askable)]
}

func (r *reach) dialBackAsked(fam int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[fam]++
}

// tidyLinks closes what two nodes need no longer: relayed links beside a
// direct one, and one of two links of a kind. Of the latter the node with the
// smaller id closes the older, and only when both must be alive, so that the
// two ends never close one each.
func (n *Node) tidyLinks(all []*session, now int64) {
	if n.reg.links.Load() == n.reg.peers.Load() {
		return // one each
	}
	for _, s := range all {
		best := n.reg.best(s.peer)
		switch {
		case best == nil || best == s:
		case !s.direct() && best.direct():
			if now-best.born > int64(retireAfter) {
				s.link.Close("a direct link has taken over")
			}
		case s.direct() == best.direct() && now-best.born > int64(duplicateAfter) && slices.Compare(n.cfg.ID[:], s.peer[:]) < 0:
			s.link.Close("a second link")
		}
	}
}

// isPublic reports whether strangers reach us.
func (r *reach) isPublic() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now.verdict == verdictPublic
}

// fill writes the reachability of the snapshot.
func (n *Node) fillReach(v *view.Reachability) {
	r, c := &n.reach, &n.counts
	r.mu.Lock()
	v.Verdict, v.Addrs, v.Observers = r.now.verdict, r.now.addrs, r.now.observers
	r.mu.Unlock()
	v.PunchedOK, v.PunchedFailed, v.PunchRefused = c.punchedOK.Load(), c.punchedFailed.Load(), c.punchRefused.Load()
	v.Introduced, v.IntroduceRefused = c.introduced.Load(), c.introduceRefused.Load()
	v.RelayedOK, v.RelayedFailed = c.relayedOK.Load(), c.relayedFailed.Load()
	v.RelayedPeers = []view.RelayedPeer{}
	for _, s := range n.relayedLinks() {
		v.RelayedPeers = append(v.RelayedPeers, view.RelayedPeer{ID: s.peer.String(), Via: s.via.String()})
	}
	v.Relayed = len(v.RelayedPeers)
	v.Relaying = view.Relaying{
		Pairs: n.relaying.len(), Capacity: n.cfg.RelayPairs, Frames: c.frames.Load(), Bytes: c.frameBytes.Load(),
		Dropped: map[string]uint64{"queue": c.dropQueue.Load(), "stray": c.dropStray.Load()},
	}
	if v.Addrs == nil {
		v.Addrs = []view.Addr{}
	}
}

// relayedLinks are the links we have through others.
func (n *Node) relayedLinks() []*session {
	if n.channels.len() == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Collect(n.reg.all), func(s *session) bool { return s.direct() })
}
