package shot

import (
	"image"
	"image/color"
	"math"
	"strings"
)

// geometry draws the characters that must meet their neighbours without a
// seam. It reports false for those that are text.
func (p *painter) geometry(r rune, box image.Rectangle, fg, bg color.RGBA) bool {
	switch {
	case r >= 0x2500 && r <= 0x257f:
		p.boxDrawing(r, box, fg, bg)
	case r >= 0x2580 && r <= 0x259f:
		p.block(r, box, fg, bg)
	case r >= 0x2800 && r <= 0x28ff:
		p.braille(r, box, fg)
	case r >= 0x1fb00 && r <= 0x1fb3b:
		p.sextant(r, box, fg)
	default:
		return false
	}
	return true
}

// part is the sub-rectangle of box from (x0,y0) to (x1,y1) in parts of den.
// Neighbouring parts share their edge exactly.
func part(box image.Rectangle, x0, y0, x1, y1, den int) image.Rectangle {
	at := func(from, size, n int) int { return from + (size*n+den/2)/den }
	return image.Rect(at(box.Min.X, box.Dx(), x0), at(box.Min.Y, box.Dy(), y0), at(box.Min.X, box.Dx(), x1), at(box.Min.Y, box.Dy(), y1))
}

// quadrants of U+2596 to U+259F: bit 0 upper left, 1 upper right, 2 lower
// left, 3 lower right.
var quadrants = [10]uint8{0b0100, 0b1000, 0b0001, 0b1101, 0b1001, 0b0111, 0b1011, 0b0010, 0b0110, 0b1110}

func (p *painter) block(r rune, box image.Rectangle, fg, bg color.RGBA) {
	switch n := int(r) - 0x2580; {
	case n == 0: // upper half
		p.fill(part(box, 0, 0, 8, 4, 8), fg)
	case n <= 8: // lower eighths, up to the full block
		p.fill(part(box, 0, 8-n, 8, 8, 8), fg)
	case n <= 15: // left seven eighths down to one
		p.fill(part(box, 0, 0, 16-n, 8, 8), fg)
	case n == 16: // right half
		p.fill(part(box, 4, 0, 8, 8, 8), fg)
	case n <= 19: // shades
		p.fill(box, mix(bg, fg, 0.25*float64(n-16)))
	case n == 20: // upper eighth
		p.fill(part(box, 0, 0, 8, 1, 8), fg)
	case n == 21: // right eighth
		p.fill(part(box, 7, 0, 8, 8, 8), fg)
	default:
		for i := range 4 {
			if quadrants[n-22]&(1<<i) != 0 {
				x, y := i%2, i/2
				p.fill(part(box, x, y, x+1, y+1, 2), fg)
			}
		}
	}
}

// sextant draws a cell of two by three: U+1FB00 on, without the patterns that
// are blocks already (empty, left half, right half, full).
func (p *painter) sextant(r rune, box image.Rectangle, fg color.RGBA) {
	bits := int(r) - 0x1fb00 + 1
	if bits >= 0b010101 {
		bits++
	}
	if bits >= 0b101010 {
		bits++
	}
	for i := range 6 {
		if bits&(1<<i) != 0 {
			x, y := i%2, i/2
			p.fill(part(box, 3*x, 2*y, 3*x+3, 2*y+2, 6), fg)
		}
	}
}

// brailleDots are the bits of U+2800 on, by row and column.
var brailleDots = [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}

func (p *painter) braille(r rune, box image.Rectangle, fg color.RGBA) {
	size := max(1, min(box.Dx()/4, box.Dy()/8))
	for y, row := range brailleDots {
		for x, bit := range row {
			if (r-0x2800)&bit == 0 {
				continue
			}
			cx, cy := box.Min.X+(2*x+1)*box.Dx()/4, box.Min.Y+(2*y+1)*box.Dy()/8
			p.fill(image.Rect(0, 0, size, size).Add(image.Pt(cx-size/2, cy-size/2)), fg)
		}
	}
}

