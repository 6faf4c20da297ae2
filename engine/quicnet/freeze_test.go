package quicnet

import (
	"errors"
	"testing"
	"time"
)

func TestFrozenClient(t *testing.T) {
	e, conns := start(t, testConfig(t, 1), nil)
	cl, gate, err := NewFreezableClient(ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, cl, at(e, "127.0.0.1"), "room")
	s := next(t, conns)
	send := func(b byte) {
		t.Helper()
		if err := s.SendDatagram([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(want byte) {
		t.Helper()
		if p, err := c.ReceiveDatagram(testCtx(t)); err != nil || len(p) != 1 || p[0] != want {
			t.Fatalf("%v, %v; want %d", p, err, want)
		}
	}
	send(1)
	receive(1)
	if err := gate.Freeze(true); err != nil || !gate.Frozen() {
		t.Fatal(err)
	}
	// Nothing gets out: the server never sees this one while the gate is shut.
	if err := c.SendDatagram([]byte{9}); err != nil {
		t.Fatal(err)
	}
	got := make(chan byte, 32)
	go func() {
		for {
			p, err := c.ReceiveDatagram(c.Context())
			if err != nil {
				return
			}
			got <- p[0]
		}
	}()
	for range 20 {
		send(2)
	}
	if len(got) != 0 {
		t.Errorf("read %d datagrams while frozen", len(got))
	}
	if err := gate.Freeze(false); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		select {
		case b := <-got:
			if b != 2 {
				t.Errorf("got %d", b)
			}
		case <-time.After(patience):
			t.Fatal("what waited in the kernel is lost")
		}
	}
	if p, err := s.ReceiveDatagram(testCtx(t)); err != nil || p[0] != 9 {
		t.Errorf("%v, %v", p, err)
	}
	if err := gate.Freeze(true); err != nil { // Close must not hang in a frozen socket
		t.Fatal(err)
	}
	if err := cl.Close(); err != nil {
		t.Error(err)
	}
	if err := gate.Freeze(true); !errors.Is(err, ErrClosed) || gate.Frozen() {
		t.Errorf("after Close: %v", err)
	}
}
