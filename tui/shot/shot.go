// Package shot photographs the console: it runs a real program in a
// pseudo-terminal, feeds what it writes to a terminal emulator, and paints the
// emulator's cells as a PNG. For pictures and tests; nothing of the product
// imports it.
//
// Text comes from the embedded DejaVu Sans Mono. Boxes and blocks are painted
// from geometry, so that lines meet and pictures of one frame are the same on
// every machine.
package shot

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/vt"
	"github.com/go-fonts/dejavu/dejavusansmono"
	"github.com/go-fonts/dejavu/dejavusansmonobold"
	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// The colours of a cell that names none.
var (
	paper = color.RGBA{0x0f, 0x13, 0x17, 0xff}
	ink   = color.RGBA{0xd8, 0xde, 0xe6, 0xff}
)

// painter paints cells of one size.
type painter struct {
	img           *image.RGBA
	regular, bold font.Face
	w, h, ascent  int // of a cell, in pixels
}

// PNG writes a frame (lines with ANSI escapes) as a picture of cols by rows
// cells, px pixels of font size.
func PNG(w io.Writer, frame string, cols, rows, px int) error {
	em := vt.NewSafeEmulator(cols, rows)
	go func() { _, _ = io.Copy(io.Discard, em) }() // the emulator's answers; ends with it
	if _, err := io.WriteString(em, strings.ReplaceAll(frame, "\n", "\r\n")); err != nil {
		return fmt.Errorf("shot: emulate: %w", err)
	}
	img, err := paint(em, cols, rows, px)
	if cerr := em.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return png.Encode(w, img)
}

func newPainter(cols, rows, px int) (*painter, error) {
	p := &painter{}
	for _, f := range []struct {
		face *font.Face
		ttf  []byte
	}{{&p.regular, dejavusansmono.TTF}, {&p.bold, dejavusansmonobold.TTF}} {
		parsed, err := opentype.Parse(f.ttf)
		if err != nil {
			return nil, fmt.Errorf("shot: font: %w", err)
		}
		if *f.face, err = opentype.NewFace(parsed, &opentype.FaceOptions{Size: float64(px), DPI: 72, Hinting: font.HintingFull}); err != nil {
			return nil, fmt.Errorf("shot: font: %w", err)
		}
	}
	adv, ok := p.regular.GlyphAdvance('M')
	if !ok {
		return nil, fmt.Errorf("shot: font without an M")
	}
	m := p.regular.Metrics()
	p.w, p.ascent = adv.Round(), m.Ascent.Ceil()
	p.h = p.ascent + m.Descent.Ceil() + 1
	p.img = image.NewRGBA(image.Rect(0, 0, cols*p.w+2*p.w, rows*p.h+p.h))
	draw.Draw(p.img, p.img.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	return p, nil
}

// cells is what a frame is painted from.
type cells interface {
	CellAt(x, y int) *uv.Cell
}

func paint(em cells, cols, rows, px int) (image.Image, error) {
	p, err := newPainter(cols, rows, px)
	if err != nil {
		return nil, err
	}
	for y := range rows {
		for x := range cols {
			if c := em.CellAt(x, y); c != nil {
				p.cell(c, p.w+x*p.w, p.h/2+y*p.h)
			}
		}
	}
	return p.img, nil
}

// cell paints one cell with its upper left corner at x, y.
func (p *painter) cell(c *uv.Cell, x, y int) {
	fg, bg := solid(c.Style.Fg, ink), solid(c.Style.Bg, paper)
	if c.Style.Attrs&uv.AttrReverse != 0 {
		fg, bg = bg, fg
	}
	if c.Style.Attrs&uv.AttrFaint != 0 {
		fg = mix(fg, bg, 0.55)
	}
	box := image.Rect(x, y, x+p.w, y+p.h)
	if bg != paper {
		draw.Draw(p.img, box, image.NewUniform(bg), image.Point{}, draw.Src)
	}
	if c.Content == "" || c.Content == " " {
		return
	}
	if r := []rune(c.Content); len(r) == 1 && p.shape(r[0], box, fg, bg) {
		return
	}
	face := p.regular
	if c.Style.Attrs&uv.AttrBold != 0 {
		face = p.bold
	}
	d := font.Drawer{Dst: p.img, Src: image.NewUniform(fg), Face: face, Dot: fixed.P(x, y+p.ascent)}
	d.DrawString(c.Content)
}

func solid(c color.Color, none color.RGBA) color.RGBA {
	if c == nil {
		return none
	}
	r, g, b, _ := c.RGBA()
	return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 0xff}
}

// mix is part of a over b.
func mix(a, b color.RGBA, part float64) color.RGBA {
	m := func(x, y uint8) uint8 { return uint8(float64(x)*part + float64(y)*(1-part)) }
	return color.RGBA{m(a.R, b.R), m(a.G, b.G), m(a.B, b.B), 0xff}
}
