package shot

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"testing"
)

const (
	shots = "../../screenshots"
	tour  = "../../docs/tour.md"
)

// TestPicturesAreOfTheirFrames paints every recorded frame again and compares
// pixels with the picture that is checked in. Nothing else lies in the folder.
func TestPicturesAreOfTheirFrames(t *testing.T) {
	g, err := OpenGallery(shots)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Pictures) < 40 {
		t.Fatalf("%d pictures", len(g.Pictures))
	}
	for i := range g.Pictures {
		if testing.Short() && i%8 != 0 {
			continue // painting all of them is slow under the race detector
		}
		p := &g.Pictures[i]
		frame, err := g.Frame(p)
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := p.Paint(frame)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(g.file(p.Name, ".png"))
		if err != nil {
			t.Error(err)
			continue
		}
		was, err := png.Decode(f)
		_ = f.Close() // read
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		now, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if !samePixels(was, now) {
			t.Errorf("%s.png is not of its frame: run make shots", p.Name)
		}
	}
	stray, err := g.Strays()
	if err != nil || len(stray) > 0 {
		t.Errorf("strays %v, %v", stray, err)
	}
}

func samePixels(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	x, ok := a.(*image.RGBA)
	y, too := b.(*image.RGBA)
	if !ok || !too {
		return false
	}
	return bytes.Equal(x.Pix, y.Pix)
}

// TestTourIsOfItsPictures: the page is what the index makes of it, and walks
// through every scenario.
func TestTourIsOfItsPictures(t *testing.T) {
	g, err := OpenGallery(shots)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(tour)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != g.Tour("../screenshots") {
		t.Error("docs/tour.md is not what the gallery's index says: run make shots")
	}
	seen := map[string]int{}
	for _, p := range g.Pictures {
		if p.Tour {
			seen[p.Scenario]++
		}
	}
	for _, sc := range []string{"calm", "hot-shard", "bad-room", "wedged-shard", "panic", "blackhole-peer", "stale-table", "storm"} {
		if seen[sc] < 3 {
			t.Errorf("%s has %d pictures", sc, seen[sc])
		}
	}
}
