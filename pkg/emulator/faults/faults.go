package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Effect is what a fault does to a call.
type Effect string

// The effects.
const (
	Refuse     Effect = "refuse"      // answer the code, do nothing
	FailAfter  Effect = "fail-after"  // do it, then answer the code
	DropReply  Effect = "drop-reply"  // do it, then close the connection without an answer
	Throttle   Effect = "throttle"    // answer RequestLimitExceeded, do nothing
	Delay      Effect = "delay"       // wait before doing it; a caller that leaves meanwhile ends it
	Late       Effect = "late"        // wait, then do it even if the caller has left: it acts after its caller gave up
	HoldBefore Effect = "hold-before" // wait for a release before doing it
	HoldAfter  Effect = "hold-after"  // do it, then wait for a release before answering
	FailLater  Effect = "fail-later"  // accept it; the modification then ends "failed", what is made in "error"
)

// Any is the operation that every call matches.
const Any = "*"

// Rule is one fault. With an Nth it meets exactly the n-th call of its operation after it was set and is then used up;
// with a Probability it meets that share of calls; with neither it meets every call. With a Value only calls count
// that name it, so that faults of one volume leave others alone.
type Rule struct {
	Operation   string  `json:"operation"` // an EC2 action, "kms:DescribeKey", "sts:AssumeRole", or "*"
	Value       string  `json:"value"`     // of any parameter, such as a volume's id or a tag's value; empty: every call. Not of S3
	Nth         int     `json:"nth"`
	Probability float64 `json:"probability"`
	Effect      Effect  `json:"effect"`
	Code        string  `json:"code"`     // of refuse and fail-after; InternalError if empty
	DelayMS     int     `json:"delay_ms"` // of delay and late, milliseconds of the emulator's time
}

func (r Rule) check() error {
	known := []Effect{Refuse, FailAfter, DropReply, Throttle, Delay, Late, HoldBefore, HoldAfter, FailLater}
	failLater := []string{"CreateVolume", "CopyVolumes", "ModifyVolume", "CreateSnapshot", "CreateSnapshots", "efs:CreateFileSystem", "efs:CreateMountTarget"}
	switch {
	case r.Operation == "":
		return fmt.Errorf("fault: operation is empty; name one, or %q for all", Any)
	case !slices.Contains(known, r.Effect):
		return fmt.Errorf("fault on %s: effect %q is not one of %v", r.Operation, r.Effect, known)
	case r.Value != "" && strings.HasPrefix(r.Operation, "s3:"):
		return fmt.Errorf("fault on %s: parameters of S3 are not looked at; leave the value out", r.Operation)
	case r.Nth < 0:
		return fmt.Errorf("fault on %s: nth %d is negative", r.Operation, r.Nth)
	case !(r.Probability >= 0 && r.Probability <= 1):
		return fmt.Errorf("fault on %s: probability %v is not between 0 and 1", r.Operation, r.Probability)
	case r.Nth > 0 && r.Probability > 0:
		return fmt.Errorf("fault on %s: set nth or probability, not both", r.Operation)
	case (r.Effect == Delay || r.Effect == Late) && r.DelayMS <= 0:
		return fmt.Errorf("fault on %s: %s needs a positive delay_ms", r.Operation, r.Effect)
	case r.Effect == FailLater && !slices.Contains(failLater, r.Operation):
		return fmt.Errorf("fault on %s: only what %v begin can fail later", r.Operation, failLater)
	}
	return nil
}

// Fired is what the faults do to one call.
type Fired []Rule

// Has is the first fired rule with that effect.
func (f Fired) Has(e Effect) (Rule, bool) {
	for _, r := range f {
		if r.Effect == e {
			return r, true
		}
	}
	return Rule{}, false
}

// Held is a call that waits for a release.
type Held struct {
	Operation string    `json:"operation"`
	Phase     Effect    `json:"phase"`
	Since     time.Time `json:"since"`
}

// Set is the faults that are set and the calls that they hold. It is safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	rules   []*live
	held    map[*hold]struct{}
	chance  *rand.Rand
	changed chan struct{} // closed when held changes
}

type live struct {
	Rule
	seen int
}

type hold struct {
	Held
	end chan error // takes one: nil to go on
}

// ErrCleared ends a held call when the faults are cleared.
var ErrCleared = errors.New("the call was held when the faults were cleared")

// New is an empty set; the seed fixes what probabilities do.
func New(seed int64) *Set {
	return &Set{held: map[*hold]struct{}{}, chance: rand.New(rand.NewPCG(uint64(seed), 0)), changed: make(chan struct{})}
}

// Add sets faults beside those that are set; it sets all or none.
func (s *Set) Add(rules ...Rule) error {
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, &live{Rule: r})
	}
	return nil
}

// Live are the faults that can still meet a call.
func (s *Set) Live() []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Rule, 0, len(s.rules))
	for _, r := range s.rules {
		out = append(out, r.Rule)
	}
	return out
}

// Fire says which faults meet this call, in the order in which they were set. names says whether the call has a value.
func (s *Set) Fire(operation string, names func(value string) bool) Fired {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fired Fired
	s.rules = slices.DeleteFunc(s.rules, func(r *live) bool {
		if r.Operation != operation && r.Operation != Any || r.Value != "" && !names(r.Value) {
			return false
		}
		r.seen++
		met := r.Nth == r.seen || r.Nth == 0 && (r.Probability == 0 || s.chance.Float64() < r.Probability)
		if met {
			fired = append(fired, r.Rule)
		}
		return met && r.Nth > 0
	})
	return fired
}

// Hold waits until the call is released; its error is that of the context, when the caller went away, or [ErrCleared].
func (s *Set) Hold(ctx context.Context, operation string, phase Effect, since time.Time) error {
	h := &hold{Held{operation, phase, since}, make(chan error, 1)}
	s.change(func() { s.held[h] = struct{}{} })
	defer s.change(func() { delete(s.held, h) })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-h.end:
		return err
	}
}

// Held are the calls that wait, oldest first.
func (s *Set) Held() []Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heldNow()
}

func (s *Set) heldNow() []Held {
	out := make([]Held, 0, len(s.held))
	for h := range s.held {
		out = append(out, h.Held)
	}
	slices.SortFunc(out, func(a, b Held) int { return a.Since.Compare(b.Since) })
	return out
}

// WaitHeld returns once a call of the operation is held.
func (s *Set) WaitHeld(ctx context.Context, operation string) error {
	for {
		s.mu.Lock()
		held, changed := s.heldNow(), s.changed
		s.mu.Unlock()
		if slices.ContainsFunc(held, func(h Held) bool { return h.Operation == operation }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s is held: %w", operation, ctx.Err())
		case <-changed:
		}
	}
}

// Release lets the held calls of an operation go on ([Any]: all) and says how many there were.
func (s *Set) Release(operation string) int { return s.end(operation, nil) }

// Clear drops all faults and ends all held calls with [ErrCleared].
func (s *Set) Clear() {
	s.mu.Lock()
	s.rules = nil
	s.mu.Unlock()
	s.end(Any, ErrCleared)
}

// ClearValue drops the faults that are set for a value. What they hold already stays held.
func (s *Set) ClearValue(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = slices.DeleteFunc(s.rules, func(r *live) bool { return r.Value == value })
}

func (s *Set) end(operation string, err error) (ended int) {
	s.change(func() {
		for h := range s.held {
			if operation == Any || h.Operation == operation {
				h.end <- err
				delete(s.held, h)
				ended++
			}
		}
	})
	return ended
}

func (s *Set) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}
