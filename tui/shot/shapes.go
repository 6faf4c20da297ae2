package shot

import (
	"image"
	"image/color"
	"image/draw"
)

// arms are the strokes of a box-drawing character from the cell's middle:
// 0 none, 1 light, 2 heavy, 3 double.
type arms struct{ up, right, down, left uint8 }

var boxes = map[rune]arms{
	'─': {0, 1, 0, 1}, '│': {1, 0, 1, 0}, '┌': {0, 1, 1, 0}, '┐': {0, 0, 1, 1}, '└': {1, 1, 0, 0}, '┘': {1, 0, 0, 1},
	'├': {1, 1, 1, 0}, '┤': {1, 0, 1, 1}, '┬': {0, 1, 1, 1}, '┴': {1, 1, 0, 1}, '┼': {1, 1, 1, 1},
	'╭': {0, 1, 1, 0}, '╮': {0, 0, 1, 1}, '╰': {1, 1, 0, 0}, '╯': {1, 0, 0, 1},
	'━': {0, 2, 0, 2}, '┃': {2, 0, 2, 0}, '┏': {0, 2, 2, 0}, '┓': {0, 0, 2, 2}, '┗': {2, 2, 0, 0}, '┛': {2, 0, 0, 2},
	'═': {0, 3, 0, 3}, '║': {3, 0, 3, 0}, '╔': {0, 3, 3, 0}, '╗': {0, 0, 3, 3}, '╚': {3, 3, 0, 0}, '╝': {3, 0, 0, 3},
	'╴': {0, 0, 0, 1}, '╵': {1, 0, 0, 0}, '╶': {0, 1, 0, 0}, '╷': {0, 0, 1, 0},
}

// shades are the partly filled blocks and how much of them is ink.
var shades = map[rune]float64{'░': 0.25, '▒': 0.5, '▓': 0.75}

// quadrants: bit 0 upper left, 1 upper right, 2 lower left, 3 lower right.
var quadrants = map[rune]uint8{
	'▘': 1, '▝': 2, '▀': 3, '▖': 4, '▌': 5, '▞': 6, '▛': 7, '▗': 8, '▚': 9, '▐': 10, '▜': 11, '▄': 12, '▙': 13, '▟': 14, '█': 15,
}

// shape paints a box, block, shade or braille character from geometry; false
// when r is none of them.
func (p *painter) shape(r rune, box image.Rectangle, fg, bg color.RGBA) bool {
	if a, ok := boxes[r]; ok {
		p.lines(a, box, fg)
		return true
	}
	if q, ok := quadrants[r]; ok {
		p.quadrant(q, box, fg)
		return true
	}
	if s, ok := shades[r]; ok {
		p.fill(box, mix(fg, bg, s))
		return true
	}
	switch {
	case r >= '▁' && r <= '▇': // lower eighths
		h := (int(r-'▁') + 1) * box.Dy() / 8
		p.fill(image.Rect(box.Min.X, box.Max.Y-max(h, 1), box.Max.X, box.Max.Y), fg)
	case r >= '▉' && r <= '▏': // left eighths, seven down to one
		w := (8 - int(r-'▉') - 1) * box.Dx() / 8
		p.fill(image.Rect(box.Min.X, box.Min.Y, box.Min.X+max(w, 1), box.Max.Y), fg)
	case r == '▔':
		p.fill(image.Rect(box.Min.X, box.Min.Y, box.Max.X, box.Min.Y+max(box.Dy()/8, 1)), fg)
	case r == '▕':
		p.fill(image.Rect(box.Max.X-max(box.Dx()/8, 1), box.Min.Y, box.Max.X, box.Max.Y), fg)
	case r > 0x2800 && r <= 0x28ff:
		p.braille(uint8(r-0x2800), box, fg)
	default:
		return false
	}
	return true
}

func (p *painter) fill(r image.Rectangle, c color.RGBA) {
	draw.Draw(p.img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

// lines paints the arms of a box-drawing character; all meet in the middle.
func (p *painter) lines(a arms, box image.Rectangle, c color.RGBA) {
	cx, cy := box.Min.X+box.Dx()/2, box.Min.Y+box.Dy()/2
	stroke := func(kind uint8, r func(off, thick int) image.Rectangle) {
		switch kind {
		case 1:
			p.fill(r(0, 1), c)
		case 2:
			p.fill(r(-1, 3), c)
		case 3:
			p.fill(r(-2, 1), c)
			p.fill(r(2, 1), c)
		}
	}
	reach := 0 // double lines reach past the middle so that their corners close
	if a.up == 3 || a.right == 3 || a.down == 3 || a.left == 3 {
		reach = 2
	}
	stroke(a.up, func(o, t int) image.Rectangle { return image.Rect(cx+o, box.Min.Y, cx+o+t, cy+1+reach) })
	stroke(a.down, func(o, t int) image.Rectangle { return image.Rect(cx+o, cy-reach, cx+o+t, box.Max.Y) })
	stroke(a.left, func(o, t int) image.Rectangle { return image.Rect(box.Min.X, cy+o, cx+1+reach, cy+o+t) })
	stroke(a.right, func(o, t int) image.Rectangle { return image.Rect(cx-reach, cy+o, box.Max.X, cy+o+t) })
}

func (p *painter) quadrant(q uint8, box image.Rectangle, c color.RGBA) {
	mx, my := box.Min.X+box.Dx()/2, box.Min.Y+box.Dy()/2
	for i, r := range []image.Rectangle{
		image.Rect(box.Min.X, box.Min.Y, mx, my), image.Rect(mx, box.Min.Y, box.Max.X, my),
		image.Rect(box.Min.X, my, mx, box.Max.Y), image.Rect(mx, my, box.Max.X, box.Max.Y),
	} {
		if q&(1<<i) != 0 {
			p.fill(r, c)
		}
	}
}

// braille paints the dots of a pattern (Unicode 0x2800 + bits).
func (p *painter) braille(bits uint8, box image.Rectangle, c color.RGBA) {
	d := max(box.Dx()/4, 1)
	for i, at := range [8][2]int{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {0, 3}, {1, 3}} {
		if bits&(1<<i) == 0 {
			continue
		}
		x := box.Min.X + (2*at[0]+1)*box.Dx()/4 - d/2
		y := box.Min.Y + (2*at[1]+1)*box.Dy()/8 - d/2
		p.fill(image.Rect(x, y, x+d, y+d), c)
	}
}
