package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

// The plots' measures in pixels, and their colours, which differ in brightness too.
const (
	plotWidth  = 760
	labelWidth = 120
	barHeight  = 11
	groupGap   = 12
	headHeight = 46

	colourFloor = "#b8c4d0"
	colourP50   = "#1f6feb"
	colourP99   = "#0a3069"
)

// illustrate writes one plot of every run, and one of all their memory.
func (r *Report) illustrate(dir string) error {
	for _, run := range r.Runs {
		name := fmt.Sprintf("%s-%d.svg", run.Setting, run.N)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(run.plot()), 0o644); err != nil { //nolint:gosec // a picture of the documentation
			return err
		}
	}
	if r.Runs[0].PeakRSS == 0 || r.Runs[0].Throttled != nil {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "memory.svg"), []byte(r.memoryPlot()), 0o644) //nolint:gosec // a picture of the documentation
}

// group is some bars under one label.
type group struct {
	label string
	bars  []bar
}

type bar struct {
	value  float64
	colour string
}

// plot draws floor, p50 and p99 of every operation.
func (run Run) plot() string {
	var groups []group
	for _, op := range operations(run.Throttled != nil) {
		o, ok := run.Operations[op.name]
		if !ok {
			continue
		}
		bars := []bar{{o.P50, colourP50}, {o.P99, colourP99}}
		if run.Throttled == nil {
			bars = append([]bar{{o.Floor, colourFloor}}, bars...)
		}
		groups = append(groups, group{op.name, bars})
	}
	title := fmt.Sprintf("%s, %s, %d at one time", run.Driver, run.Setting, run.N)
	legend := []string{colourFloor, "AWS alone (p50)", colourP50, "p50", colourP99, "p99"}
	if run.Throttled != nil {
		legend = legend[2:]
	}
	return draw(title, "s", legend, groups)
}

func (r *Report) memoryPlot() string {
	var groups []group
	for _, run := range r.Runs {
		groups = append(groups, group{fmt.Sprintf("n = %d", run.N), []bar{{run.IdleRSS, colourFloor}, {run.PeakRSS, colourP50}}})
	}
	return draw(r.Runs[0].Driver+", resident memory", "MiB", []string{colourFloor, "idle", colourP50, "at most"}, groups)
}

// draw makes horizontal bars; the legend alternates colours and texts.
func draw(title, unit string, legend []string, groups []group) string {
	most, height := 0.0, headHeight
	for _, g := range groups {
		height += len(g.bars)*barHeight + groupGap
		for _, b := range g.bars {
			most = max(most, b.value)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/><text x="8" y="17" font-size="13" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	for i := 0; i+1 < len(legend); i += 2 {
		x := labelWidth + i/2*130
		fmt.Fprintf(&b, `<rect x="%d" y="25" width="10" height="10" fill="%s"/><text x="%d" y="34">%s</text>`+"\n", x, legend[i], x+14, html.EscapeString(legend[i+1]))
	}
	y := headHeight
	for _, g := range groups {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth-8, y+len(g.bars)*barHeight/2+4, html.EscapeString(g.label))
		for _, one := range g.bars {
			width := one.value / max(most, 1e-9) * (plotWidth - labelWidth - 80)
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d" font-size="9">%.3g %s</text>`+"\n",
				labelWidth, y, width, barHeight-1, one.colour, labelWidth+width+4, y+barHeight-2, one.value, unit)
			y += barHeight
		}
		y += groupGap
	}
	b.WriteString("</svg>\n")
	return b.String()
}
