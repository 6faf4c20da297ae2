package fed

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"signalbox/relay"
	"signalbox/relay/wire"
)

// Bounds of what a peer may announce, in bytes but for the last.
const (
	maxName        = 253
	maxFingerprint = 128
	maxAlias       = 256
	maxLabel       = 64
	maxRoomMembers = 1000
)

// lingers is how long a room of nobody keeps what it knows of versions, so that
// what is still on its way cannot bring back those who left.
const (
	lingers    = 30 * time.Second
	sweepEvery = 5 * time.Second
)

// group is the members of one relay in one room, as a peer has told. It is
// never changed.
type group struct {
	version uint64   // of that relay, for this room; 0: it gives none
	path    []string // from the peer to that relay, both named
	members []wire.RoomParticipant
}

// beyond stands for the relay of members that a relay of another make has from
// others: it does not tell from whom. It has the length of a relay's name.
const beyond = "beyond.........."

// origin tells groups apart that are not the same: the members' relay, or what
// is beyond one.
func (g *group) origin() string {
	if g.hearsay() {
		return g.relay() + beyond
	}
	return g.relay()
}

// hearsay says whether nobody knows the members' relay.
func (g *group) hearsay() bool { return g.path[len(g.path)-1] == beyond }

// relay is the members' relay, or the last one known on the way to it.
func (g *group) relay() string {
	if g.hearsay() && len(g.path) > 1 {
		return g.path[len(g.path)-2]
	}
	return g.path[len(g.path)-1]
}

// adds says whether a member of the group is to be listed beside those seen, and
// notes it. Members without a fingerprint, browsers without a token, are as many
// as their relay says (7.2 row 69); by hearsay only if there are none yet, since
// it may speak of the same ones.
func (g *group) adds(seen map[string]bool, fingerprint string) bool {
	if seen[fingerprint] && (fingerprint != "" || g.hearsay()) {
		return false
	}
	seen[fingerprint] = true
	return true
}

func (g *group) equal(o *group) bool {
	return g.version == o.version && slices.Equal(g.path, o.path) && slices.EqualFunc(g.members, o.members, sameMember)
}

func sameMember(a, b wire.RoomParticipant) bool {
	return a.Fingerprint == b.Fingerprint && text(a.Alias) == text(b.Alias) && text(a.RelayLabel) == text(b.RelayLabel)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// newestLocked notes a version and says whether it is not an old one. What the
// relay itself says is always the newest. mu is held.
func (r *room) newestLocked(origin string, version uint64, itself bool) bool {
	if version == 0 {
		return true
	}
	if !itself && version < r.latest[origin] {
		return false
	}
	if old, have := r.latest[origin]; old != version && (have || len(r.latest) < maxGroups) {
		r.latest[origin] = version
		r.versions++
	}
	return true
}

// stale says whether a newer version of the group's relay is known. mu is held.
func (r *room) stale(g *group) bool { return g.version != 0 && g.version < r.latest[g.origin()] }

// groupsLocked takes a list apart. mu is held.
func (m *Mesh) groupsLocked(p *peer, r *room, list []wire.RoomParticipant, via *string) []group {
	var spans []span
	ok := false
	if via != nil {
		spans, ok = parseVia(*via, min(len(list), maxRoomMembers))
	}
	if !ok { // its own members bear no label (5.13)
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b wire.RoomParticipant) int { return cmp.Compare(labelled(a), labelled(b)) })
		own := min(slices.IndexFunc(append(list, named), func(v wire.RoomParticipant) bool { return v.RelayLabel != nil }), maxRoomMembers)
		spans = []span{{count: own}, {count: min(len(list), maxRoomMembers) - own, path: []string{beyond}}}
	}
	list = p.clean(list)
	var out []group
	for _, s := range spans {
		g := group{version: s.version, path: append([]string{p.id}, s.path...), members: list[:s.count:s.count]}
		list = list[s.count:]
		// What has come through us, or twice through anybody, is no news.
		if slices.Contains(g.path, m.self) || twice(g.path) || !r.newestLocked(g.origin(), g.version, len(g.path) == 1) {
			continue
		}
		if len(g.members) > 0 {
			out = append(out, g)
		}
	}
	return out
}

var named = wire.RoomParticipant{RelayLabel: new(string)}

func labelled(v wire.RoomParticipant) int {
	if v.RelayLabel != nil {
		return 1
	}
	return 0
}

func twice(path []string) bool {
	for i, id := range path {
		if slices.Contains(path[:i], id) {
			return true
		}
	}
	return false
}

