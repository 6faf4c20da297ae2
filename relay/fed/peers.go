package fed

import "cmp"

// SetPeers makes those the relays of the configuration. Those that are not
// among them any more, or are called or dialled otherwise now, lose their
// connections; all others keep theirs, and so do relays that were found, as long
// as guests may be. It returns those that are new: one that
// has an address wants somebody to dial it. Of two of a fingerprint the first
// counts, with what it lacks of the others.
func (m *Mesh) SetPeers(list []Peer, guests bool, now int64) (added []Peer) {
	want := map[string]Peer{}
	var order []string
	for _, p := range list {
		old, known := want[p.Fingerprint]
		if !known {
			order = append(order, p.Fingerprint)
			old = p
		}
		old.URL, old.Label = cmp.Or(old.URL, p.URL), cmp.Or(old.Label, p.Label)
		want[p.Fingerprint] = old
	}
	delete(want, m.cfg.Self)
	var ends []Transport
	m.mu.Lock()
	muted := map[string]bool{}
	for fp, p := range m.peers {
		if w, wanted := want[fp]; wanted && w != p.Peer || !wanted && !(p.Found && guests) {
			muted[fp] = p.muted.Load()
			ends = append(ends, m.leaveLocked(p)...)
		}
	}
	for _, fp := range order {
		if w, wanted := want[fp]; wanted && m.peers[fp] == nil {
			m.addLocked(w, now)
			m.peers[fp].muted.Store(muted[fp])
			added = append(added, w)
		}
	}
	m.mu.Unlock()
	for _, t := range ends {
		t.Close("the configuration has changed")
	}
	return added
}

// leaveLocked takes a peer out. Its connections are the caller's to close; they
// count until they are down. mu is held.
func (m *Mesh) leaveLocked(p *peer) (ends []Transport) {
	delete(m.peers, p.Fingerprint)
	for _, l := range p.links {
		l.ended.Store(true)
		ends = append(ends, l.t)
	}
	if len(ends) > 0 {
		m.leaving[p] = true
	}
	p.primary = nil
	m.primaryChangedLocked(p)
	p.poke()
	return ends
}
