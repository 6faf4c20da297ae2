package nattest

import (
	"slices"
	"testing"

	"signalbox/engine/view"
)

// town is two public nodes, and two more behind the NATs given.
func town(t *testing.T, left, right string) (l *lab, p, q, a, c *host) {
	t.Helper()
	build(t)
	l = newLab(t)
	p, q = l.public("p"), l.public("q")
	a, c = l.behind("a", left), l.behind("c", right)
	p.serve()
	q.serve(p)
	a.serve(p, q)
	// Only when the first has looked around, so that the two rarely dial each
	// other at the same moment by chance, which opens both NATs too.
	l.eventually("a is settled", func() bool {
		v := a.dht()
		return v.Peers == 2 && v.Lookups.OK > 0 && v.Lookups.Active == 0 && v.Reachability.Observers == 2
	}, a, p, q)
	c.serve(p, q)
	return l, p, q, a, c
}

// linked reports whether to answers a ping of h's.
func linked(h, to *host) bool {
	_, err := h.ctl("peer", "ping", to.id)
	return err == nil
}

func relayedTo(v view.DHT, to *host) (via string) {
	for _, p := range v.Reachability.RelayedPeers {
		if p.ID == to.id {
			via = p.Via
		}
	}
	return via
}

// Both NATs keep the port: the two meet directly. Mostly they do so before
// anybody is asked for help: while the one dials, the other is sent by a public
// node to see whether the one can be reached, and two who dial each other open
// both NATs. What help adds is shown in package dht, where the network is
// simulated and nobody else is there.
func TestConeMeetsCone(t *testing.T) {
	need(t)
	t.Parallel()
	l, p, q, a, c := town(t, cone, cone)
	l.eventually("both answer", func() bool { return linked(a, c) && linked(c, a) }, a, c, p, q)
	for _, h := range []*host{a, c} {
		l.eventually(h.name+" knows that it is behind a NAT", func() bool { return h.dht().Reachability.Verdict == "nat" }, h)
		v := h.dht()
		if v.Reachability.Relayed != 0 {
			t.Errorf("%s has a relayed link: %+v", h.name, v.Reachability)
		}
		want := view.Addr{Addr: h.nat + ":4433", Type: "nat"}
		if !slices.Contains(v.Reachability.Addrs, want) {
			t.Errorf("%s does not know %v: %+v", h.name, want, v.Reachability.Addrs)
		}
	}
	if punched := a.dht().Reachability.PunchedOK + c.dht().Reachability.PunchedOK; punched > 0 && p.dht().Reachability.Introduced+q.dht().Reachability.Introduced == 0 {
		t.Error("nobody brought them together")
	}
	// Who is public learns it from the first who comes unasked.
	l.eventually("p is public", func() bool { return p.dht().Reachability.Verdict == "public" }, p)
}

// Both NATs choose another port for everybody: no hole can be punched, and a
// public node relays.
func TestSymmetricMeetsSymmetric(t *testing.T) {
	need(t)
	t.Parallel()
	l, p, q, a, c := town(t, symmetric, symmetric)
	l.eventually("a relayed link", func() bool {
		return relayedTo(a.dht(), c) != "" && relayedTo(c.dht(), a) != ""
	}, a, c, p, q)
	l.eventually("both answer", func() bool { return linked(a, c) && linked(c, a) }, a, c, p, q)
	for _, h := range []*host{a, c} {
		l.eventually(h.name+" knows that its NAT is symmetric", func() bool { return h.dht().Reachability.Verdict == "symmetric" }, h)
	}
	va, vp, vq := a.dht().Reachability, p.dht().Reachability, q.dht().Reachability
	if via := relayedTo(a.dht(), c); via != p.id && via != q.id {
		t.Errorf("relayed by %q", via)
	}
	if va.PunchedFailed+c.dht().Reachability.PunchedFailed == 0 {
		t.Error("no punch was tried first")
	}
	if vp.Relaying.Frames+vq.Relaying.Frames == 0 {
		t.Errorf("nothing was passed on: %+v %+v", vp.Relaying, vq.Relaying)
	}
}

// A symmetric NAT before one end only: the ports do not meet either, since the
// other end's NAT lets in nothing but what it knows. Relayed as well.
func TestConeMeetsSymmetric(t *testing.T) {
	need(t)
	t.Parallel()
	l, p, q, a, c := town(t, cone, symmetric)
	l.eventually("a relayed link", func() bool { return relayedTo(a.dht(), c) != "" }, a, c, p, q)
	l.eventually("both answer", func() bool { return linked(a, c) && linked(c, a) }, a, c, p, q)
}

// A full cone lets everybody in: somebody behind a symmetric NAT, who can reach
// no other, and a node that comes later and to whom it has never sent, both dial
// it, and nobody has to help.
func TestAnybodyMeetsFullCone(t *testing.T) {
	need(t)
	t.Parallel()
	l, p, q, a, c := town(t, fullCone, symmetric)
	l.eventually("both answer", func() bool { return linked(a, c) && linked(c, a) }, a, c, p, q)
	late := l.public("late")
	late.serve(p)
	l.eventually("one who comes later is answered", func() bool { return linked(late, a) }, late, a)
	for _, h := range []*host{a, c, late} {
		if v := h.dht().Reachability; v.Relayed != 0 || v.PunchedOK != 0 {
			t.Errorf("%s: %+v", h.name, v)
		}
	}
}

// Two behind cones whose way is shut at first meet over a relay. When it opens,
// nobody dials them together by chance, since they have a link: a hole is punched,
// by introduction of a peer that both have, and the link is their own from then on.
func TestAHoleIsPunched(t *testing.T) {
	need(t)
	t.Parallel()
	build(t)
	l := newLab(t)
	p, q := l.public("p"), l.public("q")
	a, c := l.behind("a", cone), l.behind("c", cone)
	open := l.shut(a, c)
	p.serve()
	q.serve(p)
	a.serve(p, q)
	c.serve(p, q)
	l.eventually("a relayed link", func() bool {
		return relayedTo(a.dht(), c) != "" && relayedTo(c.dht(), a) != ""
	}, a, c, p, q)
	if n := a.dht().Reachability.PunchedOK + c.dht().Reachability.PunchedOK; n != 0 {
		t.Fatalf("%d holes punched through a way that is shut", n)
	}
	open()
	l.eventually("a hole is punched", func() bool {
		return a.dht().Reachability.PunchedOK+c.dht().Reachability.PunchedOK > 0
	}, a, c, p, q)
	l.eventually("nothing is relayed any more", func() bool {
		return relayedTo(a.dht(), c) == "" && relayedTo(c.dht(), a) == "" && linked(a, c) && linked(c, a)
	}, a, c, p, q)
	if p.dht().Reachability.Introduced+q.dht().Reachability.Introduced == 0 {
		t.Error("nobody brought them together")
	}
}
