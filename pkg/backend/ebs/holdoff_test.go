package ebs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// repeated sends the same change many times, from two controllers in turn, as a sidecar does that changes its leader, and
// checks that each answer is a final one with the time until when.
func (c *cloud) repeated(times int, change func(*ebs.Backend) error) {
	c.t.Helper()
	controllers := [2]*ebs.Backend{c.backend(), c.backend()}
	for i := range times {
		err := change(controllers[i%2])
		if !fault.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), "is not requested again before 20") {
			c.t.Fatalf("repetition %d: %v (%v)", i, err, fault.KindOf(err))
		}
	}
}

func grow(t *testing.T, id string, gib int64) func(*ebs.Backend) error {
	return func(b *ebs.Backend) error {
		_, err := b.Expand(t.Context(), id, volume.Range{RequiredBytes: gib * volume.GiB})
		return err
	}
}

var failsAlways = emulator.Fault{Operation: "ModifyVolume", Effect: faults.FailLater}

// TestChange_AFailedOneDoesNotUseUpTheDay: each repetition of a growth or a change that EC2 ends as "failed" sent another
// ModifyVolume, and the four of the day were gone after 12 s.
func TestChange_AFailedOneDoesNotUseUpTheDay(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T, string) func(*ebs.Backend) error{
		"expand": func(t *testing.T, id string) func(*ebs.Backend) error { return grow(t, id, 20) },
		"modify": func(t *testing.T, id string) func(*ebs.Backend) error {
			return func(b *ebs.Backend) error { return b.Modify(t.Context(), id, map[string]string{"iops": "4000"}) }
		},
		"type": func(t *testing.T, id string) func(*ebs.Backend) error {
			return func(b *ebs.Backend) error { return b.Modify(t.Context(), id, map[string]string{"type": "gp2"}) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := instant(t)
			id := mustCreateTen(t, c.backend()).Handle
			c.fault(failsAlways)
			c.repeated(20, change(t, id))
			if n := c.count("ModifyVolume"); n != 1 || c.shapeOf(id) != "gp3 10 3000" {
				t.Errorf("%d calls for a change that fails; the volume is %s", n, c.shapeOf(id))
			}
			c.ClearFaults()
			if err := grow(t, id, 15)(c.backend()); err != nil || c.shapeOf(id) != "gp3 15 3000" {
				t.Errorf("another size: %v; the volume is %s", err, c.shapeOf(id))
			}
		})
	}
	t.Run("while EC2 shows the past", func(t *testing.T) {
		t.Parallel()
		for seed := range int64(3) {
			c := lagging(t, seed)
			b := c.backend()
			id := mustCreateTen(t, b).Handle
			c.fault(failsAlways)
			for range 5 {
				if err := grow(t, id, 20)(b); !fault.Is(err, fault.FailedPrecondition) {
					t.Errorf("%v (%v)", err, fault.KindOf(err))
				}
			}
			if n := c.Calls()["ModifyVolume"].OK; n != 1 { // others were refused: the volume is not known everywhere yet
				t.Errorf("seed %d: %d modifications", seed, n)
			}
		}
	})
	t.Run("a growth and a class that fail in turn", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := mustCreateTen(t, c.backend()).Handle
		c.fault(failsAlways)
		b := c.backend()
		for range 10 {
			_ = grow(t, id, 20)(b)
			_ = b.Modify(t.Context(), id, map[string]string{"iops": "4000"})
		}
		if n := c.count("ModifyVolume"); n != 2 {
			t.Errorf("%d calls for two changes", n)
		}
	})
}

// TestChange_TheLastOfTheDayIsTheUsers: repetitions after the hold-off leave one modification of the day, also beside
// changes that succeeded and with controllers that know nothing of each other.
func TestChange_TheLastOfTheDayIsTheUsers(t *testing.T) {
	t.Parallel()
	for succeeded := range 4 {
		t.Run(fmt.Sprint("after ", succeeded, " that succeeded"), func(t *testing.T) {
			t.Parallel()
			clk := clock.Manual(time.Now().Add(-20 * time.Hour)) // whatever fails, its hold-off is over
			c := newCloud(t, emulator.Options{Clock: clk}, 50*time.Millisecond)
			id := mustCreateTen(t, c.backend()).Handle
			for i := range succeeded {
				if err := grow(t, id, int64(11+i))(c.backend()); err != nil {
					t.Fatal(err)
				}
				clk.Advance(time.Minute)
			}
			c.fault(failsAlways)
			want := max(3, succeeded+1) // the first of a target is the user's own
			for range 12 {
				_ = grow(t, id, 20)(c.backend())
				clk.Advance(time.Minute)
			}
			if n := c.count("ModifyVolume"); n != want {
				t.Errorf("%d calls, want %d", n, want)
			}
			c.repeated(4, grow(t, id, 20))
			c.ClearFaults()
			err := grow(t, id, 16)(c.backend())
			if succeeded < 3 && err != nil || succeeded == 3 && (!fault.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), "at the latest")) {
				t.Errorf("the user's: %v (%v)", err, fault.KindOf(err))
			}
		})
	}
	t.Run("not where the volume cannot say so", func(t *testing.T) {
		t.Parallel()
		clk := clock.Manual(time.Now().Add(-20 * time.Hour))
		c := newCloud(t, emulator.Options{Clock: clk}, 50*time.Millisecond)
		id := mustCreateTen(t, c.backend()).Handle
		c.fault(failsAlways, emulator.Fault{Operation: "CreateTags", Effect: faults.Refuse, Code: "UnauthorizedOperation"})
		for range 3 {
			if err := grow(t, id, 20)(c.backend()); err == nil {
				t.Error("it grew")
			}
			clk.Advance(time.Minute)
		}
		if n := c.count("ModifyVolume"); n != 1 {
			t.Errorf("%d calls", n)
		}
		if err := grow(t, id, 21)(c.backend()); !fault.Is(err, fault.FailedPrecondition) || c.count("ModifyVolume") != 2 {
			t.Errorf("another size: %v", err)
		}
	})
}
