package ebs

import (
	"testing"
	"time"
)

func TestDetaches(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	check := func(t *testing.T, d *detaches, now time.Time, count int, oldest time.Duration) {
		t.Helper()
		if n, age := d.read(now); n != count || age != oldest {
			t.Errorf("%d pending, the oldest for %s; want %d and %s", n, age, count, oldest)
		}
	}
	t.Run("a repeated try is as old as the first one", func(t *testing.T) {
		d := newDetaches()
		d.begin("vol-1", "i-1", at(0))
		d.begin("vol-2", "i-1", at(5))
		d.begin("vol-1", "i-1", at(10))
		check(t, d, at(11), 2, 11*time.Minute)
		d.end("vol-1", "i-1")
		check(t, d, at(11), 1, 6*time.Minute)
	})
	t.Run("one that nobody waits for is forgotten, and then begins afresh", func(t *testing.T) {
		d := newDetaches()
		d.begin("vol-1", "i-1", at(0))
		check(t, d, at(16), 0, 0)
		d.begin("vol-1", "i-1", at(0))
		d.begin("vol-1", "i-1", at(20))
		check(t, d, at(21), 1, time.Minute)
	})
}
