package quicnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode"

	"github.com/quic-go/quic-go"
)

var (
	// ErrTooLarge matches a *TooLargeError.
	ErrTooLarge = errors.New("quicnet: datagram too large for the path")

	// ErrNoDatagrams says that the peer does not take datagrams at all.
	ErrNoDatagrams = errors.New("quicnet: the peer takes no datagrams")

	// ErrNoCredit says that the peer does not allow another stream now.
	ErrNoCredit = errors.New("quicnet: the peer grants no more streams")

	// ErrWrongPeer says that a DHT peer proved another identity than expected,
	// or none.
	ErrWrongPeer = errors.New("quicnet: the peer is not who it should be")

	// ErrClosed says that the endpoint or client has been closed, or that one of
	// the applications has closed the connection: a clean end (spec wzp 1.6).
	ErrClosed = errors.New("quicnet: closed")
)

// closedError is an application's close, which matches ErrClosed.
type closedError struct{ error }

func (e closedError) Unwrap() error        { return e.error }
func (e closedError) Is(target error) bool { return target == ErrClosed }

// connError makes a connection's clean end recognisable.
func connError(err error) error {
	if _, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return closedError{err}
	}
	return err
}

// TooLargeError says by how much a datagram misses the path's present limit.
type TooLargeError struct {
	Size  int // bytes that were to be sent
	Limit int // bytes that can be sent now
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("quicnet: datagram of %d bytes is above the path's %d", e.Size, e.Limit)
}

// Is makes errors.Is(err, ErrTooLarge) true.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// EndKind is the way a connection ended.
type EndKind uint8

// The ways a connection ends.
const (
	EndOther       EndKind = iota
	EndClosed              // closed by an application; any code is a clean end (spec wzp 1.6)
	EndIdle                // nothing heard for 30 s
	EndReset               // stateless reset: the peer has lost the connection, it has probably restarted
	EndHandshake           // the handshake took too long
	EndRefused             // the peer refuses connections
	EndTransport           // a QUIC or TLS error
	EndLocal               // our context or socket ended
	EndStreamReset         // only this stream was given up
)

// End is an error of this package taken apart.
type End struct {
	Kind   EndKind
	Remote bool   // the peer's doing
	Code   uint64 // application, transport or stream error code
	Reason string // as sent, free of control characters, at most 120 characters
}

// Ended takes an error of a connection or stream apart.
func Ended(err error) End {
	var app *quic.ApplicationError
	var tr *quic.TransportError
	var st *quic.StreamError
	var idle *quic.IdleTimeoutError
	var hs *quic.HandshakeTimeoutError
	var reset *quic.StatelessResetError
	switch {
	case errors.As(err, &st):
		return End{Kind: EndStreamReset, Remote: st.Remote, Code: uint64(st.ErrorCode)}
	case errors.As(err, &app):
		return End{Kind: EndClosed, Remote: app.Remote, Code: uint64(app.ErrorCode), Reason: printable(app.ErrorMessage)}
	case errors.As(err, &idle):
		return End{Kind: EndIdle}
	case errors.As(err, &hs):
		return End{Kind: EndHandshake}
	case errors.As(err, &reset):
		return End{Kind: EndReset, Remote: true}
	case errors.As(err, &tr):
		kind := EndTransport
		if tr.ErrorCode == quic.ConnectionRefused {
			kind = EndRefused
		}
		return End{Kind: kind, Remote: tr.Remote, Code: uint64(tr.ErrorCode), Reason: printable(tr.Error())}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		return End{Kind: EndLocal}
	case err == nil:
		return End{}
	default:
		return End{Reason: printable(err.Error())}
	}
}

// EndReason says in words how a connection ended.
func EndReason(err error) string {
	e := Ended(err)
	who := "us"
	if e.Remote {
		who = "the peer"
	}
	switch e.Kind {
	case EndClosed:
		if e.Reason == "" {
			return "closed by " + who
		}
		return "closed by " + who + ": " + e.Reason
	case EndIdle:
		return "nothing heard for 30 s"
	case EndReset:
		return "the peer has lost the connection (stateless reset)"
	case EndHandshake:
		return "the handshake took too long"
	case EndRefused:
		return "refused by " + who
	case EndTransport:
		return "QUIC error by " + who + ": " + e.Reason
	case EndLocal:
		return "closed by us"
	case EndStreamReset:
		return fmt.Sprintf("stream given up by %s, code %d", who, e.Code)
	case EndOther:
	}
	switch {
	case err == nil:
		return "closed"
	case errors.Is(err, io.EOF):
		return "end of stream"
	}
	return e.Reason
}

const maxReason = 120

// printable makes text from the network fit for a terminal: control and bidi
// characters go.
func printable(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxReason {
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
