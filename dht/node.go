package dht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"signalbox/dht/table"
	"signalbox/engine/view"
)

// Link is one authenticated connection to a peer.
type Link interface {
	// PeerID is the peer's proven id.
	PeerID() table.ID
	// RemoteAddr is the peer's address as seen by us.
	RemoteAddr() netip.AddrPort
	// Send queues one message and returns without waiting. It copies what it
	// keeps: payload belongs to the caller again when it returns. An error
	// means that the message will not go out, for a local reason.
	Send(payload []byte) error
	// Close ends the connection; Disconnected follows.
	Close(reason string)
	// Generation is greater than that of every earlier link to the same peer.
	Generation() uint64
}

// Dialer opens links.
type Dialer interface {
	// Dial connects to addr and proves that id answers there. It returns when ctx ends. Calling Node.Connected for the
	// link before delivering its first message is allowed, not required: the
	// node registers what Dial returns.
	Dial(ctx context.Context, id table.ID, addr netip.AddrPort) (Link, error)
}

// Seed is a node to begin with, ID@ADDR on the command line.
type Seed struct {
	ID   table.ID
	Addr netip.AddrPort
}

// Errors of requests and commands.
var (
	ErrConfig      = errors.New("dht: invalid configuration")
	ErrNotRunning  = errors.New("dht: the node is not running")
	ErrNotFound    = errors.New("dht: no such peer")
	ErrNoPeers     = errors.New("dht: no peer answered")
	ErrBusy        = errors.New("dht: too much under way here")
	ErrTimeout     = errors.New("dht: the peer did not answer in time")
	ErrRefused     = errors.New("dht: the peer refused the request")
	ErrUnreachable = errors.New("dht: the peer cannot be reached")
	ErrLinkLost    = errors.New("dht: the connection was lost")
	ErrBadReply    = errors.New("dht: the reply is malformed")
)

// Config configures a Node. ID and Dialer are required.
type Config struct {
	ID            table.ID
	ListenAddrs   []netip.AddrPort // our own addresses, never dialled
	Seeds         []Seed
	K             int // default table.DefaultK
	AllowLoopback bool
	Log           *slog.Logger     // default: discard
	Event         func(view.Event) // must-see news; called without locks, must not wait
	Now           func() int64     // monotonic ns, the clock of Handle's now
	Dialer        Dialer

	// Paths is how many paths that share no peer a lookup for a record, or an
	// operator's, takes; default 1, at most MaxPaths.
	Paths int

	RequestRate  float64 // requests per second served to one link; default 50
	RequestBurst int     // default 100

	RecordConfig

	// Reachability.
	LocalAddrs  func() []netip.AddrPort // where we listen, by interface; nil: not known
	Advertise   netip.AddrPort          // where the operator says that we can be reached
	Quorum      int                     // networks that must agree on where we are; default 2
	RelayPairs  int                     // pairs of peers we relay for; 0: none
	RelayRate   int                     // bytes per second and direction of a pair; default 64 KiB
	RelayedMost int                     // relayed links of our own; default 32, negative: none
}

// MaxPaths bounds the disjoint paths of a lookup.
const MaxPaths = 4

// Time and size limits (spec dht 0; where ours differ, the reason is there).
const (
	rpcTimeout    = 3 * time.Second // 25 s in the original; a peer that slow is no use in a lookup
	dialTimeout   = 5 * time.Second
	lookupTimeout = 30 * time.Second
	alpha         = 3
	grace         = 1500 * time.Millisecond // no query keeps a place, or a lookup from ending, for longer
	maxInFlight   = 4 * alpha               // of one lookup, slow ones included
	maxQueries    = 60
	maxCandidates = 128 // of one path
	maxPending    = 256
	maxTasks      = 64
	maxDials      = 24 // redialsAtOnce, and some for the seeds and lookups beside them
)

// defaults fills in what may be left out.
func (cfg *Config) defaults() {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Event == nil {
		cfg.Event = func(view.Event) {}
	}
	if cfg.Now == nil {
		start := time.Now()
		cfg.Now = func() int64 { return int64(time.Since(start)) }
	}
	cfg.Paths = min(max(cfg.Paths, 1), MaxPaths)
	if cfg.RequestRate <= 0 {
		cfg.RequestRate = 50
	}
	if cfg.RequestBurst <= 0 {
		cfg.RequestBurst = 100
	}
}

