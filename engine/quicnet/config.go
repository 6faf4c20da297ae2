package quicnet

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
)

// Application protocols (spec wzp 1.1, contract section 1).
const (
	ALPNWZP = "wzp"
	ALPNDHT = "signalbox-dht/1"
	ALPNH3  = "h3" // browsers, for WebTransport; see Sessions
)

// DefaultServerName is what a connection without SNI is taken to ask for
// (spec wzp 1.3).
const DefaultServerName = "default"

// RelayServerName is what one relay asks another for (spec wzp 1.3). Whoever
// does is asked for a certificate; see Conn.PeerCertificate.
const RelayServerName = "_federation"

// RetryMode says when a client's address must be proved by a Retry.
type RetryMode string

// Retry modes. The empty string means RetryAuto.
const (
	RetryAuto   RetryMode = "auto"   // above Config.RetryRate or Config.RetryHalfOpen
	RetryAlways RetryMode = "always" // every client without a valid token
	RetryNever  RetryMode = "never"
)

// Transport parameters of spec wzp 1.4.
const (
	idleTimeout    = 30 * time.Second
	keepAlive      = 5 * time.Second // of clients
	packetSize     = 1200
	streamWindow   = 65536
	connWindow     = 262144
	maxStreams     = 100
	connectionIDs  = 8 // bytes; four collide in a node of this size
	maxServerName  = 253
	retryRate      = 50
	retryBurst     = 100
	retryHalfOpen  = 256
	maxConns       = 16384
	maxPerPrefix   = 4096
	handshakeLimit = 10 * time.Second
	acceptors      = 128
	socketBuffer   = 8 << 20
)

// quietKeepAlive is how often we make sure of a connection that others keep
// alive too: a wzp client does so every 5 s by itself, and a thousand idle DHT
// links that both ends keep alive every 5 s cost a core. It is short of half
// the idle timeout, and of the 30 s for which NATs remember.
const quietKeepAlive = 12 * time.Second

// Config is how an Endpoint is to behave. Zero values mean the defaults.
type Config struct {
	// Addr is the local UDP address, "[::]:4433" or ":4433" for dual stack,
	// "0.0.0.0:4433" for IPv4 only; port 0 is chosen by the system.
	Addr string

	TLSCert tls.Certificate // shown to ALPN wzp (spec wzp 1.2)
	DHTCert tls.Certificate // shown to and used for ALPN signalbox-dht/1; Ed25519
	// H3Cert is the certificate shown to ALPN h3; nil: that is not offered.
	// Called for every handshake, it must not wait.
	H3Cert func() (*tls.Certificate, error)

	ResetKey [32]byte // stateless reset key; zero sends none
	TokenKey [32]byte // key of Retry and address tokens; zero means a random one

	Retry         RetryMode
	RetryRate     float64 // attempts per second above which Retry begins; default 50
	RetryBurst    int     // attempts let through at once; default 100
	RetryHalfOpen int     // half-open handshakes above which Retry begins; default 256

	// Acceptors take finished handshakes; default 128. quic-go queues 32 and
	// refuses what does not fit; each waiting acceptor is one place more.
	Acceptors int

	// HandshakeTimeout limits a handshake in all; a peer silent for half of it
	// is given up. Default 10 s.
	HandshakeTimeout time.Duration

	MaxConns       int  // connections admitted at a time, half-open included; default 16384
	MaxPerPrefix   int  // of these, per IPv4 address or IPv6 /64; default 4096
	ExemptLoopback bool // lifts MaxPerPrefix for loopback addresses

	SocketBuffer int // bytes asked of the kernel each way; default 8 MiB

	// ReadTick is how long packets may gather before they are read, while more
	// than ReadTickAbove of them arrive a second; 0: they never do. Half
	// a millisecond saves a quarter of the CPU of ten busy rooms.
	ReadTick      time.Duration
	ReadTickAbove float64

	// Admit says whether an address may connect; nil lets everyone. It is asked
	// for unproved addresses too, from one goroutine, and must not wait.
	Admit func(netip.Addr) bool

	// OnPanic is told of a panic in a handler, which ends that connection only.
	OnPanic func(c *Conn, value any, stack []byte)

	Log *slog.Logger // nil logs nothing
}

func (c *Config) setDefaults() {
	def(&c.Retry, RetryAuto)
	def(&c.RetryRate, retryRate)
	def(&c.RetryBurst, retryBurst)
	def(&c.RetryHalfOpen, retryHalfOpen)
	def(&c.HandshakeTimeout, handshakeLimit)
	def(&c.Acceptors, acceptors)
	def(&c.MaxConns, maxConns)
	def(&c.MaxPerPrefix, maxPerPrefix)
	def(&c.SocketBuffer, socketBuffer)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Admit == nil {
		c.Admit = func(netip.Addr) bool { return true }
	}
	if c.OnPanic == nil {
		c.OnPanic = func(*Conn, any, []byte) {}
	}
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// quicConfig is the configuration of a connection (spec wzp 1.4).
func quicConfig(handshake, keepAlive time.Duration) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshake / 2, // quic-go limits the whole to twice this
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: connWindow,
		MaxConnectionReceiveWindow:     connWindow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          maxStreams,
		InitialPacketSize:              packetSize,
		EnableDatagrams:                true,
		Tracer:                         tracer,
	}
}
