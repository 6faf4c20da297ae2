package engine

import (
	"context"
	"errors"
	"fmt"

	"signalbox/engine/auth"
	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/relay/wire"
)

// openAuth makes the check of tokens, where one is configured.
func (e *Engine) openAuth() error {
	e.replay = auth.NewReplay()
	if e.cfg.Legacy.AuthURL == "" {
		return nil
	}
	a := e.cfg.Auth
	c, err := auth.New(auth.Config{
		URL: e.cfg.Legacy.AuthURL, Timeout: a.Timeout, MaxConcurrent: a.MaxConcurrent, CacheTTL: a.CacheTTL, Event: e.event,
	})
	if err != nil {
		return &config.ExitError{Code: config.ExitFailure, Err: err}
	}
	e.checker = c
	return nil
}

// authenticate reads a client's first message that is no token, and before it,
// where tokens are checked, the token: who is the identity it stands for.
// Where they are not, one is tolerated (spec wzp 7.4).
func (e *Engine) authenticate(ctx context.Context, c *quicnet.Conn) (who string, next wire.Signal, err error) {
	next, err = readSignal(ctx, c)
	if err != nil {
		return "", nil, err
	}
	token, ok := next.(*wire.AuthToken)
	if e.checker != nil {
		if !ok {
			return "", nil, fmt.Errorf("%T instead of an AuthToken", next)
		}
		if who, err = e.checkToken(ctx, c, token.Token); err != nil {
			return "", nil, err
		}
	}
	if !ok {
		return who, next, nil
	}
	if next, err = readSignal(ctx, c); err != nil {
		return "", nil, err
	}
	if _, again := next.(*wire.AuthToken); again {
		return "", nil, errors.New("a second AuthToken")
	}
	return who, next, nil
}

// checkToken asks who a token stands for, and tells of refusals.
func (e *Engine) checkToken(ctx context.Context, c *quicnet.Conn, token string) (string, error) {
	id, err := e.checker.Check(ctx, token)
	if err == nil {
		return id.Fingerprint, nil
	}
	if ctx.Err() == nil {
		e.event(view.Event{Kind: "auth_refused", Severity: view.Warn, Subject: c.RemoteAddr().Addr().String(), Message: fmt.Sprintf("%s was refused: %v", c.RemoteAddr(), err)})
	}
	return "", err
}

// errReplay refuses a handshake whose ephemeral key has been used before.
var errReplay = errors.New("the handshake has been used before")

// authView is the part of the snapshot about tokens.
func (e *Engine) authView() view.Auth {
	v := view.Auth{Checks: map[string]uint64{}}
	if e.checker != nil {
		v = e.checker.View()
	}
	v.Replays = e.replay.Refused()
	return v
}
