package flight

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"signalbox/engine/view"
)

// A recording is the magic and then frames:
//
//	frame    length u32 of the body | crc u32 (Castagnoli) of the body | body
//	body     kind u8 | at i64, Unix milliseconds | payload
//	kind 1   key: a snapshot's JSON, zstd
//	kind 2   delta: a snapshot's JSON, zstd with the last key's JSON as dictionary
//	kind 3   events: a JSON array, zstd
//
// Integers are big-endian. A recording ends anywhere: what follows the last
// whole frame is a torn tail, which a reader reports and does without.
const magic = "signalbox flight 1\n"

// Kinds of frames.
const (
	kindKey    = 1
	kindDelta  = 2
	kindEvents = 3
)

const (
	frameHead = 8
	bodyHead  = 9
	maxBody   = 32 << 20  // of a frame in a file
	maxJSON   = 128 << 20 // of a snapshot
)

// Errors of reading a recording.
var (
	ErrNotRecording = errors.New("flight: not a recording of this program")
	ErrTorn         = errors.New("flight: the recording ends in the middle of a frame")
	ErrDamaged      = errors.New("flight: a frame is damaged")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one decoded head with its payload, still compressed.
type frame struct {
	kind byte
	at   int64 // Unix ms
	raw  []byte
}

// appendFrame appends a whole frame to dst.
func appendFrame(dst []byte, kind byte, at int64, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, frameHead)...)
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	dst = append(dst, payload...)
	body := dst[start+frameHead:]
	binary.BigEndian.PutUint32(dst[start:], uint32(len(body)))
	binary.BigEndian.PutUint32(dst[start+4:], crc32.Checksum(body, castagnoli))
	return dst
}

// readFrame reads one frame. io.EOF is a clean end.
func readFrame(r *bufio.Reader) (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrTorn
		}
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < bodyHead || n > maxBody {
		return frame{}, fmt.Errorf("%w: it claims %d bytes", ErrDamaged, n)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what is there, not with what is claimed
	if err != nil {
		return frame{}, fmt.Errorf("flight: %w", err)
	}
	if len(body) < int(n) {
		return frame{}, ErrTorn
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return frame{}, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return frame{kind: body[0], at: int64(binary.BigEndian.Uint64(body[1:])), raw: body[bodyHead:]}, nil
}

// packer compresses one chunk after the other.
type packer struct {
	plain *zstd.Encoder
	delta *zstd.Encoder // with the present key as dictionary; nil before the first
}

// dictID is the number zstd wants for a dictionary; there is one at a time.
const dictID = 1

func newPacker() (*packer, error) {
	e, err := zstd.NewWriter(nil, encoding(zstd.WithWindowSize(1<<20))...)
	if err != nil {
		return nil, fmt.Errorf("flight: %w", err)
	}
	return &packer{plain: e}, nil
}

func encoding(more ...zstd.EOption) []zstd.EOption {
	return append([]zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest)}, more...)
}

// key starts a chunk with a snapshot.
func (p *packer) key(js []byte) ([]byte, error) {
	e, err := zstd.NewWriter(nil, encoding(zstd.WithEncoderDictRaw(dictID, js), zstd.WithWindowSize(window(len(js))))...)
	if err != nil {
		return nil, fmt.Errorf("flight: %w", err)
	}
	p.delta = e
	return p.plain.EncodeAll(js, nil), nil
}

// window is a power of two that spans a dictionary and the text after it.
func window(n int) int {
	w := 1 << 16
	for w < 2*n && w < 1<<26 {
		w <<= 1
	}
	return w
}

// unpacker is the other way. One goroutine uses it.
type unpacker struct {
	plain *zstd.Decoder
	delta *zstd.Decoder
}

func newUnpacker() (*unpacker, error) {
	d, err := zstd.NewReader(nil, decoding()...)
	if err != nil {
		return nil, fmt.Errorf("flight: %w", err)
	}
	return &unpacker{plain: d}, nil
}

func decoding(more ...zstd.DOption) []zstd.DOption {
	return append([]zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxJSON)}, more...)
}

func (u *unpacker) close() {
	u.plain.Close()
	if u.delta != nil {
		u.delta.Close()
	}
}

// snapshot returns the JSON of a key or a delta; keys must come first.
func (u *unpacker) snapshot(f frame) ([]byte, error) {
	if f.kind == kindKey {
		js, err := u.plain.DecodeAll(f.raw, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if u.delta != nil {
			u.delta.Close()
		}
		if u.delta, err = zstd.NewReader(nil, decoding(zstd.WithDecoderDictRaw(dictID, js))...); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return js, nil
	}
	if u.delta == nil {
		return nil, fmt.Errorf("%w: a snapshot without its key", ErrDamaged)
	}
	js, err := u.delta.DecodeAll(f.raw, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return js, nil
}

// events decodes the events of a frame.
func (u *unpacker) events(f frame) ([]view.Event, error) {
	b, err := u.plain.DecodeAll(f.raw, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	var evs []view.Event
	if err := json.Unmarshal(b, &evs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return evs, nil
}

func ms(t time.Time) int64 { return t.UnixMilli() }
