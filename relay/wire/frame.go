package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits of a signal frame's JSON in bytes.
const (
	MaxFrame     = 64 << 10 // what a relay reads from strangers
	HardMaxFrame = 1 << 20  // what peers accept at most (3.1)
)

const (
	framePrefix = 4
	frameChunk  = 2048 // first read; most signals fit
)

// ErrFrameTooLarge is returned for a frame longer than allowed, before any of
// it is read.
var ErrFrameTooLarge = errors.New("wire: signal frame too large")

// EncodeFrame is the frame of s: u32 big-endian length and JSON (3.1). A frame
// for many receivers is encoded once.
func EncodeFrame(s Signal) ([]byte, error) {
	b, err := appendSignal(make([]byte, framePrefix, 512), s, 0)
	if err != nil {
		return nil, err
	}
	n := len(b) - framePrefix
	if n > HardMaxFrame {
		return nil, fmt.Errorf("%w: %s of %d bytes", ErrFrameTooLarge, s.Variant(), n)
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	return b, nil
}

// WriteFrame writes the frame of s in one call of Write: clients that poll
// with a time-out lose the rest of a frame that comes in pieces (8.1).
func WriteFrame(w io.Writer, s Signal) error {
	b, err := EncodeFrame(s)
	if err != nil {
		return err
	}
	n, err := w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("wire: write signal frame: %w", err)
	}
	return nil
}

// ReadFrame reads one frame and nothing after it. A limit of 0 is MaxFrame, one
// beyond HardMaxFrame is HardMaxFrame. Memory grows with the bytes that
// arrive, not with the length they were announced by. A stream that ends
// early gives io.EOF before the first byte, else io.ErrUnexpectedEOF.
func ReadFrame(r io.Reader, limit int) (Signal, error) {
	frame, err := ReadRawFrame(r, limit)
	if err != nil {
		return nil, err
	}
	return Unmarshal(frame[framePrefix:])
}

// Message is the JSON of a frame ReadRawFrame has read.
func Message(frame []byte) []byte { return frame[min(framePrefix, len(frame)):] }

// ReadRawFrame reads one frame as ReadFrame does and returns it whole, to be
// passed on as it came.
func ReadRawFrame(r io.Reader, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = MaxFrame
	}
	var prefix [framePrefix]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, fmt.Errorf("wire: read signal frame: %w", err)
	}
	size := binary.BigEndian.Uint32(prefix[:])
	if uint64(size) > uint64(min(limit, HardMaxFrame)) {
		return nil, fmt.Errorf("%w: %d bytes announced", ErrFrameTooLarge, size)
	}
	frame, err := readGrowing(r, prefix[:], int(size))
	if err != nil {
		return nil, fmt.Errorf("wire: read signal frame: %w", err)
	}
	return frame, nil
}

// readGrowing reads exactly n bytes behind head, into a buffer that at most
// doubles with what has come in.
func readGrowing(r io.Reader, head []byte, n int) ([]byte, error) {
	have := len(head)
	n += have
	buf := make([]byte, min(n, frameChunk))
	copy(buf, head)
	for {
		m, err := io.ReadFull(r, buf[have:])
		have += m
		if err == io.EOF && have < n {
			err = io.ErrUnexpectedEOF // the prefix was there, its message is not
		}
		if err != nil {
			return nil, err
		}
		if have == n {
			return buf, nil
		}
		grown := make([]byte, min(n, 2*have))
		copy(grown, buf)
		buf = grown
	}
}
