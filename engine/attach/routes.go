package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"signalbox/engine/control"
	"signalbox/engine/view"
)

const ndjson = "application/x-ndjson"

func (s *Server) snapshot(w http.ResponseWriter, _ *http.Request) {
	b, err := s.line(s.node.Snapshot())
	if err != nil {
		s.reply(w, http.StatusInternalServerError, control.Fail(control.Invalid, "encode the snapshot: %v", err))
		return
	}
	s.raw(w, http.StatusOK, "application/json", b)
}

// stream writes the newest snapshot at every tick, less often while all is well
// or nothing happens, where the follower wants it so (pace). A reader that is
// slow keeps the write waiting, so the ticks in between, and their snapshots,
// pass it by.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	p, err := paceOf(r.URL.Query())
	if err != nil {
		s.fail(w, control.Invalid, "%v", err)
		return
	}
	w.Header().Set("Content-Type", ndjson)
	t := time.NewTicker(p.every)
	defer t.Stop()
	for {
		if snap := s.node.Snapshot(); p.due(snap, time.Now()) {
			b, err := s.line(snap)
			if err != nil {
				s.log.Error("admin socket: encode the snapshot", "err", err)
				return
			}
			if !s.push(w, b) {
				return
			}
		}
		select {
		case <-r.Context().Done():
			return
		case <-t.C:
		}
	}
}

// push sends b now; false when the peer does not take it.
func (s *Server) push(w http.ResponseWriter, b []byte) bool {
	s.deadline(w, s.write)
	if _, err := w.Write(b); err != nil {
		s.log.Debug("admin socket: a follower is gone or does not read", "err", err)
		return false
	}
	return http.NewResponseController(w).Flush() == nil
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var after uint64
	if v := q.Get("after"); v != "" {
		var err error
		if after, err = strconv.ParseUint(v, 10, 64); err != nil {
			s.fail(w, control.Invalid, "after: %q is no sequence number", v)
			return
		}
	}
	if f := q.Get("follow"); f == "1" || f == "true" {
		s.following(func(w http.ResponseWriter, r *http.Request) { s.followEvents(w, r, after) })(w, r)
		return
	}
	b, _, err := s.eventLines(after)
	if err != nil {
		s.reply(w, http.StatusInternalServerError, control.Fail(control.Invalid, "encode the events: %v", err))
		return
	}
	s.raw(w, http.StatusOK, ndjson, b)
}

func (s *Server) followEvents(w http.ResponseWriter, r *http.Request, after uint64) {
	w.Header().Set("Content-Type", ndjson)
	if http.NewResponseController(w).Flush() != nil { // the follower is told at once that it follows
		return
	}
	t := time.NewTicker(eventPoll)
	defer t.Stop()
	for {
		b, last, err := s.eventLines(after)
		if err != nil {
			s.log.Error("admin socket: encode the events", "err", err)
			return
		}
		after = last
		if len(b) > 0 && !s.push(w, b) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-t.C:
		}
	}
}

// eventLines encodes what happened after a sequence number, one line each,
// what the ring has lost first, and returns the last number.
func (s *Server) eventLines(after uint64) ([]byte, uint64, error) {
	evs, missed := s.node.Events(after)
	if missed > 0 {
		evs = append([]view.Event{{
			At: time.Now().UTC(), Kind: Missed, Severity: view.Warn,
			Message: fmt.Sprintf("%d events were overtaken before they were read", missed), Fields: map[string]any{"count": missed},
		}}, evs...)
	}
	var out []byte
	for i := range evs {
		b, err := json.Marshal(&evs[i])
		if err != nil {
			return nil, after, err
		}
		out = append(append(out, b...), '\n')
		after = max(after, evs[i].Seq)
	}
	return out, after, nil
}

// Missed is the kind of the line that stands for events the ring has lost.
const Missed = "missed"

func (s *Server) command(w http.ResponseWriter, r *http.Request) {
	var c control.Command
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("more than one command in one request")
		}
	}
	if err == nil && c.Kind == "" {
		err = errors.New("kind is missing")
	}
	if err != nil {
		s.fail(w, control.Invalid, "not a command: %v", err)
		return
	}
	p, _ := r.Context().Value(peerKey{}).(peer)
	c.Author, c.Role = p.author, p.role
	s.deadline(w, commandTimeout+s.write)
	ctx, cancel := context.WithTimeout(r.Context(), commandTimeout)
	defer cancel()
	res, err := s.node.Do(ctx, c)
	if err != nil {
		s.fail(w, control.Busy, "%v", err)
		return
	}
	if res.Plan == nil {
		res.Plan = []string{}
	}
	s.reply(w, status(res.Code), res)
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, to := q.Get("from"), q.Get("to")
	if from == "" {
		s.fail(w, control.Invalid, "explain wants from and to, each a participant's id, alias or fingerprint, or the id of a call as from")
		return
	}
	s.reply(w, http.StatusOK, s.node.Explain(from, to))
}

func (s *Server) audit(w http.ResponseWriter, _ *http.Request) {
	a := s.node.Audit()
	if a == nil {
		a = []view.Audit{}
	}
	s.reply(w, http.StatusOK, a)
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	h, ok := s.node.(Historian)
	if !ok {
		s.fail(w, control.NotFound, "this node keeps no history")
		return
	}
	q := r.URL.Query()
	from, err1 := moment(q, "from")
	to, err2 := moment(q, "to")
	step, err3 := millis(q, "step_ms", 0)
	if err := errors.Join(err1, err2, err3); err != nil {
		s.fail(w, control.Invalid, "%v", err)
		return
	}
	w.Header().Set("Content-Type", ndjson)
	err := h.History(from, to, step, func(js []byte) bool {
		return r.Context().Err() == nil && s.push(w, append(js, '\n'))
	})
	if err != nil {
		s.log.Error("admin socket: read the history", "err", err)
	}
}

// about is the node's build and settings.
func (s *Server) about(w http.ResponseWriter, _ *http.Request) {
	d, ok := s.node.(Describer)
	if !ok {
		s.fail(w, control.NotFound, "this node does not describe itself")
		return
	}
	s.reply(w, http.StatusOK, d.About())
}

// recording is the same as a file for signalbox replay.
func (s *Server) recording(w http.ResponseWriter, r *http.Request) {
	h, ok := s.node.(Historian)
	if !ok {
		s.fail(w, control.NotFound, "this node keeps no history")
		return
	}
	from, err1 := moment(r.URL.Query(), "from")
	to, err2 := moment(r.URL.Query(), "to")
	if err := errors.Join(err1, err2); err != nil {
		s.fail(w, control.Invalid, "%v", err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	s.deadline(w, profileTimeout)
	if err := h.Recording(w, from, to); err != nil {
		s.log.Debug("admin socket: a reader of a recording is gone", "err", err)
	}
}

func millis(q url.Values, name string, def time.Duration) (time.Duration, error) {
	v := q.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number of milliseconds", name, v)
	}
	return time.Duration(n) * time.Millisecond, nil
}

// moment reads RFC 3339; absent is the zero time.
func moment(q url.Values, name string) (time.Time, error) {
	v := q.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %q is no time like 2006-01-02T15:04:05Z", name, v)
	}
	return t, nil
}