// arms are the weights of U+2500 to U+257F towards left, right, top and
// bottom: 0 none, 1 light, 2 heavy, 3 double. Four dashes mark those that are
// no arms: dashed lines, arcs and diagonals.
var arms = strings.Fields(`
	1100 2200 0011 0022 ---- ---- ---- ---- ---- ---- ---- ---- 0101 0201 0102 0202
	1001 2001 1002 2002 0110 0210 0120 0220 1010 2010 1020 2020 0111 0211 0121 0112
	0122 0221 0212 0222 1011 2011 1021 1012 1022 2021 2012 2022 1101 2101 1201 2201
	1102 2102 1202 2202 1110 2110 1210 2210 1120 2120 1220 2220 1111 2111 1211 2211
	1121 1112 1122 2121 1221 2112 1212 2221 2212 2122 1222 2222 ---- ---- ---- ----
	3300 0033 0301 0103 0303 3001 1003 3003 0310 0130 0330 3010 1030 3030 0311 0133
	0333 3011 1033 3033 3301 1103 3303 3310 1130 3330 3311 1133 3333 ---- ---- ----
	---- ---- ---- ---- 1000 0010 0100 0001 2000 0020 0200 0002 1200 0012 2100 0021`)

func (p *painter) boxDrawing(r rune, box image.Rectangle, fg, bg color.RGBA) {
	light := max(1, p.fs.w/8)
	switch a := arms[r-0x2500]; {
	case a != "----":
		for dir := range 4 {
			p.arm(a, dir, light, box, fg)
		}
	case r >= 0x256d && r <= 0x2570:
		p.cover(box, fg, bg, arc(r, light, box))
	case r >= 0x2571 && r <= 0x2573:
		p.cover(box, fg, bg, diagonal(r, light, box))
	default:
		p.dashes(r, light, box, fg)
	}
}

// arm draws the arm of a towards dir (0 left, 1 right, 2 top, 3 bottom). It is
// worked out along its own axis: along counts from the centre outwards.
func (p *painter) arm(a string, dir, light int, box image.Rectangle, fg color.RGBA) {
	weight := a[dir]
	if weight == '0' {
		return
	}
	across := [2]byte{a[2], a[3]} // the arms before and after the centre, across ours
	if dir >= 2 {
		across = [2]byte{a[0], a[1]}
	}
	thick, gap := light, 0
	switch weight {
	case '2':
		thick = 3 * light
	case '3':
		gap = 2 * light
	}
	for side := range 2 {
		off := gap * (2*side - 1)
		p.stroke(dir, off, thick, start(a, dir, across, side, gap > 0, light), box, fg)
		if gap == 0 {
			return
		}
	}
}

// start is how far from the centre, outwards, a line begins, so that lines
// meet and do not cross: negative is beyond the centre.
func start(a string, dir int, across [2]byte, side int, double bool, light int) int {
	near, far := across[side], across[1-side]
	both := across[0] == '3' && across[1] == '3'
	switch opposite := a[dir^1] != '0'; {
	case double && near == '3':
		return 2 * light // inside corner
	case double && far == '3':
		return -2 * light // outside corner
	case !double && both && !opposite:
		return 2 * light // ends at the nearer of two lines
	case !double && (across[0] == '3' || across[1] == '3'):
		return -2 * light // reaches both lines of a corner
	case across[0] == '2' || across[1] == '2':
		return -light // fills the heavy line's corner
	}
	return 0
}

