package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Report is what is written as JSON.
type Report struct {
	Runs []Run `json:"runs"`
}

// Run is one number of volumes at one time in one setting: the medians of its measurements.
type Run struct {
	Driver     string               `json:"driver"`
	Setting    string               `json:"setting"` // the emulator's profile
	N          int                  `json:"n"`
	Repeats    int                  `json:"repeats"`
	Operations map[string]Operation `json:"operations"`
	LeftOut    []string             `json:"left_out,omitempty"` // the driver does not announce them
	IdleRSS    float64              `json:"idle_rss_mb"`        // MiB; 0: not known
	PeakRSS    float64              `json:"peak_rss_mb"`        // MiB; 0: not known
	Throttled  *Throttled           `json:"throttled,omitempty"`
}

// Throttled is how a run fared under AWS's throttles.
type Throttled struct {
	Calls     int `json:"aws_calls"`
	Throttled int `json:"throttled_calls"`
	Failures  int `json:"failures"`
}

// Operation is one operation; times are seconds since all calls were sent.
type Operation struct {
	Floor     float64            `json:"floor_s,omitempty"`
	P50       float64            `json:"p50_s"`
	P99       float64            `json:"p99_s"`
	Errors    int                `json:"errors"`
	Why       string             `json:"error,omitempty"` // the last one
	CallsEach float64            `json:"aws_calls_per_op"`
	Calls     map[string]float64 `json:"aws_calls_by_name"` // per operation
	PerMinute float64            `json:"volumes_per_minute,omitempty"`
}

// summary puts a run's measurements together.
func summary(setting string, n int, all []once) Run {
	run := Run{
		Setting: setting, N: n, Repeats: len(all), Operations: map[string]Operation{}, Driver: all[0].driver,
		IdleRSS: medianOf(all, func(o once) float64 { return o.idle }),
		PeakRSS: medianOf(all, func(o once) float64 { return o.peak }),
	}
	throttled := setting != "reference"
	if throttled {
		run.Throttled = &Throttled{}
	}
	for _, op := range operations(throttled) {
		ours, floor := collect(all, op.name)
		if len(ours) == 0 {
			run.LeftOut = append(run.LeftOut, op.name)
			continue
		}
		o := Operation{
			Floor: medianOf(floor, func(s sample) float64 { return s.percentile(50) }),
			P50:   medianOf(ours, func(s sample) float64 { return s.percentile(50) }),
			P99:   medianOf(ours, func(s sample) float64 { return s.percentile(99) }),
			CallsEach: medianOf(ours, func(s sample) float64 {
				calls, _ := s.asked()
				return float64(calls) / float64(n)
			}),
			Calls: perOperation(ours, n),
		}
		for _, s := range ours {
			o.Errors += s.errors
			if s.why != "" {
				o.Why = s.why
			}
			if throttled {
				calls, refused := s.asked()
				run.Throttled.Calls += calls
				run.Throttled.Throttled += refused
				run.Throttled.Failures += s.errors
			}
		}
		if throttled {
			o.PerMinute = medianOf(ours, func(s sample) float64 { return float64(len(s.took)) / s.wall.Minutes() })
		}
		run.Operations[op.name] = o
	}
	return run
}

func collect(all []once, op string) (ours, floor []sample) {
	for _, o := range all {
		for _, lives := range o.ours {
			if s, ok := lives[op]; ok {
				ours = append(ours, s)
			}
		}
		for _, lives := range o.floor {
			if s, ok := lives[op]; ok {
				floor = append(floor, s)
			}
		}
	}
	return ours, floor
}

// table shows the runs as Markdown.
func (r *Report) table() string {
	var b strings.Builder
	for _, run := range r.Runs {
		if run.Throttled != nil {
			run.throttledTable(&b)
			continue
		}
		fmt.Fprintf(&b, "**%s, %s, n = %d** (medians of %d", run.Driver, run.Setting, run.N, run.Repeats)
		run.memory(&b)
		b.WriteString("| operation | floor p50 | p50 | above the floor | p99 | errors | AWS calls per volume |\n|---|---:|---:|---:|---:|---:|---|\n")
		for _, op := range operations(false) {
			if o, ok := run.Operations[op.name]; ok {
				fmt.Fprintf(&b, "| %s | %.3f s | %.3f s | **%.3f s** | %.3f s | %d | %.3f: %s |\n",
					op.name, o.Floor, o.P50, o.P50-o.Floor, o.P99, o.Errors, o.CallsEach, byName(o.Calls))
			}
		}
		if len(run.LeftOut) > 0 {
			fmt.Fprintf(&b, "\nLeft out, since the driver does not announce it: %s.\n", strings.Join(run.LeftOut, ", "))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (run Run) memory(b *strings.Builder) {
	if run.PeakRSS > 0 {
		fmt.Fprintf(b, "; resident memory %.1f MiB idle, %.1f MiB at most", run.IdleRSS, run.PeakRSS)
	}
	b.WriteString(")\n\n")
}

func (run Run) throttledTable(b *strings.Builder) {
	t := run.Throttled
	fmt.Fprintf(b, "**%s, AWS's default throttles, n = %d**: %d AWS calls, of which %d throttled (one in %s), %d failures (measured %d×",
		run.Driver, run.N, t.Calls, t.Throttled, oneIn(t.Calls, t.Throttled), t.Failures, run.Repeats)
	run.memory(b)
	b.WriteString("| operation | volumes per minute | p50 | p99 | errors | AWS calls per volume |\n|---|---:|---:|---:|---:|---|\n")
	for _, op := range operations(true) {
		if o, ok := run.Operations[op.name]; ok {
			fmt.Fprintf(b, "| %s | %.0f | %.1f s | %.1f s | %d | %.3f: %s |\n", op.name, o.PerMinute, o.P50, o.P99, o.Errors, o.CallsEach, byName(o.Calls))
		}
	}
	b.WriteString("\n")
}

func oneIn(all, some int) string {
	if some == 0 {
		return "none"
	}
	return fmt.Sprintf("%d", all/some)
}

func byName(calls map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		parts = append(parts, fmt.Sprintf("%s %.3g", name, calls[name]))
	}
	return strings.Join(parts, ", ")
}

// publish shows the report and writes what the settings ask for.
func publish(set settings, r *Report, stdout io.Writer) error {
	fmt.Fprint(stdout, "\n"+r.table())
	var errs []error
	if set.out != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		errs = append(errs, err, os.WriteFile(set.out, append(text, '\n'), 0o644)) //nolint:gosec // results are for everybody
	}
	if set.docs != "" {
		errs = append(errs, r.illustrate(set.docs), r.insert(filepath.Join(set.docs, "README.md")))
	}
	return errors.Join(errs...)
}

// insert replaces the table in a page, between its marks.
func (r *Report) insert(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	what := r.Runs[0].Setting
	begin, end := "<!-- begin "+what+" -->\n", "<!-- end "+what+" -->"
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s has no marks %q and %q for the table", page, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(page, []byte(before+begin+"\n"+r.table()+end+after), 0o644) //nolint:gosec // a page of the documentation
}
