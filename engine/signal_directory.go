package engine

import (
	"context"
	"time"
)

// Looking for callees in the DHT.
const (
	maxSeeks    = 16 // at the same time
	seekTimeout = 4 * time.Second
)

// listUser lists an identity in the DHT while it is registered here, and no
// longer. Whoever comes last finds the truth, since one does it at a time; what
// is called meanwhile does not wait.
func (e *Engine) listUser(fingerprint string) {
	if fingerprint == "" || !e.cfg.ListUsers() {
		return
	}
	e.listUserMu.Lock()
	defer e.listUserMu.Unlock()
	if !e.hub.Registered(fingerprint) {
		e.WithdrawPresence(fingerprint)
		return
	}
	if err := e.PublishPresence(fingerprint); err != nil {
		e.log.Debug("not listed in the DHT", "fingerprint", clean(fingerprint), "err", err)
	}
}

// seek looks in the DHT for relays that say they have a callee.
func (e *Engine) seek(fingerprint, callID string) bool {
	if !e.cfg.ListUsers() || !e.hub.HasRemote() {
		return false
	}
	select {
	case e.seeks <- struct{}{}:
	default:
		return false
	}
	return e.spawn(func(ctx context.Context) {
		defer func() { <-e.seeks }()
		ctx, cancel := context.WithTimeout(ctx, seekTimeout)
		defer cancel()
		places, err := e.FindFingerprint(ctx, fingerprint)
		if err != nil {
			e.log.Debug("a callee was not found in the DHT", "err", err)
		}
		e.hub.Found(callID, e.linkedWith(ctx, places), e.mono())
	})
}
