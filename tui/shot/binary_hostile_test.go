package shot

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/coder/websocket"

	"signalbox/engine/bench"
	"signalbox/engine/quicnet"
)

// hostile has everything that breaks screens: sequences, bidirectional
// overrides, wide, combining and invisible characters.
const hostile = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066日本語e\u0301\u0301\u200b\u200d\ufeff👩‍👩‍👧"

// never are parts of hostile names that must not reach a terminal.
var never = []string{"\x1b]0;owned", "\x1b[2J\u202e", "\x1b[31mred", "\x1b[777;5H", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\x9b", "two\nlines", "two\r\nlines"}

// harmless fails if a terminal was sent any of it.
func harmless(t *testing.T, raw *lockedBuffer) {
	t.Helper()
	text := raw.String()
	for _, bad := range never {
		if i := strings.Index(text, bad); i >= 0 {
			t.Errorf("%q has reached the terminal: %q", bad, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

func client(t *testing.T) *quicnet.Client {
	t.Helper()
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() }) // the node has gone before it
	return cl
}

// stormed resizes a terminal faster than a console draws, over all sizes there
// are and some below, and leaves it at one.
func stormed(t *testing.T, term *Terminal, cols, rows, sizes int) {
	t.Helper()
	for i := range sizes {
		w, h := 40+i*73%461, 12+i*31%189
		if i%10 == 9 {
			w, h = 20+i%30, 5+i%10 // too small, which is said
		}
		if err := term.Resize(w, h); err != nil {
			t.Fatal(err)
		}
	}
	if err := term.Resize(cols, rows); err != nil {
		t.Fatal(err)
	}
	comesTo(t, term, func(text string) bool { return whole(text, cols, rows) })
}

// TestAttachInAPty attaches to a node with somebody of a hostile name in a
// room, and resizes the terminal in every pane of it.
func TestAttachInAPty(t *testing.T) {
	bin := binary(t)
	s := serve(t, bin)
	caller, err := bench.Join(t.Context(), client(t), netip.MustParseAddrPort(s.Listen), "lobby", hostile)
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	var raw lockedBuffer
	term := opened(t, Options{Cmd: []string{bin, "attach", s.Admin}, Raw: &raw})
	onScreen(t, term, "LIVE")
	onScreen(t, term, "evil", "3")
	onScreen(t, term, "room lobby", "enter")
	stormed(t, term, 40, 12, 150)
	for _, pane := range []string{"1", "2", "4", "5", "6", "7", "8"} {
		if err := term.Press(t.Context(), pane); err != nil {
			t.Fatal(err)
		}
		stormed(t, term, 90, 28, 20)
	}
	stormed(t, term, 500, 200, 20)
	onScreen(t, term, "lobby", "3")
	harmless(t, &raw)
	if err := term.Press(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	if err := term.End(); err != nil {
		t.Error(err)
	}
	s.lives(t)
}

// enter joins a room as a browser, under the room's name.
func enter(t *testing.T, s *served, room string) error {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+s.WS+"/ws/"+url.PathEscape(room)+"?alias="+url.QueryEscape(room), nil) //nolint:bodyclose // the library closes it
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = c.CloseNow() }) // the node has gone before it
	for {
		kind, b, err := c.Read(t.Context())
		switch {
		case err != nil:
			return err
		case kind == websocket.MessageText && strings.Contains(string(b), "RoomUpdate"):
			return nil
		}
	}
}

// TestHostileRoomsInAPty: rooms with hostile names. What would move a cursor or
// turn text round is refused at the door, to QUIC clients in the handshake, to
// browsers afterwards, and the console tells of it; what is allowed and still
// breaks screens (wide, long, piled up or invisible letters) is let in. The
// console shows all of it in rows as wide as the screen, wherever rooms are
// named, and none of it reaches the terminal as it is.
func TestHostileRoomsInAPty(t *testing.T) {
	bin := binary(t)
	s := serve(t, bin, "--ws", "127.0.0.1:0")
	cl, at := client(t), netip.MustParseAddrPort(s.Listen)
	for _, room := range []string{hostile, "two\nlines", "red\x1b[31mred", "caf\u00e9", strings.Repeat("x", 254)} {
		if c, err := bench.Join(t.Context(), cl, at, room, "mallory"); err == nil {
			c.Close()
			t.Errorf("room %q was joined", room)
		}
	}
	for _, room := range []string{"[31m{{.}}%s%n$(x)`|<b>", strings.Repeat("l", 249)} {
		c, err := bench.Join(t.Context(), cl, at, room, "mallory")
		if err != nil {
			t.Fatalf("room %q: %v", room, err)
		}
		defer c.Close()
	}
	for _, room := range []string{hostile, "two\nlines", "three\r\nlines\tand a tab", "red\x1b[31mred\x1b[777;5H\u009b2J", "\u200b\u2066", "a b"} {
		if err := enter(t, s, room); err == nil {
			t.Errorf("room %q was entered", room)
		}
	}
	let := []string{strings.Repeat("w\u0301\u0301\u0301", 20), strings.Repeat("日本語", 20), strings.Repeat("👩\u200d👩\u200d👧", 8), "\u200d\u200c", "\u3164", "\ue000\ue001", "\xff\xfe\x9b31m"}
	for _, room := range let {
		if err := enter(t, s, room); err != nil {
			t.Errorf("room %q: %v", room, err)
		}
	}
	var raw lockedBuffer
	term := opened(t, Options{Cmd: []string{bin, "attach", s.Admin}, Raw: &raw, Cols: 120, Rows: 40})
	onScreen(t, term, fmt.Sprintf("in %d rooms", len(let)+2))
	walk(t, term, len(let)+2)
	onScreen(t, term, "two", "5", "/", "two", "enter")
	if text := term.Text(); !strings.Contains(text, "twolines") && !strings.Contains(text, "two lines") {
		t.Errorf("the refused room is not in the events:\n%s", text)
	}
	stormed(t, term, 120, 40, 50)
	harmless(t, &raw)
	if err := term.End(); err != nil {
		t.Error(err)
	}
	s.lives(t)
}

// walk goes to every room and to everything that names it.
func walk(t *testing.T, term *Terminal, rooms int) {
	t.Helper()
	onScreen(t, term, "rooms, worst first", "3")
	for range rooms {
		if err := term.Press(t.Context(), "enter", "esc", "C", "esc", "j"); err != nil {
			t.Fatal(err)
		}
	}
	for _, keys := range [][]string{{"enter", "x", "esc", "esc"}, {":", "room.lock ", "tab", "tab", "enter", "esc", "esc"}, {":", "participant.kick ", "tab", "enter", "esc", "esc"}, {"1"}, {"d", "esc", "D", "esc", "W", "esc"}, {"5", "enter", "esc"}, {"3"}} {
		if err := term.Press(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
		comesTo(t, term, func(text string) bool { return whole(text, 120, 40) })
		for row := range strings.SplitSeq(term.Text(), "\n") {
			if w := ansi.StringWidth(strings.TrimRight(row, " ")); w > 120 {
				t.Errorf("a row is %d wide after %v: %q", w, keys, row)
			}
		}
	}
}
