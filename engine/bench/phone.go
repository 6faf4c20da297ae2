package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"

	"signalbox/engine/quicnet"
	"signalbox/relay/wire"
)

// Phone is one wzp client on its signalling connection: it is registered, can
// call and be called.
type Phone struct {
	// Constant after Register.
	conn        *quicnet.Conn
	key         ed25519.PrivateKey
	fingerprint string
}

// Identity is who a Phone registers as.
type Identity struct {
	Key   ed25519.PrivateKey // nil: the zero identity, which registers nobody
	Alias string
	Token string
	Sign  bool
}

// Register connects to addr and registers (spec wzp 4.4). A refusal is an
// error with the relay's words.
func Register(ctx context.Context, cl *quicnet.Client, addr netip.AddrPort, id Identity) (*Phone, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, err := cl.Dial(ctx, addr, quicnet.ALPNWZP, "_signal")
	if err != nil {
		return nil, fmt.Errorf("bench: dial %s: %w", addr, err)
	}
	p := &Phone{conn: conn, key: id.Key}
	if err := p.register(ctx, id); err != nil {
		conn.Close(0, "registration")
		return nil, err
	}
	return p, nil
}

func (p *Phone) register(ctx context.Context, id Identity) error {
	m := &wire.RegisterPresence{Signature: []byte{}}
	if id.Key != nil {
		copy(m.IdentityPub[:], id.Key.Public().(ed25519.PublicKey))
		p.fingerprint = wire.Fingerprint(m.IdentityPub[:])
	}
	if id.Alias != "" {
		m.Alias = &id.Alias
	}
	if id.Sign {
		m.Signature = wire.SignPresence(id.Key, sha256.Sum256(p.conn.PeerCertificate()))
	}
	if id.Token != "" {
		if err := p.Send(&wire.AuthToken{Token: id.Token}); err != nil {
			return err
		}
	}
	if err := p.Send(m); err != nil {
		return err
	}
	s, err := p.Next(ctx)
	if err != nil {
		return fmt.Errorf("bench: read acknowledgement: %w", err)
	}
	ack, ok := s.(*wire.RegisterPresenceAck)
	switch {
	case !ok:
		return fmt.Errorf("bench: the relay's first stream carries %T, not a RegisterPresenceAck", s)
	case !ack.Success && ack.Error != nil:
		return fmt.Errorf("bench: registration refused: %s", *ack.Error)
	case !ack.Success:
		return errors.New("bench: registration refused")
	}
	return nil
}

// Fingerprint is what others call the phone by, unless a token says otherwise.
func (p *Phone) Fingerprint() string { return p.fingerprint }

// Key is the phone's identity.
func (p *Phone) Key() ed25519.PrivateKey { return p.key }

// Send says one thing to the relay.
func (p *Phone) Send(s wire.Signal) error { return sendSignal(p.conn, s) }

// Next waits for what the relay says next.
func (p *Phone) Next(ctx context.Context) (wire.Signal, error) { return readSignal(ctx, p.conn) }

// Call offers a call under an id.
func (p *Phone) Call(fingerprint, id string) error {
	return p.Send(&wire.DirectCallOffer{
		CallerFingerprint: p.fingerprint, TargetFingerprint: fingerprint, CallID: id, Signature: []byte{}, SupportedProfiles: wire.Offered(),
	})
}

// Answer answers a call.
func (p *Phone) Answer(id string, mode wire.AcceptMode) error {
	return p.Send(&wire.DirectCallAnswer{CallID: id, AcceptMode: mode})
}

// HangUp ends a call.
func (p *Phone) HangUp(id string) error { return p.Send(&wire.Hangup{CallID: &id}) }

// Conn is the connection, for what a client does not do.
func (p *Phone) Conn() *quicnet.Conn { return p.conn }

// Close leaves as a client does.
func (p *Phone) Close() { p.conn.Close(0, closeReason) }
