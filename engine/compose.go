package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"signalbox/dht"
	"signalbox/dht/table"
	"signalbox/engine/attach"
	"signalbox/engine/config"
	"signalbox/engine/dispatch"
	"signalbox/engine/metrics"
	"signalbox/engine/quicnet"
	"signalbox/engine/state"
	"signalbox/relay"
)

// openRooms makes the relay: first of all, since the edge asks it about banned
// addresses as soon as it listens.
func (e *Engine) openRooms() {
	r := e.cfg.Relay
	e.relay = relay.New(relay.Config{
		Shards: e.cfg.Dispatch.Shards, MaxSessions: e.cfg.MaxSessions, MaxRooms: r.MaxRooms, MaxRoomSize: r.MaxRoomSize,
		QueueCapacity: r.QueueCapacity, QueueMaxAge: r.QueueMaxAge, ClientPPS: r.ClientPPS, ClientBPS: r.ClientBPS,
		Forwarding: e.cfg.Legacy.RemoteRelay != "",
		Now:        e.mono,
		Global:     e.uplink,
	})
}

// listenQUIC binds the one UDP port with both certificates.
func (e *Engine) listenQUIC() (*quicnet.Endpoint, error) {
	tlsCert, err := e.keys.TLSCertificate()
	if err != nil {
		return nil, err
	}
	e.tlsCert = tlsCert
	dhtCert, err := e.keys.DHTCertificate()
	if err != nil {
		return nil, err
	}
	e.certHash = sha256.Sum256(tlsCert.Certificate[0])
	id := e.keys.NodeID()
	e.info = Info{
		NodeID: hex.EncodeToString(id[:]), Fingerprint: e.keys.Fingerprint(),
		TLSFingerprint: state.TLSFingerprint(tlsCert.Certificate[0]), PID: os.Getpid(),
	}
	q := e.cfg.QUIC
	edge, err := quicnet.Listen(quicnet.Config{
		H3Cert: e.h3Cert(),
		Addr:   e.cfg.ListenAddr, TLSCert: tlsCert, DHTCert: dhtCert, ResetKey: e.keys.Reset, TokenKey: e.keys.Token,
		Retry: quicnet.RetryMode(q.Retry), RetryRate: q.RetryRate, HandshakeTimeout: q.HandshakeTimeout,
		MaxConns: q.MaxConnections, MaxPerPrefix: q.MaxPerPrefix, ExemptLoopback: e.cfg.DHT.AllowLoopback,
		ReadTick: q.ReadTick, ReadTickAbove: q.ReadTickAbove,
		Admit:   func(a netip.Addr) bool { return !e.relay.Banned(a) },
		OnPanic: func(_ *quicnet.Conn, v any, stack []byte) { e.panickedAt("connection handler", v, stack) },
		Log:     e.log,
	})
	if err != nil {
		return nil, err
	}
	e.info.Listen = edge.Addr().String()
	return edge, nil
}

// compose makes the parts that cannot fail and ties them together.
func (e *Engine) compose(disk state.Disk) error {
	e.media = dispatch.New[mediaMsg](e.dispatchConfig(planeMedia), mediaHandler{e})
	e.dhtq = dispatch.New[dhtMsg](e.dispatchConfig(planeDHT), dhtHandler{e})
	seeds, names, err := e.seeds()
	if err != nil {
		return &config.ExitError{Code: config.ExitConfig, Err: err}
	}
	id, err := table.ParseID(e.info.NodeID)
	if err != nil {
		return err
	}
	e.dht, err = dht.New(dht.Config{
		ID: id, ListenAddrs: []netip.AddrPort{e.edge.Addr()}, Seeds: seeds, AllowLoopback: e.cfg.DHT.AllowLoopback,
		Log: e.log, Event: e.event, Now: e.mono, Dialer: dialer{e}, Paths: e.cfg.DHT.LookupPaths,
		RecordConfig: dht.RecordConfig{Key: e.keys.DHT, CacheBytes: cacheBytes(e.cfg.DHT.CacheBytes)},
		LocalAddrs:   e.localAddrs, Advertise: e.advertised(), RelayPairs: e.cfg.DHT.RelayFor(), RelayRate: e.cfg.DHT.RelayBPS,
	})
	if err != nil {
		return err
	}
	if err := e.openDirectory(); err != nil {
		return &config.ExitError{Code: config.ExitConfig, Err: err}
	}
	e.seedNames = names
	e.judge.seeds, e.judge.retryAlways = len(seeds)+len(names), e.cfg.QUIC.Retry == config.RetryAlways
	e.saver = newSaver(e.cfg.StateDir, id, e.cfg.DHT.SaveInterval, disk)
	e.saver.event, e.saver.mono, e.saver.remember = e.event, e.mono, e.dht.Remember
	return e.saver.restore(e.dht)
}

func (e *Engine) dispatchConfig(plane string) dispatch.Config {
	d := e.cfg.Dispatch
	return dispatch.Config{Plane: plane, Shards: d.Shards, Capacity: d.Capacity, CapacityBytes: d.Bytes, Event: e.event, Epoch: e.started} // which logs
}

// listenAdmin binds the admin socket and, if asked for, the metrics address.
func (e *Engine) listenAdmin() error {
	l, err := attach.Listen(e.cfg.AdminPath())
	if err != nil {
		return &config.ExitError{Code: orNoPerm(config.ExitCantCreate, err), Err: err}
	}
	e.admin, e.info.Admin = l, e.cfg.AdminPath()
	if e.cfg.MetricsAddr == "" {
		return nil
	}
	m, err := net.Listen("tcp", e.cfg.MetricsAddr)
	if err != nil {
		return &config.ExitError{Code: config.ExitUnavailable, Err: fmt.Errorf("metrics: %w", err)}
	}
	e.metrics, e.info.Metrics = m, m.Addr().String()
	return nil
}

func (e *Engine) serveAdmin(ctx context.Context) error {
	return attach.NewServer(e, e.log).Serve(ctx, e.admin)
}

func (e *Engine) serveMetrics(ctx context.Context) error {
	if e.metrics == nil {
		return nil
	}
	srv := &http.Server{
		Handler: e.presenceHTTP(metrics.Handler(e)), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() {
		if err := srv.Close(); err != nil {
			e.log.Debug("metrics server", "err", err)
		}
	})
	defer stop()
	if err := srv.Serve(e.metrics); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// closeAll closes what New has opened.
func (e *Engine) closeAll() error {
	var errs []error
	if e.edge != nil {
		errs = append(errs, e.edge.Close())
	}
	if e.checker != nil {
		e.checker.Close()
	}
	for _, l := range []net.Listener{e.admin, e.metrics, e.web} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if e.lock != nil { // last: who comes next finds nothing of ours open
		errs = append(errs, e.lock.Close())
		e.lock = nil
	}
	return errors.Join(errs...)
}

// InjectFault runs f inside the loop of the shard of plane that serves host:
// f may wait, or panic. It is how tests and demos plant what supervision must
// handle; nothing on the network can reach it.
func (e *Engine) InjectFault(plane string, host netip.Addr, f func()) error {
	q, given := e.media.Inject, &e.mediaTaken
	shard := e.media.ShardOf(host)
	if plane == planeDHT {
		q, given, shard = e.dhtq.Inject, &e.dhtTaken, e.dhtq.ShardOf(host)
	}
	return q(shard, func() {
		given.add(shard) // the fault stands in for the handler, which counts this
		f()
	})
}
