package engine

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht"
	"signalbox/engine/auth"
	"signalbox/engine/config"
	"signalbox/engine/dispatch"
	"signalbox/engine/flight"
	"signalbox/engine/ledger"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
	"signalbox/engine/view"
	"signalbox/engine/web"
	"signalbox/relay"
	"signalbox/relay/call"
)

// The planes of the dispatcher, as they are named outside.
const (
	planeMedia = "media"
	planeDHT   = "dht"
)

// Options are what a composition root hands in beside the configuration.
type Options struct {
	Log      *slog.Logger   // nil: discard
	LogLevel *slog.LevelVar // nil: a fresh one; node.log_level sets it
	Disk     state.Disk     // nil: the operating system's; where the DHT's memory is kept
}

// Info is what the ready line says (contract section 1).
type Info struct {
	NodeID         string `json:"node_id"`
	Fingerprint    string `json:"fingerprint"`
	TLSFingerprint string `json:"tls_fingerprint"`
	Listen         string `json:"listen"`
	Admin          string `json:"admin"`
	Metrics        string `json:"metrics"`
	SSH            string `json:"ssh"`
	WS             string `json:"ws"`
	PID            int    `json:"pid"`
}

// Engine is one node. New binds what it needs, Run serves until it is told to
// end; everything else may be called from any goroutine in between.
type Engine struct {
	// Constant after New.
	cfg       config.Config
	log       *slog.Logger
	level     *slog.LevelVar
	keys      *state.Keys
	tlsCert   tls.Certificate // of the relay, shown to clients and to other relays
	edge      *quicnet.Endpoint
	relay     *relay.Relay
	dht       *dht.Node
	media     *dispatch.Dispatcher[mediaMsg]
	dhtq      *dispatch.Dispatcher[dhtMsg]
	events    *eventLog
	audit     *auditLog
	saver     *saver
	started   time.Time
	info      Info
	seedNames []namedSeed
	lock      io.Closer // of the state directory
	admin     net.Listener
	metrics   net.Listener
	web       net.Listener
	bridge    *web.Server
	wtCerts   *web.Certs // nil: no WebTransport
	sessions  *quicnet.Sessions
	banned    func(netip.Prefix) // what a ban ends besides media
	ready     chan struct{}
	wake      chan struct{} // capacity 1: publish now
	quit      chan struct{} // closed by the first Drain that ends Run

	// Calls and tokens, constant after New.
	hub      *call.Hub
	presence *call.Presence
	checker  *auth.Checker // nil: nobody is asked for a token
	replay   *auth.Replay
	reach    reach
	certHash [32]byte // SHA-256 of the certificate relay clients see

	seeks         chan struct{} // places for lookups of callees
	listUserMu    sync.Mutex    // held while who is registered is compared with who is listed in the DHT
	probesRefused atomic.Uint64 // presence told or asked for by relays nobody has named

	// Any goroutine (atomic).
	snap        atomic.Pointer[view.Snapshot]
	nameless    atomic.Pointer[[]string]      // bootstrap peers' names without an address; nil: none
	before      atomic.Pointer[view.Snapshot] // between one and two recentStep old, for rates of now
	draining    atomic.Bool
	stopping    atomic.Bool
	generation  atomic.Uint64
	baseLevel   atomic.Int64 // what is logged when no operator has said otherwise
	dhtLinkFull atomic.Uint64
	mediaTaken  taken
	dhtTaken    taken
	dhtRefused  ledger.Atomics // messages of restricted sources: received, one copy, dropped
	signalsLost atomic.Uint64
	handshakes  handshakeTimes
	endings     endingLog
	directory   directory
	fed         federation
	flight      *flight.Recorder // constant after New
	wzpParts                     // constant after New

	// Owned by the publisher.
	judge *judge
	usage usage
	mark  *view.Snapshot // the next one for before
	seq   uint64
	taken uint64 // sequence number of the newest event the flight recorder has

	// turn is held while a command is planned and while one is carried out that
	// changes what is in force: none of these waits. Whoever must not wait for
	// its turn tries.
	turn  sync.Mutex
	force *inForce

	// runMu guards the life of Run: runCtx is nil before and after it.
	runMu  sync.Mutex
	runCtx context.Context //nolint:containedctx // the life of Run, for links that outlive the call that dialled them
	wg     sync.WaitGroup

	quitOnce sync.Once

	reloaded *config.Config // by Reload's caller; nil: never
}

