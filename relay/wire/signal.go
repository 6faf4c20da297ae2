package wire

import (
	"errors"
	"fmt"
)

// Errors of Marshal and Unmarshal. Those of Unmarshal wrap exactly one of
// ErrSyntax, ErrUnknownVariant and ErrField.
var (
	ErrSyntax         = errors.New("wire: not valid JSON")
	ErrUnknownVariant = errors.New("wire: unknown signal variant")
	ErrField          = errors.New("wire: bad signal field")
	ErrEncode         = errors.New("wire: signal cannot be encoded")
)

// maxForward is how many FederatedSignalForward may stand inside one another.
// One is all anybody sends.
const maxForward = 8

// Signal is one of the 36 messages of 3.4: a pointer to one of the exported
// structs of this package. No other package can add one, since a relay must
// never send a variant its peers do not know.
type Signal interface {
	// Variant is the name on the wire.
	Variant() string
	// fields describes the message in the order of the wire, pointing into
	// it; nil for unit variants, which are bare strings.
	fields() []field
}

// variants makes an empty message of every kind.
var variants = map[string]func() Signal{}

func init() {
	for _, mk := range []func() Signal{
		func() Signal { return new(CallOffer) }, func() Signal { return new(CallAnswer) },
		func() Signal { return new(IceCandidate) }, func() Signal { return new(Rekey) },
		func() Signal { return new(QualityUpdate) }, func() Signal { return new(LossRecoveryUpdate) },
		func() Signal { return new(Ping) }, func() Signal { return new(Pong) },
		func() Signal { return new(Hangup) }, func() Signal { return new(AuthToken) },
		func() Signal { return new(Hold) }, func() Signal { return new(Unhold) },
		func() Signal { return new(Mute) }, func() Signal { return new(Unmute) },
		func() Signal { return new(Transfer) }, func() Signal { return new(TransferAck) },
		func() Signal { return new(PresenceUpdate) }, func() Signal { return new(RouteQuery) },
		func() Signal { return new(RouteResponse) }, func() Signal { return new(SessionForward) },
		func() Signal { return new(SessionForwardAck) }, func() Signal { return new(RoomUpdate) },
		func() Signal { return new(FederationHello) }, func() Signal { return new(GlobalRoomActive) },
		func() Signal { return new(GlobalRoomInactive) }, func() Signal { return new(RegisterPresence) },
		func() Signal { return new(RegisterPresenceAck) }, func() Signal { return new(DirectCallOffer) },
		func() Signal { return new(DirectCallAnswer) }, func() Signal { return new(CallSetup) },
		func() Signal { return new(CallRinging) }, func() Signal { return new(Reflect) },
		func() Signal { return new(ReflectResponse) }, func() Signal { return new(MediaPathReport) },
		func() Signal { return new(FederatedSignalForward) }, func() Signal { return new(QualityDirective) },
	} {
		variants[mk().Variant()] = mk
	}
}

// presence says what an absent or null value means (3.2).
type presence uint8

const (
	required  presence = iota // missing and null are errors
	optNull                   // written as null when unset; missing is unset
	optSkip                   // left out when unset; missing and null are unset
	skipEmpty                 // left out when empty; missing is empty, null an error
	defaulted                 // always written; missing is the zero value, null an error
)

// field is one member of a JSON object: its key and a pointer to its value.
type field struct {
	key  string
	at   any
	when presence
}

// Extra are the members of a message that this version does not know, in the
// order in which they came, as JSON without the braces around them. Messages a
// relay passes on keep them, so that newer clients can talk through it.
type Extra string

// extraField is the place of what no other field takes. It is the last one and
// has no key.
func extraField(at *Extra) field { return field{at: at, when: skipEmpty} }

// object is a struct that is a JSON object.
type object interface{ fields() []field }

// Marshal renders s as compact JSON, with the keys in the order in which Rust
// peers write them (3.2). Strings that are not UTF-8 are repaired.
func Marshal(s Signal) ([]byte, error) { return appendSignal(nil, s, 0) }

// Unmarshal reads one message. Unknown keys are ignored, known ones may not
// come twice. Nothing in the result aliases b.
func Unmarshal(b []byte) (Signal, error) {
	d := &decoder{buf: b}
	s, err := d.signal(0)
	if err != nil {
		return nil, err
	}
	d.space()
	if d.pos != len(d.buf) {
		return nil, d.syntax("bytes after the message")
	}
	return s, nil
}

// signal reads an externally tagged enum: "Unit", {"Unit":null} or
// {"Name":{...}} with exactly one key.
func (d *decoder) signal(forwards int) (Signal, error) {
	if forwards > maxForward {
		return nil, fmt.Errorf("%w: more than %d signals inside one another", ErrField, maxForward)
	}
	switch d.peek() {
	case '"':
		name, err := d.str()
		if err != nil {
			return nil, err
		}
		mk := variants[name]
		if mk == nil {
			return nil, fmt.Errorf("%w %.40q", ErrUnknownVariant, name)
		}
		s := mk()
		if s.fields() != nil {
			return nil, fmt.Errorf("%w: %s is not a unit variant", ErrField, name)
		}
		return s, nil
	case '{':
		return d.tagged(forwards)
	}
	return nil, d.mismatch("a signal")
}

func (d *decoder) tagged(forwards int) (Signal, error) {
	if err := d.open('{'); err != nil {
		return nil, err
	}
	name, err := d.key()
	if err != nil {
		return nil, err
	}
	mk := variants[name]
	if mk == nil {
		if err := d.skip(); err != nil { // garbage is garbage, not a newer peer
			return nil, err
		}
		if err := d.close('}'); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w %.40q", ErrUnknownVariant, name)
	}
	s := mk()
	if fs := s.fields(); fs == nil {
		err = d.null()
	} else {
		err = d.object(fs, forwards)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, d.close('}')
}

func appendSignal(dst []byte, s Signal, forwards int) ([]byte, error) {
	if s == nil || forwards > maxForward {
		return nil, fmt.Errorf("%w: nil, or more than %d inside one another", ErrEncode, maxForward)
	}
	fs := s.fields()
	if fs == nil {
		return appendString(dst, s.Variant()), nil
	}
	dst = append(dst, '{')
	dst = appendString(dst, s.Variant())
	dst = append(dst, ':')
	dst, err := appendObject(dst, fs, forwards)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Variant(), err)
	}
	return append(dst, '}'), nil
}