// Node is one DHT node.
type Node struct {
	// Constant after New.
	cfg      Config
	log      *slog.Logger
	table    *table.Table
	self     map[netip.AddrPort]bool // ListenAddrs
	requests limit                   // served to one link

	// Each with its own leaf lock.
	reg      registry
	pending  pending
	dials    dials
	trust    trustBook
	stats    lookupStats
	traces   traceBook
	tasks    tasks
	restored restored
	records  records
	reach    reach
	routes   routes
	channels channels
	relaying relaying

	// addressMu makes the check of an ADDRESS and its effect one step; the
	// table's and a registry stripe's locks are taken under it.
	addressMu sync.Mutex

	// Mailboxes of the jobs; a full one is reported to the sender.
	jobs       jobs
	revalidate chan *revalidation
	refresh    chan int
	wakeBoot   chan struct{} // capacity 1: a link has come while bootstrap waits for one
	seeds      seedList

	// Any goroutine (atomic).
	counts      counters
	lastHeard   atomic.Int64 // monotonic ns of the last message from anybody
	lastDrop    atomic.Int64 // monotonic ns of the last message we lost ourselves
	active      atomic.Int32 // lookups under way
	revalBusy   [table.NumBuckets]atomic.Bool
	strangers   gcra // requests of links not, or no longer, registered
	replyPool   sync.Pool
	contactPool sync.Pool
	valuesPool  sync.Pool
}

// New returns a node with an empty table. It does nothing until Run, except
// answer what Handle is given.
func New(cfg Config) (*Node, error) {
	if cfg.ID.IsZero() {
		return nil, fmt.Errorf("%w: no id", ErrConfig)
	}
	if cfg.Dialer == nil {
		return nil, fmt.Errorf("%w: no dialer", ErrConfig)
	}
	for _, s := range cfg.Seeds {
		if s.ID.IsZero() || !s.Addr.IsValid() {
			return nil, fmt.Errorf("%w: a seed is ID@ADDR", ErrConfig)
		}
	}
	// A fleet may share one list of seeds; we need none of ourselves.
	seeds := slices.DeleteFunc(slices.Clone(cfg.Seeds), func(s Seed) bool { return s.ID == cfg.ID })
	cfg.Seeds = nil // they are in Node.seeds
	cfg.defaults()
	if err := cfg.RecordConfig.defaults(cfg.ID); err != nil {
		return nil, err
	}
	cfg.reachDefaults()
	tc := table.Config{Self: cfg.ID, K: cfg.K, AllowLoopback: cfg.AllowLoopback}
	if cfg.AllowLoopback { // contract: lifts the diversity rules too
		tc.MaxPerIP, tc.MaxPerSubnet = table.Unlimited, table.Unlimited
	}
	tab, err := table.New(tc)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, table: tab, self: map[netip.AddrPort]bool{}, requests: newLimit(cfg.RequestRate, cfg.RequestBurst),
		revalidate: make(chan *revalidation, 32),
		refresh:    make(chan int, 16),
		wakeBoot:   make(chan struct{}, 1),
		jobs:       jobs{stir: make(chan struct{}, 1)},
	}
	n.seeds.list.Store(&seeds)
	for _, a := range cfg.ListenAddrs {
		n.self[table.Canonical(a)] = true
	}
	n.pending.init()
	n.dials.init(cfg.AllowLoopback)
	n.trust.init()
	n.records.init(cfg.RecordConfig, cfg.AllowLoopback, func() { n.want(jobRecords) })
	n.initReach()
	n.lastHeard.Store(math.MinInt64)
	n.lastDrop.Store(math.MinInt64)
	n.replyPool.New = func() any { return new(replyBuf) }
	n.contactPool.New = func() any { return new(contactBuf) }
	n.valuesPool.New = func() any { return new(valuesBuf) }
	return n, nil
}

// Table is the routing table, for reading.
func (n *Node) Table() *table.Table { return n.table }

// Run keeps the node alive until ctx ends: bootstrap, self-lookups, bucket
// refreshes, checks of silent contacts. It owns every goroutine the node
// starts, closes the links, and returns nil after the last has gone. It may be
// called once.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !n.tasks.open(ctx) {
		return fmt.Errorf("%w: Run was called before", ErrConfig)
	}
	n.records.memory.Open()
	defer n.records.memory.Close()
	n.runJobs(ctx, n.jobList())
	n.tasks.close()
	for s := range n.reg.all {
		s.link.Close("shutting down")
	}
	return nil
}

// contain runs f and turns a panic into news.
func (n *Node) contain(name string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			n.counts.panics.Add(1)
			stack := string(debug.Stack())
			n.log.Error("dht job panicked", "job", name, "panic", p, "stack", stack)
			n.event(view.Alarm, "dht.panic", name, fmt.Sprintf("%s panicked: %v", name, p), map[string]any{"stack": stack})
		}
	}()
	f()
}

func (n *Node) now() int64 { return n.cfg.Now() }

func (n *Node) event(severity, kind, subject, message string, fields map[string]any) {
	n.cfg.Event(view.Event{Kind: kind, Severity: severity, Subject: subject, Message: message, Fields: fields})
}

// jitter spreads d over d/2 .. 3d/2, so that fleets do not march in step.
func jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d)+1))
}

// sleep waits for d; false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