// box says whether the peer is a signalbox. mu is held.
func (p *peer) box() bool { return p.primary != nil && p.primary.box.Load() }

// clean bounds and labels what a peer has told.
func (p *peer) clean(list []wire.RoomParticipant) []wire.RoomParticipant {
	label := p.name()
	out := slices.Clone(list[:min(len(list), maxRoomMembers)])
	for i := range out {
		v := &out[i]
		v.Fingerprint = cut(v.Fingerprint, maxFingerprint)
		if v.Alias != nil {
			a := cut(*v.Alias, maxAlias)
			v.Alias = &a
		}
		l := label
		if v.RelayLabel != nil {
			l = cut(relay.Sanitize(*v.RelayLabel), maxLabel)
		}
		v.RelayLabel = &l
	}
	return out
}

func cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}

// announcedLocked takes a peer's list for a room, and returns the room if that
// changed anything. mu is held.
func (m *Mesh) announcedLocked(p *peer, name string, list []wire.RoomParticipant, via *string) *room {
	name, ok := m.Canonical(name)
	if !ok || len(name) > maxName || relay.Sanitize(name) != name || strings.Contains(name, " ") {
		return nil // not a room of ours
	}
	r := m.rooms[name]
	if r == nil {
		if len(list) == 0 || len(p.rooms) >= m.cfg.MaxRooms {
			return nil
		}
		r = m.openLocked(name)
	}
	before, had := p.rooms[name]
	if !had && len(p.rooms) >= m.cfg.MaxRooms {
		return nil
	}
	versions := r.versions
	groups := m.groupsLocked(p, r, list, via)
	n := 0
	for i := range groups {
		n += len(groups[i].members)
	}
	was := 0
	for i := range before {
		was += len(before[i].members)
	}
	if p.members-was+n > m.cfg.MaxMembers {
		return nil
	}
	if slices.EqualFunc(before, groups, func(a, b group) bool { return a.equal(&b) }) && versions == r.versions {
		return nil
	}
	p.members += n - was
	if len(groups) == 0 {
		delete(p.rooms, name)
	} else {
		p.rooms[name] = groups
	}
	m.roomChangedLocked(r)
	return r
}

// roomChangedLocked has everybody who is concerned look again. mu is held.
func (m *Mesh) roomChangedLocked(r *room) {
	m.fanLocked(r)
	for _, p := range m.peers {
		if l := p.primary; l != nil {
			l.dirty[r.name] = true
			l.wakeSignals()
		}
	}
}

// forgetLocked drops what a peer has announced and returns the rooms that this
// changes for our members. mu is held.
func (m *Mesh) forgetLocked(p *peer) []*room {
	var out []*room
	for name := range p.rooms {
		delete(p.rooms, name)
		if r := m.rooms[name]; r != nil {
			m.roomChangedLocked(r)
			out = append(out, r)
		}
	}
	p.members = 0
	return out
}

// bestLocked are the groups of a room by their relays, one each: the shortest
// way to the newest version. those of one peer, and those that keep refuses,
// are left out. mu is held.
func (m *Mesh) bestLocked(r *room, except *peer, keep func(*group) bool) []*group {
	best := map[string]*group{}
	for _, p := range m.peers {
		if p == except || p.primary == nil {
			continue
		}
		for i, groups := 0, p.rooms[r.name]; i < len(groups); i++ {
			g := &groups[i]
			if r.stale(g) || !keep(g) {
				continue
			}
			if b := best[g.origin()]; b == nil || better(g, b) {
				best[g.origin()] = g
			}
		}
	}
	out := make([]*group, 0, len(best))
	for _, g := range best {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b *group) int {
		// Hearsay last: it must not take the place of what is known, or the
		// two could push each other out for ever.
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(len(a.path), len(b.path)), cmp.Compare(a.origin(), b.origin()))
	})
	return out
}

func rank(g *group) int {
	if g.hearsay() {
		return 1
	}
	return 0
}

func better(a, b *group) bool {
	if a.version != b.version {
		return a.version > b.version
	}
	if len(a.path) != len(b.path) {
		return len(a.path) < len(b.path)
	}
	return slices.Compare(a.path, b.path) < 0
}

