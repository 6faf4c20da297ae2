package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestWhosePageMayCome holds WebTransport to the origins WebSocket is held to.
func TestWhosePageMayCome(t *testing.T) {
	s := New(Options{Door: newHouse(""), Port: 8080, Origins: []string{"good.example", "*.wide.example", "https://only.example"}})
	for _, tc := range []struct {
		host, origin string
		ok           bool
	}{
		{"talk.example:4433", "http://talk.example:8080", true},
		{"talk.example:4433", "http://TALK.example:8080", true},
		{"talk.example:4433", "https://talk.example", true}, // behind a TLS proxy
		{"talk.example:4433", "https://talk.example:443", true},
		{"talk.example:4433", "http://talk.example", false}, // another server of the host
		{"talk.example:4433", "http://talk.example:9090", false},
		{"[::1]:4433", "http://[::1]:8080", true},
		{"talk.example:4433", "https://talk.example.evil.example", false},
		{"talk.example:4433", "https://evil.example", false},
		{"talk.example:4433", "http://good.example", true},
		{"talk.example:4433", "https://a.wide.example", true},
		{"talk.example:4433", "https://only.example", true},
		{"talk.example:4433", "http://only.example", false},
		{"talk.example:4433", "null", false}, // a sandboxed frame
		{"talk.example:4433", "", true},      // no browser
	} {
		r := &http.Request{Host: tc.host, URL: &url.URL{Path: "/wt/room"}, Header: http.Header{}}
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		if got := s.Allow(r); (got == 0) != tc.ok || got != 0 && got != http.StatusForbidden {
			t.Errorf("%s to %s: %d", tc.origin, tc.host, got)
		}
	}
	for target, want := range map[string]int{
		"/wt/room?protocol=wzp.voice": 0, "/wt/room?protocol=other": 400, "/wt/": 404, "/wt/a/b": 404, "/": 404, "/ws/room": 404, "/wt/r%2fx": 404,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Allow(&http.Request{URL: u, Header: http.Header{}}); got != want {
			t.Errorf("%s: %d, want %d", target, got, want)
		}
	}
}

// FuzzWhosePageMayCome: nobody's page comes but those of our own host and port.
func FuzzWhosePageMayCome(f *testing.F) {
	f.Add("talk.example:4433", "http://talk.example:8080")
	f.Add("[::1", "http://[::1")
	f.Add("talk.example:4433", "https://talk.example\\@evil.example")
	s := New(Options{Door: newHouse(""), Port: 8080})
	f.Fuzz(func(t *testing.T, host, origin string) {
		r := &http.Request{Host: host, URL: &url.URL{Path: "/wt/r"}, Header: http.Header{"Origin": {origin}}}
		if s.Allow(r) != 0 || origin == "" {
			return
		}
		asked, err := url.Parse("https://" + host)
		page, err2 := url.Parse(origin)
		if err != nil || err2 != nil || !strings.EqualFold(asked.Hostname(), page.Hostname()) {
			t.Errorf("%q may come to %q", origin, host)
		}
	})
}

func TestTheOffer(t *testing.T) {
	get := func(opt Options) (int, offer) {
		resp, err := http.Get("http://" + serve(t, opt) + "/webtransport.json") //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		var o offer
		if err != nil || resp.StatusCode == http.StatusOK && json.Unmarshal(b, &o) != nil {
			t.Fatalf("%s, %v", b, err)
		}
		return resp.StatusCode, o
	}
	if status, _ := get(Options{Door: newHouse("")}); status != http.StatusNotFound {
		t.Errorf("without it: %d", status)
	}
	certs, err := OwnCerts()
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := certs.Hashes()
	if err != nil {
		t.Fatal(err)
	}
	_, o := get(Options{Door: newHouse(""), Transport: &Transport{Port: 4433, Certs: certs}})
	if o.Port != 4433 || o.Path != "/wt/" || len(o.Hashes) != 2 || string(o.Hashes[0].Value) != string(hashes[0][:]) || o.Hashes[1].Algorithm != "sha-256" {
		t.Errorf("%+v", o)
	}
}
