package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// difference is one field on which the two servers disagree.
type difference struct {
	row, field string
	moto, ours string // absent if the answer lacks the field
}

func (d difference) String() string {
	return fmt.Sprintf("%s: %s: moto %q, emulator %q", d.row, d.field, d.moto, d.ours)
}

// compare lists what two answers to the same call disagree on. If one is an error, nothing else is looked at.
func compare(row string, moto, ours answer) []difference {
	all := fields(moto, ours)
	if moto["error"] != "" || ours["error"] != "" {
		all = []string{"error"}
	}
	var out []difference
	for _, field := range all {
		d := difference{row, field, value(moto, field), value(ours, field)}
		if d.moto != d.ours {
			out = append(out, d)
		}
	}
	return out
}

func value(a answer, field string) string {
	if v, ok := a[field]; ok {
		return v
	}
	return absent
}

// explanation is a known difference: why the emulator is right, or need not care, and where AWS says so.
// In its patterns * stands for any text.
type explanation struct {
	rows       string
	fields     []string
	moto, ours string
	why, doc   string
}

func (e explanation) explains(d difference) bool {
	return match(e.rows, d.row) && slices.ContainsFunc(e.fields, func(f string) bool { return match(f, d.field) }) && match(e.moto, d.moto) && match(e.ours, d.ours)
}

// match reports whether the whole text fits a pattern.
func match(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

// report is the outcome of a comparison.
type report struct {
	rows      int
	same      int // rows without any difference
	explained int // fields that differ and are explained
	open      []difference
	stale     []explanation // explain nothing any more
}

// judge sorts the differences into explained and open ones.
func judge(rows int, all []difference, known []explanation) report {
	r := report{rows: rows}
	differing, used := map[string]bool{}, make([]bool, len(known))
	for _, d := range all {
		differing[d.row] = true
		found := false
		for i, e := range known {
			if e.explains(d) {
				found, used[i] = true, true
			}
		}
		if found {
			r.explained++
		} else {
			r.open = append(r.open, d)
		}
	}
	for i, e := range known {
		if !used[i] {
			r.stale = append(r.stale, e)
		}
	}
	r.same = rows - len(differing)
	return r
}

// write tells what was found; it returns an error if anything has to be done.
func (r report) write(out io.Writer) error {
	for _, d := range r.open {
		fmt.Fprintf(out, "  differs    %s\n", d)
	}
	for _, e := range r.stale {
		fmt.Fprintf(out, "  outdated   rows %q, fields %q: nothing differs like this any more: %s\n", e.rows, e.fields, e.why)
	}
	fmt.Fprintf(out, "conformance: %d calls, %d answered alike in every field; %d fields differ for a known reason, %d for none\n",
		r.rows, r.same, r.explained, len(r.open))
	if len(r.open)+len(r.stale) > 0 {
		return fmt.Errorf("%d differences are not explained and %d explanations are outdated; fix the emulator, or explain in tests/conformance/known.go with AWS's words", len(r.open), len(r.stale))
	}
	return nil
}