// listFor is what a peer is to be told of a room. mu is held.
func (m *Mesh) listFor(p *peer, r *room) (list []wire.RoomParticipant, spans []span) {
	if !m.mayShare(r.name, p) {
		return nil, nil
	}
	seen := map[string]bool{}
	if r.local != nil {
		list = r.local.Members()
		if len(list) > 0 || p.box() {
			spans = append(spans, span{version: r.version, count: len(list)})
		}
		for i := range list {
			seen[list[i].Fingerprint] = true
		}
	} else if r.version > 0 && p.box() {
		spans = append(spans, span{version: r.version}) // nobody is here any more
	}
	groups := m.bestLocked(r, p, func(g *group) bool {
		return !slices.Contains(g.path, p.id) && len(g.path) < maxPath && !(p.box() && p.near[g.relay()])
	})
	for _, g := range groups {
		n := len(list)
		for _, v := range g.members {
			if len(list) < maxRoomMembers && g.adds(seen, v.Fingerprint) {
				list = append(list, v)
			}
		}
		if len(list) > n {
			spans = append(spans, span{version: g.version, count: len(list) - n, path: g.path})
		}
	}
	return list, spans
}

// composeLocked is what the link must be told of a room, nil when it knows. mu
// is held.
func (m *Mesh) composeLocked(l *Link, name string) wire.Signal {
	r, p := m.rooms[name], l.peer
	var list []wire.RoomParticipant
	var via *string
	if r != nil {
		var spans []span
		if list, spans = m.listFor(p, r); p.box() {
			v := formatVia(spans)
			via = &v
		}
	}
	hash := m.hashList(list, via)
	switch before := l.told[name]; {
	case before == hash, before == 0 && len(list) == 0:
		return nil
	case len(list) == 0:
		delete(l.told, name)
		return &wire.GlobalRoomInactive{Room: name, Via: via}
	}
	l.told[name] = hash
	return &wire.GlobalRoomActive{Room: name, Participants: list, Via: via}
}

func (m *Mesh) hashList(list []wire.RoomParticipant, via *string) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	put := func(s string) {
		_, _ = h.WriteString(s) // never fails
		_ = h.WriteByte(0)
	}
	for i := range list {
		put(list[i].Fingerprint)
		put(text(list[i].Alias))
		put(text(list[i].RelayLabel))
	}
	put(text(via))
	return h.Sum64() | 1
}

// sync tells our own members who is elsewhere. It is called without mu.
func (m *Mesh) sync(rooms []*room) {
	for _, r := range rooms {
		m.mu.Lock()
		local := r.local
		var re *relay.Remotes
		if local != nil {
			re = m.remotesLocked(r, local)
		}
		m.mu.Unlock()
		if re != nil {
			local.SetRemotes(re)
		}
	}
}

// remotesLocked is the list of a room's members elsewhere. Nobody who is here is
// in it. mu is held.
func (m *Mesh) remotesLocked(r *room, local *relay.GlobalRoom) *relay.Remotes {
	m.gen++
	re := &relay.Remotes{Gen: m.gen}
	seen := map[string]bool{}
	if local != nil {
		for _, v := range local.Members() {
			seen[v.Fingerprint] = true
		}
	}
	for _, g := range m.bestLocked(r, nil, func(*group) bool { return true }) {
		for _, v := range g.members {
			if len(re.List) < maxRoomMembers && g.adds(seen, v.Fingerprint) {
				re.List = append(re.List, v)
			}
		}
	}
	return re
}

// nearChangedLocked tells signalboxes with whom we are linked. mu is held.
func (m *Mesh) nearChangedLocked() {
	for _, p := range m.peers {
		if l := p.primary; l != nil && l.box.Load() {
			l.helloDue = true
			l.wakeSignals()
		}
	}
}

// ownHelloLocked is what we say of ourselves. Relays that get every packet from
// us directly count as near, and those that an operator keeps from getting any:
// nobody is to carry it to them for us. mu is held.
func (m *Mesh) ownHelloLocked(l *Link) *wire.FederationHello {
	var near []string
	for _, p := range m.peers {
		if p.primary != nil && p != l.peer {
			near = append(near, p.id)
		}
	}
	slices.Sort(near)
	h := formatHello(near)
	return &wire.FederationHello{TLSFingerprint: colons(m.cfg.Self), Signalbox: &h}
}

// colons is a fingerprint as it goes over the wire (1.2).
func colons(fp string) string {
	var b strings.Builder
	for i := 0; i+2 <= len(fp); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(fp[i : i+2])
	}
	return b.String()
}

// helloLocked notes what a peer can do and with whom it is linked. It says
// whether that changed anything. mu is held.
func (m *Mesh) helloLocked(l *Link, h *wire.FederationHello) bool {
	if h.Signalbox == nil {
		return false
	}
	near, ok := parseHello(*h.Signalbox)
	if !ok {
		return false
	}
	p := l.peer
	first := !l.box.Swap(true)
	changed := first || !sameSet(p.near, near)
	p.near = near
	return changed
}

func sameSet(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}
