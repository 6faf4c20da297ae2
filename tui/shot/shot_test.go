package shot

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"testing"
	"time"
)

func frame(t *testing.T, text string, cols, rows int) image.Image {
	t.Helper()
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := PNG(w, text, cols, rows, 14); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same frame gave two pictures")
	}
	img, err := png.Decode(&a)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestBlocksFillTheirCells(t *testing.T) {
	img := frame(t, "\x1b[38;2;255;0;0m█▄\x1b[0m", 4, 2)
	p, err := newPainter(4, 2, 14)
	if err != nil {
		t.Fatal(err)
	}
	red := color.RGBA{255, 0, 0, 255}
	at := func(col, part int) color.RGBA { // part: 0 upper, 1 lower
		return color.RGBAModel.Convert(img.At(p.w+col*p.w+p.w/2, p.h/2+(1+2*part)*p.h/4)).(color.RGBA)
	}
	for _, c := range []struct {
		col, part int
		want      color.RGBA
	}{{0, 0, red}, {0, 1, red}, {1, 0, paper}, {1, 1, red}, {2, 0, paper}} {
		if got := at(c.col, c.part); got != c.want {
			t.Errorf("cell %d part %d is %v, want %v", c.col, c.part, got, c.want)
		}
	}
}

func TestTakeRunsAProgram(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var buf bytes.Buffer
	err := Take(ctx, &buf, Script{
		Cmd: []string{"sh", "-c", `printf '\033[48;2;0;0;255m    \033[0m'; sleep 60`}, Cols: 10, Rows: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&buf)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPainter(10, 2, 14)
	if err != nil {
		t.Fatal(err)
	}
	if got := color.RGBAModel.Convert(img.At(p.w+1, p.h/2+1)); got != (color.RGBA{0, 0, 255, 255}) {
		t.Errorf("the program's blue is %v", got)
	}
}