// New loads the identity, binds the UDP port, the admin socket and the metrics
// address, and composes the node. On error nothing stays open. Errors carry
// their exit code as *config.ExitError.
func New(cfg config.Config, opts Options) (*Engine, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.LogLevel == nil {
		opts.LogLevel = &slog.LevelVar{}
	}
	e := &Engine{
		cfg: cfg, log: opts.Log, level: opts.LogLevel, events: newEventLog(), judge: newJudge(), started: time.Now(),
		ready: make(chan struct{}), quit: make(chan struct{}), wake: make(chan struct{}, 1), force: newInForce(),
	}
	e.banned = e.banish
	e.baseLevel.Store(int64(e.level.Level()))
	e.openRooms()
	err := e.open()
	if err == nil {
		err = e.compose(opts.Disk)
	}
	if err == nil {
		err = e.openCalls()
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.publish(time.Now())
	return e, nil
}

// open does everything in New that can fail.
func (e *Engine) open() error {
	if err := state.EnsureDir(e.cfg.StateDir); err != nil {
		return &config.ExitError{Code: orNoPerm(config.ExitCantCreate, err), Err: err}
	}
	if loose := state.OpenToOthers(e.cfg.StateDir); loose != "" {
		e.event(view.Event{Kind: "state_dir_open", Severity: view.Warn, Subject: e.cfg.StateDir, Message: loose})
	}
	lock, err := state.LockDir(e.cfg.StateDir)
	if err != nil {
		return &config.ExitError{Code: orNoPerm(config.ExitCantCreate, err), Err: err}
	}
	e.lock = lock
	keys, err := state.LoadKeys(e.cfg.IdentityPath())
	if err != nil {
		return &config.ExitError{Code: orNoPerm(config.ExitConfig, err), Err: err}
	}
	e.keys = keys
	e.openAudit()
	if err := e.openTransport(); err != nil {
		return &config.ExitError{Code: orNoPerm(config.ExitConfig, err), Err: err}
	}
	if e.edge, err = e.listenQUIC(); err != nil {
		return &config.ExitError{Code: orNoPerm(config.ExitUnavailable, err), Err: fmt.Errorf("listen on %s: %w", e.cfg.ListenAddr, err)}
	}
	if err := e.listenAdmin(); err != nil {
		return err
	}
	if err := e.listenWeb(); err != nil {
		return err
	}
	if err := e.openWZP(); err != nil {
		return err
	}
	return e.openFlight() // last: what another node of this directory has left is not ours to judge
}

// orNoPerm is the exit code of an error: another where it is that we may not.
func orNoPerm(code int, err error) int {
	if errors.Is(err, fs.ErrPermission) {
		return config.ExitNoPerm
	}
	return code
}

// openAudit takes over the audit log of earlier runs, of whose changes nothing
// is in force any more. A file that cannot be used is told of and keeps no node
// from starting.
func (e *Engine) openAudit() {
	e.audit = &auditLog{path: filepath.Join(e.cfg.StateDir, "audit.log")}
	if err := e.audit.restore(e.started); err != nil {
		e.event(view.Event{Kind: "audit_unread", Severity: view.Warn, Message: err.Error()})
	}
}

// mono is the node's monotonic clock: nanoseconds since it started.
func (e *Engine) mono() int64 { return int64(time.Since(e.started)) }

// Snapshot returns the newest snapshot: never nil, never modified.
func (e *Engine) Snapshot() *view.Snapshot { return e.snap.Load() }

// Events returns what has happened after sequence number after, and how many
// events the ring has lost since then.
func (e *Engine) Events(after uint64) ([]view.Event, uint64) { return e.events.after(after) }

// Audit returns the newest audit records, newest first.
func (e *Engine) Audit() []view.Audit { return e.audit.list() }

// Info is what the ready line says.
func (e *Engine) Info() Info { return e.info }

// Close closes what New has opened, for a node that is not going to Run.
func (e *Engine) Close() error {
	if e.flight != nil {
		e.closeFlight()
	}
	return e.closeAll()
}

// HostKey is the key by which the console over SSH proves whose it is.
func (e *Engine) HostKey() ed25519.PrivateKey { return e.keys.SSH }

// Event reports what a part outside the engine has to tell.
func (e *Engine) Event(ev view.Event) { e.event(ev) }

// Ready is closed once everything listens.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// event is what the parts report through.
func (e *Engine) event(ev view.Event) {
	ev.Message, ev.Subject = clean(ev.Message), clean(ev.Subject)
	e.events.add(ev)
	lv := slog.LevelInfo
	switch ev.Severity {
	case view.Warn:
		lv = slog.LevelWarn
	case view.Alarm:
		lv = slog.LevelError
	}
	e.log.Log(context.Background(), lv, "event", "kind", ev.Kind, "subject", ev.Subject, "detail", ev.Message)
}

// contain is deferred by our goroutines: a panic is counted, told with its
// stack and ends only what stop ends (design rule 9).
func (e *Engine) contain(role string, stop func()) {
	r := recover()
	if r == nil {
		return
	}
	e.panicked(role, r)
	stop()
}

// clean strips what a terminal or log must not see.
func clean(s string) string { return relay.Sanitize(s) }
