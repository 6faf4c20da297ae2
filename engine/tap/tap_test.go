package tap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"signalbox/relay"
	"signalbox/relay/wire"
)

func logger(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func members(t *testing.T, room string, n int) []*relay.Participant {
	t.Helper()
	r := relay.New(relay.Config{})
	var ps []*relay.Participant
	for i := range n {
		p, err := r.Join(relay.JoinRequest{Room: room, Alias: fmt.Sprint("m", i), Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 9), Now: time.Unix(1, 0)})
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

func packet(seq uint16) []byte {
	return wire.AppendPacket(nil, wire.Packet{Header: wire.Header{Codec: wire.Opus24k, Seq: seq, Timestamp: 20}, Payload: []byte{1, 2, 3}})
}

// TestLines holds what is written (spec wzp 5.6).
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		s := New(logger(&b), slog.New(slog.DiscardHandler))
		ps := members(t, "r", 3)
		s.Packet(ps[0], packet(1), 1) // nobody taps
		if err := s.Add("r", "me", false, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := s.Add("r", "me", false, time.Now()); !errors.Is(err, ErrTwin) {
			t.Errorf("a second tap: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		bad, why := "al\x1b[1mice\u202e", "weakest link: Good"
		upd := &wire.RoomUpdate{Count: 2, Participants: []wire.RoomParticipant{{Alias: &bad}, {}}}
		for range 3 { // three members are told the same
			s.Signal("r", upd, 1)
			s.Signal("r", &wire.QualityDirective{RecommendedProfile: wire.Good.Profile(), Reason: &why}, 1)
		}
		s.Event("r", "join", "m1 joined", 1)
		for _, seq := range []uint16{7, 8, 10} {
			s.Packet(ps[0], packet(seq), 1)
		}
		s.Packet(ps[1], packet(99), 1)
		s.Packet(ps[0], []byte{1}, 1)
		s.Packet(members(t, "other", 2)[0], packet(5), 1)
		time.Sleep(statsEvery + time.Second)
		cancel()
		synctest.Wait()
		want := []string{
			`level=INFO msg="TAP SIGNAL" target=debug_tap room=r signal=RoomUpdate count=2 aliases=al[1mice`,
			`level=INFO msg="TAP SIGNAL" target=debug_tap room=r signal=QualityDirective codec=Opus24k reason="weakest link: Good"`,
			`level=INFO msg="TAP EVENT" target=debug_tap room=r event=join detail="m1 joined"`,
			`level=INFO msg=TAP target=debug_tap room=r dir=in addr=10.0.0.0:9 seq=7 codec=Opus24k ts=20 fec_block=0 fec_sym=0 repair=false len=3 fan_out=2`,
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		for i, w := range want {
			if i >= len(lines) || lines[i] != w {
				t.Fatalf("line %d:\n got %q\nwant %q", i, lines[i], w)
			}
		}
		last := `level=INFO msg="TAP STATS" target=debug_tap room=r period=5s in_pkts=4 out_pkts=8 fan_out_avg=2 seq_gaps=1 codecs_seen=Opus24k skipped=0`
		if len(lines) != 8 || lines[7] != last {
			t.Errorf("%d lines, the last\n%s", len(lines), lines[len(lines)-1])
		}
	})
}

func TestSampledAndBounded(t *testing.T) {
	var b bytes.Buffer
	s := New(logger(&b), slog.New(slog.DiscardHandler))
	ps := members(t, "r", 2)
	if err := s.Add(All, "me", false, time.Now()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 * linesPerS {
		s.Packet(ps[0], packet(uint16(i)), int64(time.Second)) // all in one second
	}
	if st := s.States()[0]; st.Lines != linesPerS || st.Skipped != 4*linesPerS {
		t.Errorf("%+v", st)
	}
	for i := range 20 * linesPerS { // over many, and nobody writes
		s.Packet(ps[0], packet(uint16(i)), int64(i)*int64(time.Second)/50)
	}
	if st := s.States()[0]; st.Lines != queueCap || st.Lines+st.Skipped != 25*linesPerS {
		t.Errorf("%+v", st)
	}
	for i := 1; i < maxTaps; i++ {
		if err := s.Add(fmt.Sprint(i), "me", false, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add("one more", "me", false, time.Now()); !errors.Is(err, ErrMany) {
		t.Errorf("too many taps: %v", err)
	}
	for _, st := range s.States() {
		if err := s.Remove(st.Room); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove(All); !errors.Is(err, ErrNone) || s.taps.Load() != nil {
		t.Errorf("%v", err)
	}
	pkt := packet(1)
	if n := testing.AllocsPerRun(100, func() { s.Packet(ps[0], pkt, 1) }); n != 0 {
		t.Errorf("%v allocations without a tap", n)
	}
}

func TestFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tap.log")
	f := NewFile(path)
	f.max = 100
	s := New(slog.New(slog.DiscardHandler), slog.New(slog.NewTextHandler(f, nil)))
	if err := s.Add("r", "me", true, time.Now()); err != nil {
		t.Fatal(err)
	}
	if st := s.States(); !st[0].ToFile {
		t.Errorf("%+v", st)
	}
	for i := range 30 {
		if _, err := fmt.Fprintf(f, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".1"} {
		if st, err := os.Stat(p); err != nil || st.Size() > 100 || st.Size() == 0 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", p, st, err)
		}
	}
}
