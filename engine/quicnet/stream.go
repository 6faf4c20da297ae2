package quicnet

import (
	"time"

	"github.com/quic-go/quic-go"
)

// Stream is a bidirectional stream. A stream takes credit until both of its
// directions are done: Close or CancelWrite for ours, end of file or
// CancelRead for the peer's. Reads and writes past a deadline return an error
// that is os.ErrDeadlineExceeded.
type Stream struct{ s *quic.Stream }

// Read reads what has arrived, at least one byte; io.EOF after the last.
func (s *Stream) Read(p []byte) (int, error) { return s.s.Read(p) }

// Write returns when all of p has been taken for sending, which flow control
// may delay: set a deadline.
func (s *Stream) Write(p []byte) (int, error) { return s.s.Write(p) }

// Close ends our direction after what was written; reading goes on. It must
// not be called while a Write is under way.
func (s *Stream) Close() error { return s.s.Close() }

// CancelRead gives up the peer's direction and asks it to stop sending.
func (s *Stream) CancelRead(code uint64) { s.s.CancelRead(quic.StreamErrorCode(code)) }

// CancelWrite gives up our direction, unsent data included.
func (s *Stream) CancelWrite(code uint64) { s.s.CancelWrite(quic.StreamErrorCode(code)) }

// SetDeadline limits reads and writes; the zero time lifts the limit.
func (s *Stream) SetDeadline(t time.Time) error { return s.s.SetDeadline(t) }

// SetReadDeadline limits reads.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.s.SetReadDeadline(t) }

// SetWriteDeadline limits writes.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.s.SetWriteDeadline(t) }

// SendStream is our end of a unidirectional stream we opened.
type SendStream struct{ s *quic.SendStream }

// Write is as Stream.Write.
func (s *SendStream) Write(p []byte) (int, error) { return s.s.Write(p) }

// Close ends the stream after what was written.
func (s *SendStream) Close() error { return s.s.Close() }

// CancelWrite gives the stream up, unsent data included.
func (s *SendStream) CancelWrite(code uint64) { s.s.CancelWrite(quic.StreamErrorCode(code)) }

// SetWriteDeadline limits writes.
func (s *SendStream) SetWriteDeadline(t time.Time) error { return s.s.SetWriteDeadline(t) }

// ReceiveStream is our end of a unidirectional stream the peer opened.
type ReceiveStream struct{ s *quic.ReceiveStream }

// Read is as Stream.Read.
func (s *ReceiveStream) Read(p []byte) (int, error) { return s.s.Read(p) }

// CancelRead gives the stream up and asks the peer to stop sending.
func (s *ReceiveStream) CancelRead(code uint64) { s.s.CancelRead(quic.StreamErrorCode(code)) }

// SetReadDeadline limits reads.
func (s *ReceiveStream) SetReadDeadline(t time.Time) error { return s.s.SetReadDeadline(t) }
