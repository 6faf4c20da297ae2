package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"signalbox/dht"
	"signalbox/dht/record"
	"signalbox/dht/table"
	"signalbox/engine/state"
	"signalbox/engine/view"
)

// How this node is listed in the DHT.
const (
	relistEvery   = time.Minute // its addresses are looked at again
	resolveLimit  = 5 * time.Second
	maxListedName = 256 // bytes of a room's name or a fingerprint
)

// ErrListing says that a name cannot be listed in the DHT.
var ErrListing = errors.New("engine: cannot be listed")

// Place is a relay as it lists itself in the DHT: a claim, which connecting to
// it under its TLS fingerprint proves or does not.
type Place struct {
	NodeID         string // of the relay in the DHT
	TLSFingerprint string // as in Info
	Fingerprint    string // of the relay's identity, as in Info
	Addrs          []netip.AddrPort
	Expires        time.Time
}

// directory is what this node lists in the DHT: the global rooms it serves and
// the fingerprints registered with it. Any goroutine.
type directory struct {
	// Constant after openDirectory.
	tls      [32]byte
	identity [16]byte

	mu    sync.Mutex // guards the fields below; the DHT's records' lock is taken under it
	names map[listing]bool
	addrs []netip.AddrPort // where we are, as told; empty: not known (yet)
	away  bool             // draining: nothing is listed
}

type listing struct {
	kind record.Kind
	name string
}

// key is what the listing is found under.
func (l listing) key() table.ID {
	if l.kind == record.Room {
		return record.RoomKey(l.name)
	}
	return record.PresenceKey(l.name)
}

// openDirectory lists the global rooms; they go out once Run finds out where
// we are.
func (e *Engine) openDirectory() error {
	d := &e.directory
	d.names = map[listing]bool{}
	tls, err := hex.DecodeString(state.NormalFingerprint(e.info.TLSFingerprint))
	if err == nil {
		copy(d.tls[:], tls)
		tls, err = hex.DecodeString(state.NormalFingerprint(e.info.Fingerprint))
		copy(d.identity[:], tls)
	}
	if err != nil {
		return err
	}
	for _, r := range e.cfg.GlobalRooms {
		if err := e.PublishRoom(r.Name); err != nil {
			return fmt.Errorf("global room %q: %w", r.Name, err)
		}
	}
	return nil
}

// PublishRoom lists this relay as one that serves a global room, by the room's
// canonical name, until WithdrawRoom. It does not wait.
func (e *Engine) PublishRoom(name string) error { return e.list(listing{record.Room, name}) }

// WithdrawRoom ends that.
func (e *Engine) WithdrawRoom(name string) { e.delist(listing{record.Room, name}) }

// PublishPresence lists this relay as the one a user's fingerprint is
// registered with, until WithdrawPresence. It does not wait.
func (e *Engine) PublishPresence(fingerprint string) error {
	return e.list(listing{record.Presence, state.NormalFingerprint(fingerprint)})
}

// WithdrawPresence ends that.
func (e *Engine) WithdrawPresence(fingerprint string) {
	e.delist(listing{record.Presence, state.NormalFingerprint(fingerprint)})
}

// FindRoom asks the DHT which other relays serve a global room. None and no
// error: nobody does. The order is that of credibility; see dht.Find.
func (e *Engine) FindRoom(ctx context.Context, name string) ([]Place, error) {
	return e.find(ctx, listing{record.Room, name})
}

// FindFingerprint asks the DHT which other relays say that a user's
// fingerprint is registered with them.
func (e *Engine) FindFingerprint(ctx context.Context, fingerprint string) ([]Place, error) {
	return e.find(ctx, listing{record.Presence, state.NormalFingerprint(fingerprint)})
}

func (e *Engine) list(l listing) error {
	if l.name == "" || len(l.name) > maxListedName {
		return fmt.Errorf("%w: a name of %d bytes", ErrListing, len(l.name))
	}
	d := &e.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.away && len(d.addrs) > 0 {
		if err := e.publishListing(l, d.addrs); err != nil {
			return err
		}
	} else if len(d.names) >= dht.MaxOwnRecords && !d.names[l] {
		return dht.ErrBusy
	}
	d.names[l] = true
	return nil
}

func (e *Engine) delist(l listing) {
	d := &e.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, l)
	if err := e.dht.Withdraw(l.kind, l.key()); err != nil && !errors.Is(err, dht.ErrNotFound) {
		e.log.Debug("not withdrawn from the dht", "kind", l.kind.String(), "err", err)
	}
}

