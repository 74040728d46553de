package batch

import (
	"context"
	"time"
)

// Poll asks until done, an error, or the end of ctx, whose error it then returns.
// It asks at once, and then on the ticks of a grid that all pollers of the process
// share, so that their questions meet in one batch. The grid widens with the age
// of the wait: 100 ms at first, 2 s after a minute.
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

// Pause waits for d or for the end of ctx, whose error it then returns.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func interval(age time.Duration) time.Duration {
	switch {
	case age < 3*time.Second:
		return 100 * time.Millisecond
	case age < 10*time.Second:
		return 250 * time.Millisecond
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
