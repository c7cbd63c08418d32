// Command plot draws the curves of a run: training loss (smoothed), and perplexity on valid, IDTS and ODTS as far as they
// were evaluated during training, both over steps. It is a module of its own, so that users of secencoder never download
// fonts and drawing code.
//
//	cd scripts/plot && go run . --out curve.png RUN [NAME=RUN …]
//
// Each RUN is a run folder; a name before "=" labels its curves. The format follows from the ending: .png, .svg, .pdf.
package main

import (
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// palette is readable with the common colour weaknesses, and each curve also has dashes of its own.
var palette = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {86, 180, 233, 255}, {230, 159, 0, 255},
}

func main() {
	out := flag.String("out", "curve.png", "file to write; .png")
	smooth := flag.Int("smooth", 100, "training loss is the mean over this many steps")
	flag.Parse()
	if err := run(*out, *smooth, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(out string, smooth int, args []string) error {
	if len(args) == 0 {
		return errors.New("no run folder given; usage: go run . --out curve.png RUN")
	}
	if smooth < 1 {
		return fmt.Errorf("--smooth %d: want 1 or more", smooth)
	}
	loss, quality := plot.New(), plot.New()
	loss.Title.Text, loss.X.Label.Text, loss.Y.Label.Text = "training loss", "step", "nats per masked token"
	quality.Title.Text, quality.X.Label.Text, quality.Y.Label.Text = "during training", "step", "perplexity (log scale)"
	quality.Y.Scale, quality.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	loss.Legend.Top, quality.Legend.Top = true, true
	n := 0
	for _, arg := range args {
		name, dir, named := strings.Cut(arg, "=")
		if !named {
			name, dir = filepath.Base(arg), arg
		}
		points, err := lossCurve(filepath.Join(dir, "metrics.csv"), smooth)
		if err != nil {
			return err
		}
		if err := add(loss, name, points, n); err != nil {
			return err
		}
		curves, order, err := qualityCurves(filepath.Join(dir, "eval.csv"))
		if err != nil {
			return err
		}
		for i, set := range order {
			label := set
			if len(args) > 1 {
				label = name + " " + set
			}
			if err := add(quality, label, curves[set], n*3+i); err != nil {
				return err
			}
		}
		n++
	}
	const width, height = 26 * vg.Centimeter, 11 * vg.Centimeter
	img := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(110))
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Centimeter, PadTop: 4, PadBottom: 4, PadLeft: 4, PadRight: 12}
	canvases := plot.Align([][]*plot.Plot{{loss, quality}}, tiles, draw.New(img))
	loss.Draw(canvases[0][0])
	quality.Draw(canvases[0][1])
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(f); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func add(p *plot.Plot, name string, points plotter.XYs, n int) error {
	if len(points) == 0 {
		return nil
	}
	l, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	l.Color, l.Width = palette[n%len(palette)], vg.Points(1.4)
	if n%3 > 0 {
		l.Dashes = []vg.Length{vg.Points(float64(7 - 2*(n%3))), vg.Points(2)}
	}
	p.Add(l)
	p.Legend.Add(name, l)
	return nil
}

// table reads a CSV file with a header into one map of columns.
func table(path string) (map[string][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("%s: no rows yet", path)
	}
	columns := map[string][]string{}
	for i, name := range rows[0] {
		for _, row := range rows[1:] {
			columns[name] = append(columns[name], row[i])
		}
	}
	return columns, nil
}

func numbers(columns map[string][]string, name, path string) ([]float64, error) {
	text, ok := columns[name]
	if !ok {
		return nil, fmt.Errorf("%s: no column %q", path, name)
	}
	values := make([]float64, len(text))
	for i, s := range text {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: row %d: column %s: %w", path, i+2, name, err)
		}
		values[i] = v
	}
	return values, nil
}

func lossCurve(path string, smooth int) (plotter.XYs, error) {
	columns, err := table(path)
	if err != nil {
		return nil, err
	}
	step, err := numbers(columns, "step", path)
	if err != nil {
		return nil, err
	}
	loss, err := numbers(columns, "loss", path)
	if err != nil {
		return nil, err
	}
	smooth = min(smooth, max(1, len(loss)/20))
	var points plotter.XYs
	sum, count := 0.0, 0
	for i, v := range loss {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			sum, count = sum+v, count+1
		}
		if (i+1)%smooth == 0 && count > 0 {
			points = append(points, plotter.XY{X: step[i], Y: sum / float64(count)})
			sum, count = 0, 0
		}
	}
	return points, nil
}

// qualityCurves returns perplexity over steps for each set, content masks, in the order in which the sets first appear.
func qualityCurves(path string) (map[string]plotter.XYs, []string, error) {
	columns, err := table(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	step, err := numbers(columns, "step", path)
	if err != nil {
		return nil, nil, err
	}
	perplexity, err := numbers(columns, "perplexity", path)
	if err != nil {
		return nil, nil, err
	}
	set, mask := columns["set"], columns["mask"]
	curves := map[string]plotter.XYs{}
	var order []string
	for i := range step {
		if mask != nil && mask[i] != "content" {
			continue
		}
		if _, seen := curves[set[i]]; !seen {
			order = append(order, set[i])
		}
		curves[set[i]] = append(curves[set[i]], plotter.XY{X: step[i], Y: perplexity[i]})
	}
	return curves, order, nil
}
