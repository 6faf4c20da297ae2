package attach

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

// The client's limits.
const (
	dialTimeout   = 3 * time.Second
	answerTimeout = 15 * time.Second // until an answer begins
	maxAnswer     = 64 << 20         // one answer, or one line of a stream
)

// ErrNotRunning says that nobody listens on the socket.
var ErrNotRunning = errors.New("no node answers there; is it running, and with this state directory?")

// StatusError is an answer that is not the one that was asked for.
type StatusError struct {
	Status int // of HTTP
	Result control.Result
}

// Error is the node's own words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s (%s)", e.Result.Message, e.Result.Code)
}

// API asks one node, a question at a time. It holds no state between them.
type API struct {
	// Constant after NewAPI.
	path string
	http *http.Client
}

// NewAPI makes an API on the admin socket at path. Nothing is dialled yet.
func NewAPI(path string) *API {
	d := net.Dialer{Timeout: dialTimeout}
	return &API{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
		ResponseHeaderTimeout: commandTimeout + answerTimeout,
		MaxIdleConns:          2, IdleConnTimeout: idleTimeout / 2, DisableCompression: true,
	}}}
}

// Path is the socket's.
func (a *API) Path() string { return a.path }

// Get returns the answer to GET target, such as /v1/snapshot.
func (a *API) Get(ctx context.Context, target string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, profileTimeout)
	defer cancel()
	body, err := a.open(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, a.explainError(err)
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("attach: the answer to %s is larger than %d bytes", target, maxAnswer)
	}
	return b, nil
}

// Lines hands every line of the answer to GET target to f, until the answer or
// ctx ends or f returns an error.
func (a *API) Lines(ctx context.Context, target string, f func(line []byte) error) (err error) {
	body, err := a.open(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := body.Close(); err == nil {
			err = cerr
		}
	}()
	sc := bufio.NewScanner(body)
	sc.Buffer(make([]byte, 64<<10), maxAnswer)
	for sc.Scan() {
		if err := f(sc.Bytes()); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return a.explainError(err)
	}
	return nil
}

// Snapshot asks for the newest snapshot.
func (a *API) Snapshot(ctx context.Context) (*view.Snapshot, error) {
	s := &view.Snapshot{}
	return s, a.decode(ctx, "/v1/snapshot", s)
}

// Explain asks why to does not hear from.
func (a *API) Explain(ctx context.Context, from, to string) (view.Explanation, error) {
	var x view.Explanation
	return x, a.decode(ctx, "/v1/explain?"+url.Values{"from": {from}, "to": {to}}.Encode(), &x)
}

// historyMost bounds what one question about the past brings here.
const historyMost = 600

// History asks for the recorded snapshots between two times (zero: open), at
// least step apart, oldest first, at most 600.
func (a *API) History(ctx context.Context, from, to time.Time, step time.Duration) ([]*view.Snapshot, error) {
	q := url.Values{"step_ms": {strconv.FormatInt(step.Milliseconds(), 10)}}
	if !from.IsZero() {
		q.Set("from", from.UTC().Format(time.RFC3339Nano))
	}
	if !to.IsZero() {
		q.Set("to", to.UTC().Format(time.RFC3339Nano))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var out []*view.Snapshot
	err := a.Lines(ctx, "/v1/history?"+q.Encode(), func(line []byte) error {
		if len(out) == historyMost {
			cancel()
			return nil
		}
		s := &view.Snapshot{}
		if err := json.Unmarshal(line, s); err != nil {
			return fmt.Errorf("attach: the history: %w", err)
		}
		out = append(out, s)
		return nil
	})
	if len(out) == historyMost {
		err = nil // the rest was not wanted
	}
	return out, err
}

// Audit asks for the audit records, newest first.
func (a *API) Audit(ctx context.Context) ([]view.Audit, error) {
	var x []view.Audit
	return x, a.decode(ctx, "/v1/audit", &x)
}

// Do sends a command. A refusal is a Result, not an error.
func (a *API) Do(ctx context.Context, c control.Command) (control.Result, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return control.Result{}, fmt.Errorf("attach: encode %s: %w", c.Kind, err)
	}
	body, err := a.open(ctx, http.MethodPost, "/v1/commands", b)
	if se, ok := errors.AsType[*StatusError](err); ok {
		return se.Result, nil
	}
	if err != nil {
		return control.Result{}, err
	}
	var res control.Result
	err = json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&res)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return control.Result{}, fmt.Errorf("attach: answer to %s: %w", c.Kind, err)
	}
	return res, nil
}

func (a *API) decode(ctx context.Context, target string, v any) error {
	b, err := a.Get(ctx, target)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("attach: answer to %s: %w", target, err)
	}
	return nil
}

// open sends a request and returns the body of a good answer; every other is a
// *StatusError.
func (a *API) open(ctx context.Context, method, target string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://signalbox"+target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, a.explainError(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	se := &StatusError{Status: resp.StatusCode}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, a.explainError(err)
	}
	if err := json.Unmarshal(b, &se.Result); err != nil || se.Result.Code == "" {
		se.Result = control.Fail(control.Invalid, "%s %s: %s: %s", method, target, resp.Status, strings.TrimSpace(string(b)))
	}
	return nil, se
}

// explainError puts what an operator should conclude before the cause.
func (a *API) explainError(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("admin socket %s: %w", a.path, ErrNotRunning)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("admin socket %s: only the node's user and group may use it: %w", a.path, fs.ErrPermission)
	default:
		return fmt.Errorf("admin socket %s: %w", a.path, err)
	}
}

// Close ends the connections that are kept for the next question.
func (a *API) Close() { a.http.CloseIdleConnections() }
