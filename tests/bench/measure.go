package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"google.golang.org/grpc"
)

// rounds is how often one volume is taken through its life in one measurement of an AWS whose lots the floor does not
// share: a single draw of its times would say nothing.
const rounds = 3

// once is one measurement of one driver with one number of volumes.
type once struct {
	driver     string
	idle, peak float64 // MiB
	ours       []map[string]sample
	floor      []map[string]sample
}

// measure makes all measurements and puts their medians together.
func measure(ctx context.Context, set settings, progress io.Writer) (*Report, error) {
	report := &Report{}
	for _, n := range set.sizes {
		var all []once
		for i := range set.repeats {
			fmt.Fprintf(progress, "%s, %d volumes, measurement %d of %d\n", set.setting(), n, i+1, set.repeats)
			one, err := set.once(ctx, n, i+1, progress)
			if err != nil {
				return nil, fmt.Errorf("%d volumes: %w", n, err)
			}
			if set.endpoint != "" && len(all)+len(report.Runs) > 0 { // it is idle only before its first call
				one.idle = idleOf(report, all)
			}
			all = append(all, one)
		}
		report.Runs = append(report.Runs, summary(set.setting(), n, all))
	}
	return report, nil
}

func idleOf(r *Report, all []once) float64 {
	if len(all) > 0 {
		return all[0].idle
	}
	return r.Runs[0].IdleRSS
}

// once measures n volumes on a fresh driver, or on the other driver as it is.
func (s settings) once(ctx context.Context, n, seed int, progress io.Writer) (one once, err error) {
	t, err := open(ctx, s, seed)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	if one.driver, err = t.name(ctx); err != nil {
		return one, err
	}
	if is, err := t.aws.profile(ctx); err != nil || is != s.setting() {
		return one, errors.Join(fmt.Errorf("the emulator must run with --profile=%s, not %q", s.setting(), is), err)
	}
	idle := make(chan error, 1)
	go func() { idle <- one.rest(ctx, t) }()
	times := 1
	if n == 1 && s.endpoint != "" {
		times = rounds
	}
	if t.floor != nil { // the driver rests meanwhile
		one.floor, err = s.floorOf(ctx, t.floor, n, times, progress)
	}
	if err = errors.Join(err, <-idle); err != nil {
		return one, err
	}
	if one.ours, err = s.lives(ctx, t.conn, t.aws, n, times, "driver", progress); err != nil {
		return one, err
	}
	one.peak, err = t.memory("VmHWM")
	return one, err
}

// rest reads the idle memory.
func (o *once) rest(ctx context.Context, t *target) error {
	if t.pid == 0 {
		return nil
	}
	if err := pause(ctx, idleAfter); err != nil {
		return err
	}
	var err error
	o.idle, err = t.memory("VmRSS")
	return err
}

func (s settings) floorOf(ctx context.Context, side *awsSide, n, times int, progress io.Writer) ([]map[string]sample, error) {
	dir, err := os.MkdirTemp("", "bench-floor-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it holds at most a socket
	conn, stop, err := startFloor(ctx, side, dir)
	if err != nil {
		return nil, err
	}
	defer stop()
	return s.lives(ctx, conn, side, n, times, "floor", progress)
}

// lives takes fleets of n volumes through their life, one after the other.
func (s settings) lives(ctx context.Context, conn *grpc.ClientConn, side *awsSide, n, times int, who string, progress io.Writer) (all []map[string]sample, err error) {
	show := func(op string, seen sample) {
		calls, throttled := seen.asked()
		fmt.Fprintf(progress, "  %-6s %-13s p50 %7.3f s  p99 %7.3f s  %5d AWS calls", who, op, seen.percentile(50), seen.percentile(99), calls)
		if throttled > 0 {
			fmt.Fprintf(progress, "  %d throttled", throttled)
		}
		if seen.errors > 0 {
			fmt.Fprintf(progress, "  %d ERRORS, the last: %s", seen.errors, seen.why)
		}
		fmt.Fprintln(progress)
	}
	for range times {
		f, err := newFleet(ctx, conn, side, n, fmt.Sprintf("bench-%08x", rand.Uint32()), s.limit(n))
		if err != nil {
			return nil, err
		}
		seen, err := f.live(ctx, operations(s.throttled), show)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", who, err)
		}
		all = append(all, seen)
	}
	return all, nil
}
