package batch

import (
	"context"
	"sync"
	"time"
)

// tick is the finest rhythm of asking. All pollers of the process ask on ticks, so
// that their questions meet in one batch.
const tick = 125 * time.Millisecond

// Poll asks until done, an error, or the end of ctx, whose error it then returns.
// It asks at once, and then on ticks that all pollers of the process share. The ticks
// widen with the age of the wait: 125 ms at first, 2 s after a minute.
func Poll(ctx context.Context, ask func(context.Context) (done bool, err error)) error {
	start := time.Now()
	for {
		done, err := ask(ctx)
		if done || err != nil {
			return err
		}
		if err := Pause(ctx, untilTick(time.Now(), interval(time.Since(start)))); err != nil {
			return err
		}
	}
}

// Tempo is how fast a cloud is: what the waits of several kinds have in common.
type Tempo struct {
	mu     sync.Mutex
	probed bool // somebody asked at once
	slow   bool // and what was waited for was not there
}

// NewTempo makes the Tempo of a cloud that nothing is known of.
func NewTempo() *Tempo { return &Tempo{} }

// Rhythm makes the Rhythm of one kind of wait. usual is how long such a wait takes
// at least, as far as anybody knows; what is seen replaces it.
func (t *Tempo) Rhythm(usual time.Duration) *Rhythm { return &Rhythm{tempo: t, usual: usual} }

// atOnce reports whether asking at once is worth a call: where the cloud was never
// asked so, or answered well.
func (t *Tempo) atOnce() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slow || t.probed {
		return !t.slow && t.probed
	}
	t.probed = true
	return true
}

func (t *Tempo) found(slow bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slow = slow
}

// Rhythm times the questions of one kind of wait. It remembers the shortest wait of the
// last minutes and first asks shortly before that long, so that few questions are asked
// in vain and none late. It is safe for concurrent use.
type Rhythm struct {
	tempo *Tempo

	mu               sync.Mutex
	usual            time.Duration
	waits            int           // seen at all
	earlier, current time.Duration // the shortest of two spans of time
	began            time.Time     // the current one
}

// memory is a span of time in which the shortest wait is remembered; it is forgotten
// after two of them with longer ones. Not a number of waits: of many that begin at one
// time the last that end are the longest.
const memory = time.Minute

// enough is how many waits say that a cloud is slower than usual: the next wait can be
// shorter than the only one that was seen.
const enough = 8

// Poll is as the function Poll, but it asks first when the wait may be over.
func (r *Rhythm) Poll(ctx context.Context, ask func(context.Context) (done bool, err error)) error {
	start := time.Now()
	if r.tempo.atOnce() {
		done, err := ask(ctx)
		r.tempo.found(!done)
		if done || err != nil {
			return err
		}
	}
	first := r.first()
	if deadline, ok := ctx.Deadline(); ok {
		first = min(first, time.Until(deadline)/2) // rather early than never
	}
	if err := Pause(ctx, first+untilTick(time.Now().Add(first), tick)); err != nil {
		return err
	}
	asked := 0
	err := Poll(ctx, func(ctx context.Context) (bool, error) {
		asked++
		return ask(ctx)
	})
	if err == nil {
		r.learn(time.Since(start), asked == 1)
	}
	return err
}

// first is how long after its start a wait is first asked about.
func (r *Rhythm) first() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waits == 0 {
		return r.usual
	}
	first := max(0, min(r.earlier, r.current)-tick/2)
	if r.waits < enough {
		return min(first, r.usual)
	}
	return first
}

// learn notes how long a wait took. What was over at the first question may have
// been over for long: then the next ones are asked about sooner.
func (r *Rhythm) learn(took time.Duration, early bool) {
	if early {
		took -= tick
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch now := time.Now(); {
	case r.waits == 0:
		r.earlier, r.current, r.began = took, took, now
	case now.Sub(r.began) > memory:
		r.earlier, r.current, r.began = r.current, took, now
	}
	r.current = min(r.current, took)
	r.waits++
}

// Pause waits for d or for the end of ctx, whose error it then returns.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// interval is the time between two questions, by how long ago the first was asked.
func interval(age time.Duration) time.Duration {
	switch {
	case age < 3*time.Second:
		return tick
	case age < 10*time.Second:
		return 2 * tick
	case age < time.Minute:
		return time.Second
	default:
		return 2 * time.Second
	}
}

// untilTick returns the time from now to the next multiple of every.
func untilTick(now time.Time, every time.Duration) time.Duration {
	return every - time.Duration(now.UnixNano()%int64(every))
}