// publishListing gives one listing to the DHT node, which does not wait.
func (e *Engine) publishListing(l listing, addrs []netip.AddrPort) error {
	s := dht.Statement{Kind: l.kind, Key: l.key(), TLS: e.directory.tls, Identity: e.directory.identity, Addrs: addrs}
	if l.kind == record.Room { // who is where is for nobody's screen
		s.Label = clean(l.name)
	}
	return e.dht.Publish(s)
}

func (e *Engine) find(ctx context.Context, l listing) ([]Place, error) {
	claims, err := e.dht.Find(ctx, l.kind, l.key())
	if err != nil && !errors.Is(err, dht.ErrNoRecord) {
		return nil, err
	}
	var out []Place
	for _, c := range claims {
		if id := c.By.String(); id != e.info.NodeID {
			out = append(out, Place{
				NodeID: id, TLSFingerprint: fingerprintText(c.TLS[:], 1), Fingerprint: fingerprintText(c.Identity[:], 2),
				Addrs: c.Addrs, Expires: c.Expires,
			})
		}
	}
	return out, nil
}

// fingerprintText is a fingerprint as it is shown, in groups of so many bytes.
func fingerprintText(b []byte, group int) string {
	var parts []string
	for part := range slices.Chunk(b, group) {
		parts = append(parts, hex.EncodeToString(part))
	}
	return strings.Join(parts, ":")
}

// cacheBytes is dht.cache_bytes as the node wants it: there, 0 is the default.
func cacheBytes(n int) int64 {
	if n == 0 {
		return -1
	}
	return int64(n)
}

// enlist lists everything, or with false nothing until it is called again: a
// node that admits nobody is not to be found.
func (e *Engine) enlist(on bool) {
	d := &e.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = !on
	e.relist()
}

// relist gives the DHT node what is to be listed now. The caller holds mu.
func (e *Engine) relist() {
	d := &e.directory
	if d.away || len(d.addrs) == 0 {
		e.dht.WithdrawAll()
		return
	}
	for l := range d.names {
		if err := e.publishListing(l, d.addrs); err != nil {
			e.log.Warn("not everything is listed in the dht", "kind", l.kind.String(), "err", err)
			return // the others would fail the same way
		}
	}
}

// directoryLoop keeps the addresses we are listed with those we have.
func (e *Engine) directoryLoop(ctx context.Context) {
	told := false
	t := time.NewTicker(relistEvery)
	defer t.Stop()
	for {
		e.guarded("directory", func() {
			addrs := e.relayAddrs(ctx)
			d := &e.directory
			d.mu.Lock()
			defer d.mu.Unlock()
			if !slices.Equal(addrs, d.addrs) {
				d.addrs = addrs
				e.relist()
			}
			if len(addrs) == 0 && len(d.names) > 0 && !told {
				told = true
				e.event(view.Event{
					Kind: "dht.unlisted", Severity: view.Warn, Subject: "directory",
					Message: "rooms and users of this node are not listed in the DHT: no address to give; set advertise_addr",
				})
			}
		})
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// relayAddrs is where others reach this node: what the operator says, else the
// address we listen on, else that of the interfaces that lead out.
func (e *Engine) relayAddrs(ctx context.Context) []netip.AddrPort {
	listen := e.edge.Addr()
	port := listen.Port()
	var ips []netip.Addr
	switch a := e.cfg.AdvertiseAddr; {
	case a != "":
		host, p, err := net.SplitHostPort(a)
		if err != nil {
			host = a
		} else if n, err := strconv.ParseUint(p, 10, 16); err == nil && n > 0 {
			port = uint16(n)
		}
		rctx, cancel := context.WithTimeout(ctx, resolveLimit)
		defer cancel()
		if ips, err = net.DefaultResolver.LookupNetIP(rctx, "ip", host); err != nil {
			e.log.Debug("advertise_addr does not resolve", "host", host, "err", err)
			d := &e.directory // a name that fails for a moment does not make us homeless
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.addrs
		}
	case !listen.Addr().IsUnspecified():
		ips = []netip.Addr{listen.Addr()}
	default:
		ips = outwardAddrs()
	}
	var out []netip.AddrPort
	for _, ip := range ips {
		ap := table.Canonical(netip.AddrPortFrom(ip, port))
		if table.Storable(ap) && (e.cfg.DHT.AllowLoopback || !ap.Addr().IsLoopback()) && !slices.Contains(out, ap) {
			out = append(out, ap)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out[:min(len(out), record.MaxAddrs)]
}

// outwardAddrs are the local addresses from which the kernel would send into
// the world. Connecting a UDP socket sends nothing.
func outwardAddrs() []netip.Addr {
	var out []netip.Addr
	for _, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		c, err := net.Dial("udp", to)
		if err != nil {
			continue
		}
		if ap, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
			out = append(out, ap.Addr())
		}
		c.Close()
	}
	return out
}
