// Package shot turns a terminal's screen into a picture and takes the picture
// of a real program in a real pseudo-terminal. It needs no browser, no system
// fonts and no cgo, and the same screen gives the same bytes every time, so
// pictures can be compared and regenerated.
//
// Text is set in DejaVu Sans Mono, which is embedded. Box-drawing, block and
// braille characters are drawn from geometry instead: a font leaves seams
// between cells, and DejaVu Sans Mono has no braille at all.
//
// The node and the console do not import it: the fonts alone are 1.7 MB.
package shot

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
)

// Limits of a picture, so that a wrong argument is an error and not a machine
// out of memory.
const (
	maxCells = 1000 // columns or rows
	minPx    = 6    // font size in pixels
	maxPx    = 96
	margin   = 6 // pixels around the grid
)

// sheet is what the program's own colours are seen on.
type sheet struct{ ground, ink color.RGBA }

var (
	darkSheet  = sheet{color.RGBA{0x0f, 0x14, 0x19, 0xff}, color.RGBA{0xc5, 0xc8, 0xc6, 0xff}}
	lightSheet = sheet{color.RGBA{0xfb, 0xfa, 0xf5, 0xff}, color.RGBA{0x26, 0x2a, 0x2e, 0xff}}
)

func sheetOf(light bool) sheet {
	if light {
		return lightSheet
	}
	return darkSheet
}

// basic are the 16 colours every terminal theme sets for itself.
var basic = [16]color.RGBA{
	{0x1d, 0x23, 0x2a, 0xff},
	{0xe0, 0x5f, 0x65, 0xff},
	{0x7f, 0xc8, 0x6b, 0xff},
	{0xe5, 0xb5, 0x67, 0xff},
	{0x62, 0x9d, 0xe0, 0xff},
	{0xb4, 0x8e, 0xd6, 0xff},
	{0x66, 0xbf, 0xc4, 0xff},
	{0xc5, 0xc8, 0xc6, 0xff},
	{0x6b, 0x74, 0x7d, 0xff},
	{0xf2, 0x84, 0x88, 0xff},
	{0x9d, 0xdd, 0x8a, 0xff},
	{0xf3, 0xce, 0x8a, 0xff},
	{0x8c, 0xbb, 0xf2, 0xff},
	{0xcf, 0xb0, 0xea, 0xff},
	{0x8e, 0xdb, 0xdf, 0xff},
	{0xee, 0xf0, 0xee, 0xff},
}

// ErrSize refuses a screen or font size out of bounds.
var ErrSize = errors.New("shot: size out of bounds")

// PNG paints a screen of cols by rows cells. frame holds the screen's lines
// separated by newlines, styled by SGR sequences, as tea.View, a golden file
// and Capture give them; what does not fit is cut off. px is the font size in
// pixels.
func PNG(w io.Writer, frame string, cols, rows, px int) error {
	return paint(w, frame, cols, rows, px, darkSheet)
}

func paint(w io.Writer, frame string, cols, rows, px int, on sheet) error {
	if err := checkSize(cols, rows); err != nil {
		return err
	}
	if px < minPx || px > maxPx {
		return fmt.Errorf("%w: font size %d", ErrSize, px)
	}
	fs, err := loadFaces(px)
	if err != nil {
		return err
	}
	screen, end, err := screenOf(frame, cols, rows)
	if err != nil {
		return err
	}
	defer end()
	p := painter{fs: fs, on: on, img: image.NewRGBA(image.Rect(0, 0, cols*fs.w+2*margin, rows*fs.h+2*margin))}
	p.fill(p.img.Bounds(), on.ground)
	for y := range rows {
		for x := range cols {
			if c := screen.CellAt(x, y); c != nil && c.Width > 0 {
				p.cell(c, x, y)
			}
		}
	}
	enc := png.Encoder{CompressionLevel: png.BestCompression}
	if err := enc.Encode(w, p.img); err != nil {
		return fmt.Errorf("shot: %w", err)
	}
	return nil
}

