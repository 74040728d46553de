package clock

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Clock tells the emulator's time. It is safe for concurrent use.
type Clock struct {
	mu      sync.Mutex
	base    time.Time // the emulator's time at anchor
	anchor  time.Time // the machine's time when base was set
	speed   float64   // emulated seconds per real second; 0 stands still
	changed chan struct{}
}

// New is a clock that shows the machine's time and runs as fast.
func New() *Clock {
	now := time.Now()
	return &Clock{base: now, anchor: now, speed: 1, changed: make(chan struct{})}
}

// Manual is a clock that stands still at start until [Clock.Advance].
func Manual(start time.Time) *Clock {
	return &Clock{base: start, anchor: time.Now(), changed: make(chan struct{})}
}

// Now is the emulator's time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	return c.base.Add(time.Duration(float64(time.Since(c.anchor)) * c.speed)).UTC()
}

// Speed is how many emulated seconds pass in a real one.
func (c *Clock) Speed() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.speed
}

// Advance moves the clock forward by d; a negative d is ignored, for time does not run back.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rebase(max(d, 0), c.speed)
}

// SetSpeed makes the clock run at that many emulated seconds per real second; 0 stops it.
func (c *Clock) SetSpeed(speed float64) error {
	if !(speed >= 0 && speed <= 1e6) {
		return fmt.Errorf("set clock speed: %v is not between 0 and 1000000", speed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rebase(0, speed)
	return nil
}

func (c *Clock) rebase(d time.Duration, speed float64) {
	c.base, c.anchor, c.speed = c.now().Add(d), time.Now(), speed
	close(c.changed)
	c.changed = make(chan struct{})
}

// Wait returns when the clock shows until or wake is readable; its error is that of the context.
// A zero until never comes.
func (c *Clock) Wait(ctx context.Context, until time.Time, wake <-chan struct{}) error {
	for {
		c.mu.Lock()
		left, speed, changed := until.Sub(c.now()), c.speed, c.changed
		c.mu.Unlock()
		var due <-chan time.Time
		stop := func() bool { return true }
		if !until.IsZero() {
			if left <= 0 {
				return ctx.Err()
			}
			if speed > 0 {
				t := time.NewTimer(time.Duration(float64(left)/speed) + 1)
				due, stop = t.C, t.Stop
			}
		}
		select {
		case <-ctx.Done():
			stop()
			return ctx.Err()
		case <-wake:
			stop()
			return nil
		case <-changed:
			stop()
		case <-due:
		}
	}
}
