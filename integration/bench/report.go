package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
)

// report is all that a run measured.
type report struct {
	results []result
	facts   []fact
	sizes   []curve
	traces  []trace
}

//go:embed performance.md.tmpl
var document string

func writeReport(docs string, r report) error {
	facts := r.facts
	for i, t := range r.traces {
		what := ""
		if i > 0 {
			what = ", a cache that fetches at expiry"
		}
		for _, f := range t.facts(what) {
			if i > 0 {
				f.target = "(for comparison)"
			}
			facts = append(facts, f)
		}
	}
	t, err := template.New("").Parse(document)
	if err != nil {
		return err
	}
	var b strings.Builder
	err = t.Execute(&b, map[string]any{
		"CPU":     cpuModel(),
		"Cores":   runtime.NumCPU(),
		"Go":      runtime.Version(),
		"OS":      runtime.GOOS + "/" + runtime.GOARCH,
		"Results": resultTable(r.results),
		"Facts":   factTable(facts),
	})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"performance.md":       b.String(),
		"latency-by-size.svg":  plotBySize(r.sizes),
		"latency-rotation.svg": plotRotation(r.traces),
	} {
		if err := os.WriteFile(filepath.Join(docs, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func resultTable(results []result) string {
	var b strings.Builder
	b.WriteString("| what | baseline in the same rounds | target | measured | quartiles |\n| --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		target, met := "—", ""
		if r.target > 0 {
			target = fmt.Sprintf("≤ %.2f×", r.target)
			if r.faster {
				target = fmt.Sprintf("%.0f× faster", r.target)
			}
			if !r.met() {
				met = " (not met)"
			}
		}
		got, quartiles := "%.2f×", "%.2f to %.2f"
		if r.faster {
			got, quartiles = "%.0f× faster", "%.0f to %.0f"
			if r.ratio < 10 {
				got, quartiles = "%.1f× faster", "%.1f to %.1f"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | **"+got+"**%s | "+quartiles+" |\n", r.what, r.baseline, target, r.ratio, met, r.low, r.high)
	}
	return b.String()
}

func factTable(facts []fact) string {
	var b strings.Builder
	b.WriteString("| what | target | measured |\n| --- | --- | --- |\n")
	for _, f := range facts {
		target := f.target
		if target == "" {
			target = "—"
		}
		fmt.Fprintf(&b, "| %s | %s | **%s** |\n", f.what, target, f.got)
	}
	return b.String()
}

// cpuModel reads what Linux says of the first processor.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