// stroke fills a line of the given thickness from the cell's edge towards dir
// up to begin pixels before the centre, off pixels beside it.
func (p *painter) stroke(dir, off, thick, begin int, box image.Rectangle, fg color.RGBA) {
	light := max(1, p.fs.w/8)
	// The light line's own place is the reference, so that all weights share
	// one axis and neighbouring cells agree about it.
	cx, cy := box.Min.X+(box.Dx()-light)/2, box.Min.Y+(box.Dy()-light)/2
	half := (thick - light) / 2
	r := box
	if dir < 2 {
		r.Min.Y, r.Max.Y = cy+off-half, cy+off-half+thick
	} else {
		r.Min.X, r.Max.X = cx+off-half, cx+off-half+thick
	}
	switch dir {
	case 0:
		r.Max.X = cx + light - begin
	case 1:
		r.Min.X = cx + begin
	case 2:
		r.Max.Y = cy + light - begin
	case 3:
		r.Min.Y = cy + begin
	}
	p.fill(r.Intersect(box), fg)
}

// dashes draws the broken lines: three, four or two dashes, light and heavy,
// across and down in turn.
func (p *painter) dashes(r rune, light int, box image.Rectangle, fg color.RGBA) {
	n, base := 2, rune(0x254c)
	switch {
	case r <= 0x2507:
		n, base = 3, 0x2504
	case r <= 0x250b:
		n, base = 4, 0x2508
	}
	thick := light
	if (r-base)%2 == 1 {
		thick = 3 * light
	}
	for i := range n {
		d := part(box, 2*i, 0, 2*i+1, 2*n, 2*n)
		d.Min.Y = box.Min.Y + (box.Dy()-thick)/2
		d.Max.Y = d.Min.Y + thick
		if (r-base)/2 == 1 {
			d = part(box, 0, 2*i, 2*n, 2*i+1, 2*n)
			d.Min.X = box.Min.X + (box.Dx()-thick)/2
			d.Max.X = d.Min.X + thick
		}
		p.fill(d, fg)
	}
}

// cover paints every pixel by the share of it that inside holds, on a grid of
// four by four.
func (p *painter) cover(box image.Rectangle, fg, bg color.RGBA, inside func(x, y float64) bool) {
	for y := range box.Dy() {
		for x := range box.Dx() {
			n := 0
			for s := range 16 {
				if inside(float64(x)+(float64(s%4)+0.5)/4, float64(y)+(float64(s/4)+0.5)/4) {
					n++
				}
			}
			if n > 0 {
				p.img.SetRGBA(box.Min.X+x, box.Min.Y+y, mix(bg, fg, float64(n)/16))
			}
		}
	}
}

// arc is a rounded corner: a quarter of a circle with straight ends that meet
// the light lines of the neighbours.
func arc(r rune, light int, box image.Rectangle) func(x, y float64) bool {
	half := float64(light) / 2
	mx, my := float64((box.Dx()-light)/2)+half, float64((box.Dy()-light)/2)+half
	dx, dy := 1.0, 1.0 // where the arms point: right and down, U+256D
	if r == 0x256e || r == 0x256f {
		dx = -1
	}
	if r == 0x256f || r == 0x2570 {
		dy = -1
	}
	radius := math.Min(mx, my)
	cx, cy := mx+dx*radius, my+dy*radius
	return func(x, y float64) bool {
		beyondX, beyondY := (x-cx)*dx > 0, (y-cy)*dy > 0
		switch {
		case beyondX && beyondY:
			return false
		case beyondX:
			return math.Abs(y-my) <= half
		case beyondY:
			return math.Abs(x-mx) <= half
		}
		return math.Abs(math.Hypot(x-cx, y-cy)-radius) <= half
	}
}

// diagonal is U+2571 (rising), U+2572 (falling) or both.
func diagonal(r rune, light int, box image.Rectangle) func(x, y float64) bool {
	w, h := float64(box.Dx()), float64(box.Dy())
	reach := float64(light) / 2 * math.Hypot(w, h)
	return func(x, y float64) bool {
		rising, falling := math.Abs(x*h+y*w-w*h) <= reach, math.Abs(x*h-y*w) <= reach
		return rising && r != 0x2572 || falling && r != 0x2571
	}
}