// screenOf puts a frame on a screen. end is to be called when it was read.
func screenOf(frame string, cols, rows int) (screen *vt.Emulator, end func(), err error) {
	lines := strings.Split(strings.ReplaceAll(frame, "\r\n", "\n"), "\n")
	lines = lines[:min(rows, len(lines))] // one more would scroll the first out of sight
	screen = vt.NewEmulator(cols, rows)
	end = drain(screen)
	// Without wrapping a line that is too long is cut off, not continued.
	if _, err := screen.WriteString(ansi.ResetModeAutoWrap + strings.Join(lines, "\r\n")); err != nil {
		end()
		return nil, nil, fmt.Errorf("shot: %w", err)
	}
	return screen, end, nil
}

// OnScreen is a frame as it is read off a screen, so that frames which look
// alike are alike, whoever wrote them.
func OnScreen(frame string, cols, rows int) (string, error) {
	screen, end, err := screenOf(frame, cols, rows)
	if err != nil {
		return "", err
	}
	defer end()
	for y := range rows {
		for x := range cols {
			if c := screen.CellAt(x, y); c != nil && c.Content == " " && c.Style.Attrs&uv.AttrReverse == 0 {
				blank := *c // its ink is not seen, and renderers save it
				blank.Style = uv.Style{Bg: c.Style.Bg, Underline: c.Style.Underline, UnderlineColor: c.Style.UnderlineColor}
				screen.SetCell(x, y, &blank)
			}
		}
	}
	return screen.Render(), nil
}

// drain takes the replies of an emulator nobody else listens to: it waits for
// each of them to be taken. The returned function ends that and waits for the
// end. The emulator's own Close races with its Read; closing its pipe does not.
func drain(screen *vt.Emulator) (end func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, screen) // ends with the pipe
	}()
	return func() {
		if pipe, ok := screen.InputPipe().(io.Closer); ok {
			_ = pipe.Close() // a pipe's Close never fails
			<-done
		}
	}
}

func checkSize(cols, rows int) error {
	if cols < 1 || rows < 1 || cols > maxCells || rows > maxCells {
		return fmt.Errorf("%w: %d columns, %d rows", ErrSize, cols, rows)
	}
	return nil
}

// painter puts cells on an image.
type painter struct {
	fs  *faces
	on  sheet
	img *image.RGBA
}

func (p *painter) fill(r image.Rectangle, c color.RGBA) {
	draw.Draw(p.img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

// cell paints one cell: ground, glyph, lines through and under it.
func (p *painter) cell(c *uv.Cell, x, y int) {
	fg, bg := rgba(c.Style.Fg, p.on.ink), rgba(c.Style.Bg, p.on.ground)
	attrs := c.Style.Attrs
	if attrs&uv.AttrReverse != 0 {
		fg, bg = bg, fg
	}
	if attrs&uv.AttrFaint != 0 {
		fg = mix(bg, fg, 0.5)
	}
	left, top := margin+x*p.fs.w, margin+y*p.fs.h
	box := image.Rect(left, top, left+c.Width*p.fs.w, top+p.fs.h)
	if bg != p.on.ground {
		p.fill(box, bg)
	}
	if c.Content != "" && c.Content != " " && attrs&uv.AttrConceal == 0 {
		rs := []rune(c.Content)
		if len(rs) > 1 || !p.geometry(rs[0], box, fg, bg) {
			p.text(c.Content, attrs, box, fg)
		}
	}
	if c.Style.Underline != uv.UnderlineNone {
		at := min(top+p.fs.ascent+2, box.Max.Y-1)
		p.fill(image.Rect(box.Min.X, at, box.Max.X, at+1), fg)
	}
	if attrs&uv.AttrStrikethrough != 0 {
		at := top + p.fs.h/2
		p.fill(image.Rect(box.Min.X, at, box.Max.X, at+1), fg)
	}
}

// rgba resolves a cell's colour; nil is the default.
func rgba(c color.Color, none color.RGBA) color.RGBA {
	switch c := c.(type) {
	case nil:
		return none
	case ansi.BasicColor:
		return basic[c&15]
	case ansi.IndexedColor:
		if c < 16 {
			return basic[c]
		}
	}
	r, g, b, _ := c.RGBA()
	return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 0xff}
}

// mix is part of the way from a to b.
func mix(a, b color.RGBA, part float64) color.RGBA {
	at := func(a, b uint8) uint8 { return uint8(float64(a) + (float64(b)-float64(a))*part + 0.5) }
	return color.RGBA{at(a.R, b.R), at(a.G, b.G), at(a.B, b.B), 0xff}
}
