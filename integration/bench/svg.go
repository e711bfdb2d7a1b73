package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// plot is a chart with logarithmic scales where they are asked for. It draws
// what the two plots of this program need, and nothing else.
type plot struct {
	title, xLabel, yLabel  string
	xMin, xMax, yMin, yMax float64
	logX                   bool // y is always logarithmic
	xTicks, yTicks         []tick
	b                      strings.Builder
}

type tick struct {
	at    float64
	label string
}

const (
	plotWidth, plotHeight = 860, 460
	left, right           = 80, 34
	top, bottom           = 50, 90
)

// Colours that stay apart for colour-blind readers (Okabe and Ito), and on a
// dark page, since the plot brings its own background.
var colours = []string{"#d55e00", "#0072b2", "#56b4e9", "#009e73", "#999999"}

func (p *plot) x(v float64) float64 {
	scale := (v - p.xMin) / (p.xMax - p.xMin)
	if p.logX {
		scale = math.Log(v/p.xMin) / math.Log(p.xMax/p.xMin)
	}
	return left + scale*(plotWidth-left-right)
}

func (p *plot) y(v float64) float64 {
	scale := math.Log(v/p.yMin) / math.Log(p.yMax/p.yMin)
	return plotHeight - bottom - scale*(plotHeight-top-bottom)
}

func (p *plot) begin() {
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img" aria-label=%q>`+"\n", plotWidth, plotHeight, p.title)
	fmt.Fprintf(&p.b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, plotHeight)
	p.text(plotWidth/2, 24, "middle", "#222222", `font-size="16"`, p.title)
	for _, t := range p.xTicks {
		x := p.x(t.at)
		p.line(x, top, x, plotHeight-bottom, "#dddddd", "")
		p.text(x, plotHeight-bottom+18, "middle", "#444444", "", t.label)
	}
	for _, t := range p.yTicks {
		y := p.y(t.at)
		p.line(left, y, plotWidth-right, y, "#dddddd", "")
		p.text(left-8, y+4, "end", "#444444", "", t.label)
	}
	p.text((left+plotWidth-right)/2, plotHeight-bottom+38, "middle", "#222222", "", p.xLabel)
	p.text(0, 0, "middle", "#222222", fmt.Sprintf(`transform="translate(18 %d) rotate(-90)"`, (top+plotHeight-bottom)/2), p.yLabel)
}

func (p *plot) line(x1, y1, x2, y2 float64, colour, more string) {
	fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" %s/>`+"\n", x1, y1, x2, y2, colour, more)
}

func (p *plot) text(x, y float64, anchor, colour, more, s string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s" %s>%s</text>`+"\n", x, y, anchor, colour, more, s)
}

func (p *plot) curve(colour string, width float64, xs, ys []float64) {
	fmt.Fprintf(&p.b, `<polyline fill="none" stroke="%s" stroke-width="%.1f" points="`, colour, width)
	for i := range xs {
		fmt.Fprintf(&p.b, "%.1f,%.1f ", p.x(xs[i]), p.y(max(p.yMin, min(p.yMax, ys[i]))))
	}
	p.b.WriteString(`"/>` + "\n")
}

// legend puts the names below the plot, two a line.
func (p *plot) legend(names []string) {
	for i, name := range names {
		x, y := float64(left+(i%3)*255), float64(plotHeight-bottom+58+18*(i/3))
		p.line(x, y-4, x+20, y-4, colours[i], `stroke-width="3"`)
		p.text(x+26, y, "start", "#222222", `font-size="12"`, name)
	}
}

func (p *plot) end() string {
	p.b.WriteString("</svg>\n")
	return p.b.String()
}

func plotBySize(curves []curve) string {
	p := &plot{
		title: "Time of one call by body size, one core", xLabel: "bytes of plaintext", yLabel: "time of one call",
		logX: true, xMin: float64(plotSizes[0]), xMax: float64(plotSizes[len(plotSizes)-1]),
	}
	for _, size := range plotSizes {
		label := fmt.Sprintf("%d KiB", size>>10)
		if size < 1<<10 {
			label = fmt.Sprintf("%d B", size)
		}
		p.xTicks = append(p.xTicks, tick{float64(size), label})
	}
	low, high := math.Inf(1), 0.0
	for _, c := range curves {
		for _, t := range c.times {
			low, high = min(low, float64(t)), max(high, float64(t))
		}
	}
	p.decades(low, high)
	p.begin()
	var names []string
	for i, c := range curves {
		var xs, ys []float64
		for k, t := range c.times {
			xs, ys = append(xs, float64(plotSizes[k])), append(ys, float64(t))
		}
		p.curve(colours[i], 2.5, xs, ys)
		names = append(names, c.name)
	}
	p.legend(names)
	return p.end()
}

// decades sets the y scale, in nanoseconds, to whole powers of ten.
func (p *plot) decades(low, high float64) {
	p.yMin, p.yMax = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	for at := p.yMin; at <= p.yMax*1.01; at *= 10 {
		p.yTicks = append(p.yTicks, tick{at, time.Duration(math.Round(at)).String()})
	}
}

// rotationBucket is the interval whose 90th percentile the plot shows. A
// send that waits 300 ms for a key is one of many that do, and shows; a pause
// of the machine mostly does not.
const rotationBucket = 500 * time.Millisecond

func plotRotation(traces []trace) string {
	p := &plot{title: "Send latency across key rotations (90th percentile of each half second); key service at 300 ms", xLabel: "seconds", yLabel: "send latency"}
	type series struct{ xs, ys []float64 }
	all := make([]series, len(traces))
	low, high := math.Inf(1), 0.0
	for i, t := range traces {
		var buckets [][]float64
		for _, s := range t.sends {
			k := int(s.at / rotationBucket)
			for len(buckets) <= k {
				buckets = append(buckets, nil)
			}
			buckets[k] = append(buckets[k], float64(s.took))
		}
		for k, took := range buckets {
			at := time.Duration(k) * rotationBucket
			if at < started || len(took) == 0 {
				continue
			}
			y := quantile(took, 0.9)
			all[i].xs, all[i].ys = append(all[i].xs, at.Seconds()), append(all[i].ys, y)
			low, high = min(low, y), max(high, y)
			p.xMax = max(p.xMax, (at + rotationBucket).Seconds())
		}
	}
	for at := 0.0; at <= p.xMax; at += 20 {
		p.xTicks = append(p.xTicks, tick{at, fmt.Sprint(at)})
	}
	p.decades(low, high)
	p.begin()
	// sealq is drawn last, on top; its rotations are marked.
	for i := len(traces) - 1; i >= 0; i-- {
		p.curve(colours[i], 1.5, all[i].xs, all[i].ys)
		for _, f := range traces[i].fetches[1:] {
			x := p.x(f.Seconds())
			p.line(x, top, x, plotHeight-bottom, colours[i], `stroke-dasharray="4 4"`)
		}
	}
	p.legend([]string{"sealq (dashed: a new key is fetched)", "a cache that fetches at expiry"})
	return p.end()
}
