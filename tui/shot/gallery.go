package shot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// FontPx is the font size of the gallery's pictures, in pixels.
const FontPx = 14

// Picture is one picture of a gallery, as its index tells of it. Its frame is
// in NAME.ansi, what is painted of it in NAME.png, and what the console knew in
// the tape of its story.
type Picture struct {
	Name     string   `json:"name"`
	Story    string   `json:"story"`
	Scenario string   `json:"scenario"`
	Pane     string   `json:"pane"` // that is open, or the box over it
	Keys     []string `json:"keys"` // that led here from the picture before
	Say      string   `json:"say"`
	Cols     int      `json:"cols"`
	Rows     int      `json:"rows"`
	Light    bool     `json:"light,omitempty"`
	Tour     bool     `json:"tour,omitempty"` // a step of the tour
	Tape     string   `json:"tape"`           // in TAPE.tape.zst is what the console was told, up to its last picture
	At       int      `json:"at"`             // after so many entries of the tape
}

// Gallery is a folder of pictures with the frames they are painted from.
type Gallery struct {
	Dir      string
	Pictures []Picture
}

const indexFile = "index.json"

// OpenGallery reads a gallery's index; a folder without one is an empty gallery.
func OpenGallery(dir string) (*Gallery, error) {
	g := &Gallery{Dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, indexFile))
	if errors.Is(err, os.ErrNotExist) {
		return g, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &g.Pictures)
	}
	if err != nil {
		return nil, fmt.Errorf("shot: gallery: %w", err)
	}
	return g, nil
}

func (g *Gallery) file(name, ext string) string { return filepath.Join(g.Dir, name+ext) }

// Frame is the recorded frame of a picture.
func (g *Gallery) Frame(p *Picture) (string, error) {
	b, err := os.ReadFile(g.file(p.Name, ".ansi"))
	if err != nil {
		return "", fmt.Errorf("shot: gallery: %w", err)
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// Paint makes the picture of a frame.
func (p *Picture) Paint(frame string) ([]byte, error) {
	var b bytes.Buffer
	err := paint(&b, frame, p.Cols, p.Rows, FontPx, sheetOf(p.Light))
	return b.Bytes(), err
}

// Put writes a picture with its frame, in the place of one of the same name.
func (g *Gallery) Put(p Picture, frame string) error {
	img, err := p.Paint(frame)
	if err != nil {
		return err
	}
	if err := os.WriteFile(g.file(p.Name, ".ansi"), []byte(frame+"\n"), 0o644); err != nil {
		return fmt.Errorf("shot: gallery: %w", err)
	}
	if err := os.WriteFile(g.file(p.Name, ".png"), img, 0o644); err != nil {
		return fmt.Errorf("shot: gallery: %w", err)
	}
	if i := slices.IndexFunc(g.Pictures, func(q Picture) bool { return q.Name == p.Name }); i >= 0 {
		g.Pictures[i] = p
	} else {
		g.Pictures = append(g.Pictures, p)
	}
	return nil
}

const tapeExt = ".tape.zst"

// Tape is what the console of a story was told.
func (g *Gallery) Tape(name string) ([]byte, error) {
	b, err := os.ReadFile(g.file(name, tapeExt))
	if err != nil {
		return nil, fmt.Errorf("shot: gallery: %w", err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return nil, fmt.Errorf("shot: gallery: %w", err)
	}
	defer d.Close()
	if b, err = d.DecodeAll(b, nil); err != nil {
		return nil, fmt.Errorf("shot: gallery: tape %s: %w", name, err)
	}
	return b, nil
}

// PutTape keeps what the console of a story was told.
func (g *Gallery) PutTape(name string, tape []byte) error {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return fmt.Errorf("shot: gallery: %w", err)
	}
	if err := os.WriteFile(g.file(name, tapeExt), e.EncodeAll(tape, nil), 0o644); err != nil {
		return fmt.Errorf("shot: gallery: %w", err)
	}
	return nil
}

// Save writes the index, in the order of names, and takes away pictures that
// are not in it.
func (g *Gallery) Save(names []string) error {
	at := func(p Picture) int { return slices.Index(names, p.Name) }
	g.Pictures = slices.DeleteFunc(g.Pictures, func(p Picture) bool { return at(p) < 0 })
	slices.SortStableFunc(g.Pictures, func(a, b Picture) int { return at(a) - at(b) })
	b, err := json.MarshalIndent(g.Pictures, "", " ")
	if err != nil {
		return fmt.Errorf("shot: gallery: %w", err)
	}
	if err := os.WriteFile(filepath.Join(g.Dir, indexFile), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("shot: gallery: %w", err)
	}
	stray, err := g.Strays()
	for _, file := range stray {
		err = errors.Join(err, os.Remove(filepath.Join(g.Dir, file)))
	}
	return err
}

// Strays are the files in the folder that the index does not know. Pictures
// without a frame are others' and are left alone.
func (g *Gallery) Strays() ([]string, error) {
	es, err := os.ReadDir(g.Dir)
	if err != nil {
		return nil, fmt.Errorf("shot: gallery: %w", err)
	}
	var out []string
	for _, e := range es {
		frame, isFrame := strings.CutSuffix(e.Name(), ".ansi")
		tape, isTape := strings.CutSuffix(e.Name(), tapeExt)
		switch {
		case isFrame && !slices.ContainsFunc(g.Pictures, func(p Picture) bool { return p.Name == frame }):
			out = append(out, e.Name())
			if _, err := os.Stat(g.file(frame, ".png")); err == nil {
				out = append(out, frame+".png")
			}
		case isTape && !slices.ContainsFunc(g.Pictures, func(p Picture) bool { return p.Tape == tape }):
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Tour is the document that walks through the steps of the tour. pictures is
// the way from it to the gallery.
func (g *Gallery) Tour(pictures string) string {
	var b strings.Builder
	b.WriteString(tourHead)
	story := ""
	for i := range g.Pictures {
		p := &g.Pictures[i]
		if !p.Tour {
			continue
		}
		if p.Story != story {
			story = p.Story
			fmt.Fprintf(&b, "\n## %s\n\n    signalbox demo --scenario %s\n", story, p.Scenario)
		}
		fmt.Fprintf(&b, "\n%s%s\n\n![%s](%s/%s.png)\n", keyWords(p.Keys), p.Say, p.Name, pictures, p.Name)
	}
	return b.String()
}

const tourHead = `# A tour of the console

Every picture is of the real program, taken by ` + "`make shots`" + ` out of the demo; so is
this page. Each scenario plants a fault: the verdict names it, the keys lead to
where it is, and to what mends it. Nothing is changed before the node has shown
its plan and ` + "`y`" + ` was pressed.
`

// keyWords names the keys that were pressed, without the waiting.
func keyWords(keys []string) string {
	var out []string
	for _, k := range keys {
		if !strings.HasPrefix(k, "wait:") && !strings.HasPrefix(k, "until:") {
			out = append(out, "`"+k+"`")
		}
	}
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, " ") + ": "
}
