package mounter

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"
	"time"
)

// Loss is a mount that was lost and is there again: containers that ran meanwhile may not see it.
type Loss struct {
	Number  int       `json:"number"` // of a mounter's losses, from 1
	At      time.Time `json:"at"`
	Handle  string    `json:"handle"`
	Targets []string  `json:"targets"`
	// OutOfMemory says how, if its program was ended for the memory that it took.
	OutOfMemory string `json:"outOfMemory,omitempty"`
}

// Losses are the last mounts that this mounter lost, and whether it can bound their memory, for the node plugin to report. It
// asks, since it is not always there.
type Losses struct {
	epoch string // of this mounter

	mu        sync.Mutex // guards all below
	last      []Loss
	n         int
	unbounded string
}

// maxLosses bounds what is kept for a plugin that is away.
const maxLosses = 256

// NewLosses makes Losses.
func NewLosses() *Losses { return &Losses{epoch: rand.Text()} }

// Add notes a loss. outOfMemory is empty where that was not the reason.
func (l *Losses) Add(handle string, targets []string, outOfMemory string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.last = append(l.last, Loss{l.n, time.Now(), handle, targets, outOfMemory})
	l.last = l.last[max(0, len(l.last)-maxLosses):]
}

// SetUnbounded notes why a mount's memory has no limit of its own.
func (l *Losses) SetUnbounded(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unbounded = reason
}

// lossCall asks for the losses after one of a mounter, and is the answer.
type lossCall struct {
	Epoch  string `json:"epoch,omitempty"`
	After  int    `json:"after,omitempty"`
	Losses []Loss `json:"losses,omitempty"`
	// Unbounded is why a mount's memory has no limit of its own; in answers only.
	Unbounded string `json:"unbounded,omitempty"`
}

// since returns what was lost after that.
func (l *Losses) since(c lossCall) lossCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Epoch != l.epoch {
		c.After = 0
	}
	out := lossCall{Epoch: l.epoch, After: l.n, Unbounded: l.unbounded}
	for _, loss := range l.last {
		if loss.Number > c.After {
			out.Losses = append(out.Losses, loss)
		}
	}
	return out
}

func serveLosses(mux *http.ServeMux, l *Losses) {
	mux.HandleFunc("POST /losses", handle(func(_ *http.Request, in lossCall) (lossCall, error) { return l.since(in), nil }))
}

const (
	// lossInterval is how often the mounter is asked.
	lossInterval = 5 * time.Second
	// lossMemory is how old a loss may be that a new plugin still tells of: the last one may not have come to it.
	lossMemory = time.Minute
)

// Watcher is called with what a mounter has to report; its methods must not be nil.
type Watcher struct {
	Lost func(Loss)
	// Unbounded is called with why a mount's memory has no limit of its own, with "" where each has one, and again when that
	// changes.
	Unbounded func(reason string)
}

// WatchLosses calls the watcher for each mount that a mounter lost, until ctx ends. A mounter that does not answer is asked again.
func (c *Client) WatchLosses(ctx context.Context, w Watcher) {
	again := time.NewTicker(lossInterval)
	defer again.Stop()
	for at := (lossCall{}); ; {
		var answer lossCall
		if c.call(ctx, http.MethodPost, "/losses", lossCall{Epoch: at.Epoch, After: at.After}, &answer) == nil {
			if at.Epoch == "" || answer.Unbounded != at.Unbounded {
				w.Unbounded(answer.Unbounded)
			}
			for _, loss := range answer.Losses {
				if at.Epoch != "" || time.Since(loss.At) < lossMemory {
					w.Lost(loss)
				}
			}
			at = answer
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}
