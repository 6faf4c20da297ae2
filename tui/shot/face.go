package shot

import (
	"fmt"
	"image"
	"image/color"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/go-fonts/dejavu/dejavusans"
	"github.com/go-fonts/dejavu/dejavusansmono"
	"github.com/go-fonts/dejavu/dejavusansmonobold"
	"github.com/go-fonts/dejavu/dejavusansmonooblique"
	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// typeface is one font at one size.
type typeface struct {
	outline *sfnt.Font
	face    font.Face
}

// faces are the fonts of one picture and the cell they give.
type faces struct {
	regular, bold, oblique, wide typeface
	w, h, ascent                 int // of a cell, in pixels
	buf                          sfnt.Buffer
}

func loadFaces(px int) (*faces, error) {
	fs := &faces{}
	for _, l := range []struct {
		into *typeface
		ttf  []byte
	}{
		{&fs.regular, dejavusansmono.TTF},
		{&fs.bold, dejavusansmonobold.TTF},
		{&fs.oblique, dejavusansmonooblique.TTF},
		{&fs.wide, dejavusans.TTF},
	} {
		f, err := opentype.Parse(l.ttf)
		if err != nil {
			return nil, fmt.Errorf("shot: embedded font: %w", err)
		}
		face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: float64(px), DPI: 72, Hinting: font.HintingFull})
		if err != nil {
			return nil, fmt.Errorf("shot: embedded font: %w", err)
		}
		*l.into = typeface{f, face}
	}
	m := fs.regular.face.Metrics()
	adv, ok := fs.regular.face.GlyphAdvance('M')
	if !ok {
		return nil, fmt.Errorf("shot: embedded font has no M")
	}
	fs.w, fs.h, fs.ascent = adv.Round(), (m.Ascent + m.Descent).Ceil(), m.Ascent.Ceil()
	return fs, nil
}

// pick is the face for a rune: as styled if it has the glyph, else the
// proportional one, which has more symbols.
func (fs *faces) pick(r rune, attrs uint8) font.Face {
	want := &fs.regular
	switch {
	case attrs&uv.AttrBold != 0:
		want = &fs.bold
	case attrs&uv.AttrItalic != 0:
		want = &fs.oblique
	}
	for _, t := range []*typeface{want, &fs.regular, &fs.wide} {
		if i, err := t.outline.GlyphIndex(&fs.buf, r); err == nil && i != 0 {
			return t.face
		}
	}
	return want.face // its box for what is missing
}

// text sets a grapheme in the middle of its cell.
func (p *painter) text(s string, attrs uint8, box image.Rectangle, fg color.RGBA) {
	first := []rune(s)[0]
	face := p.fs.pick(first, attrs)
	d := font.Drawer{Dst: p.img.SubImage(box).(*image.RGBA), Src: image.NewUniform(fg), Face: face, Dot: fixed.P(box.Min.X, box.Min.Y+p.fs.ascent)}
	if adv, ok := face.GlyphAdvance(first); ok {
		d.Dot.X += (fixed.I(box.Dx()) - adv) / 2
	}
	d.DrawString(s)
}
