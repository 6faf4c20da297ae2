package quicnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// BrowserSession is the other end of a Session, as a browser has it: for tests
// and load generators.
type BrowserSession struct {
	// Constant after DialSession.
	conn *Conn
	h3   *http3.ClientConn
	st   *http3.RequestStream
}

// StatusError is the HTTP status a session was refused with.
type StatusError int

func (e StatusError) Error() string {
	return fmt.Sprintf("quicnet: the session was refused: %d %s", int(e), http.StatusText(int(e)))
}

// DialSession opens a session at addr for a path with its query, as a page of
// that origin would; it checks no certificate.
func (c *Client) DialSession(ctx context.Context, addr netip.AddrPort, path, origin string) (*BrowserSession, error) {
	conn, err := c.Dial(ctx, addr, ALPNH3, "localhost")
	if err != nil {
		return nil, err
	}
	tr := &http3.Transport{EnableDatagrams: true, AdditionalSettings: map[uint64]uint64{settingDraft02: 1}}
	b := &BrowserSession{conn: conn, h3: tr.NewClientConn(conn.qc)}
	if err := b.open(ctx, addr, path, origin); err != nil {
		conn.Close(h3NoError, "")
		return nil, err
	}
	return b, nil
}

// open asks for another session on the same connection.
func (b *BrowserSession) open(ctx context.Context, addr netip.AddrPort, path, origin string) error {
	u, err := url.Parse("https://" + addr.String() + path)
	if err != nil {
		return err
	}
	st, err := b.h3.OpenRequestStream(ctx)
	if err != nil {
		return err
	}
	req := (&http.Request{Method: http.MethodConnect, Proto: "webtransport", Host: u.Host, URL: u, Header: http.Header{}}).WithContext(ctx)
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	if err := st.SendRequestHeader(req); err != nil {
		return err
	}
	resp, err := st.ReadResponse()
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return StatusError(resp.StatusCode)
	}
	b.st = st
	return nil
}

// Conn is the connection below.
func (b *BrowserSession) Conn() *Conn { return b.conn }

// SendDatagram is as Conn.SendDatagram.
func (b *BrowserSession) SendDatagram(p []byte) error { return b.st.SendDatagram(p) }

// ReceiveDatagram is as Conn.ReceiveDatagram.
func (b *BrowserSession) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	return b.st.ReceiveDatagram(ctx)
}

// OpenStream opens a bidirectional stream of the session.
func (b *BrowserSession) OpenStream() (*Stream, error) { return b.openStream(uint64(b.st.StreamID())) }

func (b *BrowserSession) openStream(session uint64) (*Stream, error) {
	st, err := b.conn.OpenStream()
	if err != nil {
		return nil, err
	}
	_, err = st.Write(quicvarint.Append(quicvarint.Append(nil, streamBidi), session))
	return st, err
}

// Ended waits until the node ends the session and returns how.
func (b *BrowserSession) Ended() (code uint32, reason string, err error) {
	for p := http3.NewCapsuleParser(b.st); ; {
		kind, r, err := p.Next()
		if err != nil {
			return 0, "", connError(err)
		}
		text, err := io.ReadAll(r)
		switch {
		case err != nil:
			return 0, "", err
		case kind != capsuleClose:
		case len(text) < 4:
			return 0, "", errors.New("quicnet: a close without a code")
		default:
			return binary.BigEndian.Uint32(text), string(text[4:]), nil
		}
	}
}

// Close ends the session as a browser does.
func (b *BrowserSession) Close(code uint32, reason string) error {
	err := http3.WriteCapsule(quicvarint.NewWriter(b.st), capsuleClose, append(binary.BigEndian.AppendUint32(nil, code), reason...))
	b.st.CancelRead(quic.StreamErrorCode(codeSessionGone))
	return errors.Join(err, b.st.Close())
}
