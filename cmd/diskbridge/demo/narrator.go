package demo

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// stepLimit is the longest that one step may take; the slowest is a snapshot on the realistic profile.
const stepLimit = 2 * time.Minute

// narrator says what is being done before it is done, and how it went once that is known.
type narrator struct {
	w     io.Writer
	color bool
}

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (n narrator) paint(code, text string) string {
	if !n.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// section opens a chapter.
func (n narrator) section(format string, args ...any) {
	fmt.Fprintf(n.w, "\n%s\n", n.paint(bold, fmt.Sprintf(format, args...)))
}

// note says something that is no step, such as what is left out and why.
func (n narrator) note(format string, args ...any) {
	fmt.Fprintf(n.w, "  %s\n", n.paint(yellow, fmt.Sprintf(format, args...)))
}

// step announces what, does it, and tells the time it took and the detail that do found out.
func (n narrator) step(ctx context.Context, what string, do func(ctx context.Context) (detail string, err error)) error {
	fmt.Fprintf(n.w, "  %s %s ", what, n.paint(dim, strings.Repeat(".", max(1, 44-len(what)))))
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	detail, err := do(limited)
	took := time.Since(start).Seconds()
	if err != nil {
		how := n.paint(red, "failed")
		if ctx.Err() != nil {
			how = n.paint(yellow, "stopped")
		}
		fmt.Fprintf(n.w, "%s after %.2f s\n", how, took)
		return &stepError{what: what, err: err}
	}
	if detail != "" {
		detail = "  " + n.paint(green, detail)
	}
	fmt.Fprintf(n.w, "%6.2f s%s\n", took, detail)
	return nil
}

// stepError says which step failed.
type stepError struct {
	what string
	err  error
}

func (e *stepError) Error() string { return e.what + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// failed says why the story ended early; of a failure also what the children said last.
func (n narrator) failed(ctx context.Context, err error, children []child) {
	if ctx.Err() != nil {
		fmt.Fprintf(n.w, "\n%s\n", n.paint(yellow, "Interrupted."))
		return
	}
	fmt.Fprintf(n.w, "\n%s %v\n", n.paint(red, "FAILED:"), err)
	for _, c := range children {
		fmt.Fprintf(n.w, "\n%s\n%s\n", n.paint(dim, "-- the end of the log of "+c.process().Name), c.process().Tail(12))
	}
}
