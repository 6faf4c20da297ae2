package engine_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/opus"

	"signalbox/engine"
	"signalbox/engine/bench"
	"signalbox/engine/config"
	"signalbox/engine/quicnet"
	"signalbox/engine/view"
	"signalbox/engine/web/webtest"
	"signalbox/relay/wire"
)

const (
	rate       = 48000
	opusFrame  = 960
	micTone    = 600.0  // Hz, in the browser's microphone
	micLevel   = -9.03  // dBFS, of a sine of half the full scale
	nativeTone = 1000.0 // Hz, from the native client
	toneLevel  = -15.05 // dBFS, of a sine of a quarter of the full scale
	heardFor   = 100    // packets, two seconds
)

// wav writes ten seconds of a tone of half the full scale.
func wav(t *testing.T, hz float64) string {
	t.Helper()
	const samples = 10 * rate
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), 36+2*samples)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	b = binary.LittleEndian.AppendUint32(b, rate)
	b = binary.LittleEndian.AppendUint32(b, 2*rate)
	b = append(b, "\x02\x00\x10\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, 2*samples)
	for i := range samples {
		v := 0.5 * math.Sin(2*math.Pi*hz*float64(i)/rate)
		b = binary.LittleEndian.AppendUint16(b, uint16(int16(v*32767)))
	}
	file := filepath.Join(t.TempDir(), "tone.wav")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// sound is what can be heard in samples: the level in dBFS and the strongest
// tone in Hz.
func sound(pcm []float32) (level, hz float64) {
	var sum, most float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	for f := 50.0; f <= 4000; f += 5 { // Goertzel's filter, tone by tone
		c := 2 * math.Cos(2*math.Pi*f/rate)
		var s1, s2 float64
		for _, v := range pcm {
			s1, s2 = float64(v)+c*s1-s2, s1
		}
		if p := s1*s1 + s2*s2 - c*s1*s2; p > most {
			most, hz = p, f
		}
	}
	return 10 * math.Log10(sum/float64(len(pcm))+1e-12), hz
}

// native joins as a client of wzp would.
func native(t *testing.T, e *engine.Engine, room, alias string, host byte) *quicnet.Conn {
	t.Helper()
	cl, err := quicnet.NewClient(quicnet.ClientConfig{LocalAddr: netip.AddrFrom4([4]byte{127, 0, 5, host})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	c, err := bench.Join(t.Context(), cl, netip.MustParseAddrPort(e.Info().Listen), room, alias)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.ReadSignals(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c.Conn()
}

// recordSent has the page remember every Opus packet it makes.
const recordSent = `(() => {
	const copyTo = EncodedAudioChunk.prototype.copyTo;
	globalThis.made = [];
	EncodedAudioChunk.prototype.copyTo = function (to) {
		copyTo.call(this, to);
		made.push(btoa(String.fromCharCode(...to)));
	};
})()`

// makeTone has the browser encode two seconds of a tone of a quarter of the full
// scale.
const makeTone = `(async () => {
	const packets = [];
	const enc = new AudioEncoder({
		output: (c) => { const b = new Uint8Array(c.byteLength); c.copyTo(b); packets.push(btoa(String.fromCharCode(...b))); },
		error: (e) => { throw e; },
	});
	enc.configure({ codec: 'opus', sampleRate: 48000, numberOfChannels: 1, bitrate: 24000, opus: { frameDuration: 20000 } });
	for (let f = 0; f < 100; f++) {
		const data = Float32Array.from({ length: 960 }, (_, i) => 0.25 * Math.sin(2 * Math.PI * 1000 * (f * 960 + i) / 48000));
		enc.encode(new AudioData({ format: 'f32', sampleRate: 48000, numberOfFrames: 960, numberOfChannels: 1, timestamp: f * 20000, data }));
	}
	await enc.flush();
	return packets;
})()`

// play sends packets as a client does, one every 20 ms, again and again,
// numbered from first.
func play(t *testing.T, c *quicnet.Conn, packets []string, first uint16) {
	t.Helper()
	var frames [][]byte
	for _, p := range packets {
		b, err := base64.StdEncoding.DecodeString(p)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for seq := first; ; seq++ {
			pkt := wire.AppendHeader(nil, wire.Header{Codec: wire.Opus24k, Seq: seq, Timestamp: uint32(seq) * 20})
			if c.SendDatagram(append(pkt, frames[int(seq)%len(frames)]...)) != nil {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// listen receives n packets and returns their Opus data by sequence number and,
// decoded, the second half.
func listen(t *testing.T, c *quicnet.Conn, n int) (packets map[uint16]string, pcm []float32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dec, err := opus.NewDecoderWithOutput(rate, 1)
	if err != nil {
		t.Fatal(err)
	}
	packets = map[uint16]string{}
	for len(packets) < n {
		pkt, err := c.ReceiveDatagram(ctx)
		if err != nil {
			t.Fatalf("after %d packets: %v", len(packets), err)
		}
		p, err := wire.Parse(pkt)
		if err != nil || p.Codec != wire.Opus24k || p.Repair {
			t.Fatalf("packet %x: %+v, %v", pkt, p.Header, err)
		}
		out := make([]float32, 6*opusFrame)
		m, err := dec.DecodeToFloat32(p.Payload, out)
		if err != nil || m != opusFrame {
			t.Fatalf("packet of %d bytes, first %#x: %d samples, %v", len(p.Payload), p.Payload[0], m, err)
		}
		packets[p.Seq] = base64.StdEncoding.EncodeToString(p.Payload)
		if len(packets) > n/2 {
			pcm = append(pcm, out[:m]...)
		}
	}
	return packets, pcm
}

// stats is what the page says of itself.
type stats struct {
	Way                      string
	First, Sent, Unsent, You int
	Voices                   []struct {
		ID, Packets, Lost, Late, Streams int
		Alias                            string
		Level, Peak                      float64
		Buffer                           struct{ Depth, Want, Gaps, Skipped float64 }
	}
}

// TestChromium lets a real browser and a native client hear each other.
func TestChromium(t *testing.T) {
	for _, way := range []string{"ws", "wt"} {
		t.Run(way, func(t *testing.T) {
			b := webtest.Start(t, wav(t, micTone))
			e := start(t, func(c *config.Config) { c.WSAddr = "127.0.0.1:0" })
			p := b.Open(fmt.Sprintf("http://%s/?plain&room=Studio&alias=Ada&source=mic&way=%s", e.Info().WS, way), 900, 700, false)
			p.Must(recordSent, nil)
			p.Must("signalbox.join()", nil)
			p.Until("signalbox.stats()?.sent > 5")
			c := native(t, e, "studio", "native", 1)

			packets, pcm := listen(t, c, heardFor)
			level, hz := sound(pcm)
			var last uint16
			var s stats
			p.Must("signalbox.stats()", &s)
			for seq := range packets {
				last = max(last, seq-uint16(s.First))
			}
			t.Logf("native hears the browser's microphone: %.1f dBFS (played %.1f), %.0f Hz (played %.0f); %d packets, the last was number %d of %d, %d not sent",
				level, micLevel, hz, micTone, len(packets), last, s.Sent, s.Unsent)
			if math.Abs(hz-micTone) > 10 || math.Abs(level-micLevel) > 3 {
				t.Error("that is not what was played")
			}
			var made []string
			p.Must("made", &made)
			for seq, packet := range packets {
				if n := seq - uint16(s.First); int(n) >= len(made) || made[n] != packet {
					t.Errorf("packet %d is not, byte for byte, what the browser made", seq)
				}
			}

			var tone []string
			p.Must(makeTone, &tone)
			play(t, c, tone, 65500)
			p.Value(fmt.Sprintf(`(() => {
				const s = signalbox.stats(), v = s.voices[0];
				return v?.packets > %d && Math.abs(v.peak - %f) < 10 && Math.abs(v.level - %f) < 3 && s;
			})()`, heardFor, nativeTone, toneLevel), &s)
			v := s.Voices[0]
			t.Logf("the page hears the native client %q: %.1f dBFS (played %.1f), %.1f Hz (played %.0f); by %s, %d packets, %d lost, %d late; buffer %+v",
				v.Alias, v.Level, toneLevel, v.Peak, nativeTone, s.Way, v.Packets, v.Lost, v.Late, v.Buffer)
			if len(s.Voices) != 1 || v.Alias != "native" || v.Streams != 1 || way == "ws" && v.Lost+v.Late != 0 {
				t.Errorf("%+v", s)
			}
			until(t, e, "the browser shown as what it is, and its report", func(s *view.Snapshot) bool {
				return slices.ContainsFunc(s.Rooms[0].Participants, func(p view.Participant) bool {
					return p.Transport == way && p.Alias == "Ada" && p.ReportAgeS >= 0
				})
			})
			p.Must("document.getElementById('leave').click()", nil)
			until(t, e, "the browser gone", members("studio", 1))
		})
	}
}

// TestChromiumIsToldWhatIsWrong looks at what a page says to who cannot join.
func TestChromiumIsToldWhatIsWrong(t *testing.T) {
	b := webtest.Start(t, "")
	e := start(t, func(c *config.Config) { c.WSAddr, c.Legacy.AuthURL = "127.0.0.1:0", tokens(t) })
	for _, way := range []string{"ws", "wt", "auto"} {
		p := b.Open("http://"+e.Info().WS+"/?room=call-7&source=none&way="+way, 900, 700, true)
		say := func(token string) (text string) {
			p.Must("document.getElementById('token').value = '"+token+"'; signalbox.join()", nil)
			p.Until("document.getElementById('state').textContent !== 'connecting'")
			p.Must("document.querySelector('[role=alert]').innerText", &text)
			return text
		}
		if text := say("bad"); !strings.Contains(text, "token") {
			t.Errorf("%s: a bad token: %q", way, text)
		}
		if text := say("ok-eve"); !strings.Contains(text, "refused you") {
			t.Errorf("%s: the room of others' call: %q", way, text)
		}
		var text string
		p.Must("delete globalThis.AudioEncoder; import('/talk.js').then((m) => m.check()).catch((e) => e.message + ' ' + e.advice)", &text)
		if !strings.Contains(text, "WebCodecs") {
			t.Errorf("without codecs: %q", text)
		}
	}
	p := b.Open("http://"+e.Info().WS+"/?room=r&source=tone&way=auto", 900, 700, true)
	p.Must("document.getElementById('token').value = 'ok-ada'; signalbox.join()", nil)
	var s stats
	p.Must("signalbox.stats()", &s)
	if s.Way != "WebTransport" {
		t.Errorf("the best way there is: %+v", s)
	}
}

// TestChromiumHearsOtherRelays: two who talk at another relay come with one label,
// and are decoded apart.
func TestChromiumHearsOtherRelays(t *testing.T) {
	b := webtest.Start(t, "")
	ss := sites(t, 2)
	here := ss[0].open(t, func(c *config.Config) {
		c.WSAddr, c.Peers = "127.0.4.1:0", []config.Peer{ss[1].peer("R1")}
	})
	there := ss[1].open(t, func(c *config.Config) { c.Peers = []config.Peer{ss[0].peer("R0")} })
	p := b.Open("http://"+here.Info().WS+"/?room=general&alias=Ada&source=none", 900, 700, false)
	p.Must("signalbox.join()", nil)
	var tone []string
	p.Must(makeTone, &tone)
	play(t, native(t, there, "general", "Bert", 1), tone, 100)
	play(t, native(t, there, "general", "Cleo", 2), tone[7:], 40_000)
	var s stats
	p.Value(`(() => {
		const s = signalbox.stats(), v = s.voices[0];
		return v?.streams === 2 && v.packets > 200 && Math.abs(v.peak - 1000) < 10 && v.level > -25 && s;
	})()`, &s)
	var text string
	p.Until("document.getElementById('people').innerText.includes('Cleo')")
	p.Must("document.getElementById('people').innerText", &text)
	if s.Way != "WebTransport" || s.Voices[0].ID != 0 || !strings.Contains(text, "Bert (R1)") {
		t.Errorf("%+v; %s", s, text)
	}
	t.Logf("two at another relay: %.1f dBFS, %.0f Hz, %d packets, %d lost", s.Voices[0].Level, s.Voices[0].Peak, s.Voices[0].Packets, s.Voices[0].Lost)
}

// TestChromiumFallsBack: where no UDP passes, a page comes by WebSocket and says so.
func TestChromiumFallsBack(t *testing.T) {
	b := webtest.Start(t, "")
	e := start(t, bridged)
	p := b.Open("http://"+e.Info().WS+"/?room=r&source=tone", 900, 700, false)
	p.Must(`{ // the node's UDP port, as a firewall would have it
		const fetched = fetch;
		globalThis.fetch = async (...a) => {
			const offer = await (await fetched(...a)).json();
			return new Response(JSON.stringify({ ...offer, port: 9 }));
		};
	}
	signalbox.join()`, nil)
	var s stats
	p.Must("signalbox.stats()", &s)
	var text string
	p.Must("document.querySelector('[role=alert]').innerText", &text)
	if s.Way != "WebSocket" || !strings.Contains(text, "using WebSocket instead") {
		t.Errorf("by %q: %s", s.Way, text)
	}
}

var pictures = flag.String("pictures", "", "directory for pictures of the browsers' page, of a room with somebody in it")

// TestChromiumPictures takes the pictures of the documentation: go test ./engine
// -run TestChromiumPictures -args -pictures ../screenshots
func TestChromiumPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("without -pictures there are none to take")
	}
	b := webtest.Start(t, wav(t, micTone))
	e := start(t, func(c *config.Config) { c.WSAddr = "127.0.0.1:0" })
	page := func(alias, more string, dark bool) *webtest.Page {
		p := b.Open(fmt.Sprintf("http://%s/?room=studio&alias=%s%s", e.Info().WS, alias, more), 860, 760, dark)
		p.Must("signalbox.join()", nil)
		p.Until("signalbox.stats()?.people.length")
		return p
	}
	light, dark := page("Ada", "&source=mic&plain", false), page("Grace", "&source=tone&way=ws", true)
	c := native(t, e, "studio", "Linus on the desktop", 1)
	native(t, e, "studio", "Margaret, muted", 2)
	var tone []string
	light.Must(makeTone, &tone)
	play(t, c, tone, 0)
	for p, name := range map[*webtest.Page]string{light: "browser.png", dark: "browser-dark.png"} {
		p.Until("signalbox.stats().voices.length > 1 && signalbox.stats().voices.every((v) => v.packets > 150 && v.level > -40)")
		p.Shoot(filepath.Join(*pictures, name))
	}
}
