package clock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
)

func TestClock_Wait(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := clock.Manual(begin)
	wait := func(ctx context.Context, until time.Time, wake <-chan struct{}) <-chan error {
		done := make(chan error, 1)
		go func() { done <- c.Wait(ctx, until, wake) }()
		return done
	}
	hour := wait(t.Context(), begin.Add(time.Hour), nil)
	c.Advance(59 * time.Minute)
	select {
	case err := <-hour:
		t.Fatalf("it returned too early: %v", err)
	default:
	}
	c.Advance(time.Minute)
	if err := <-hour; err != nil {
		t.Error(err)
	}
	if err := <-wait(t.Context(), begin, nil); err != nil {
		t.Errorf("a time that has passed: %v", err)
	}
	wake := make(chan struct{}, 1)
	never := wait(t.Context(), time.Time{}, wake)
	c.Advance(1000 * time.Hour)
	wake <- struct{}{}
	if err := <-never; err != nil {
		t.Errorf("woken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := wait(ctx, time.Time{}, nil)
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	fast := wait(t.Context(), c.Now().Add(time.Hour), nil)
	if err := c.SetSpeed(1e6); err != nil {
		t.Fatal(err)
	}
	if err := <-fast; err != nil {
		t.Errorf("at speed: %v", err)
	}
}

func TestClock_neverRunsBack(t *testing.T) {
	c := clock.New()
	before := c.Now()
	c.Advance(-time.Hour)
	if err := c.SetSpeed(0); err != nil {
		t.Fatal(err)
	}
	if c.Now().Before(before) {
		t.Error("time ran back")
	}
	if stands := c.Now(); !c.Now().Equal(stands) {
		t.Error("a stopped clock runs")
	}
	if c.SetSpeed(-1) == nil {
		t.Error("a clock ran back")
	}
}
