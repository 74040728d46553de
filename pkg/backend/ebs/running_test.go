package ebs_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestChange_WhileAnotherModificationRuns: EC2 answers IncorrectModificationState. That is a definite refusal where the
// running modification does something else: taken for "in progress" by Kubernetes' resizer, a size or a class that the
// user takes back would be applied all the same.
func TestChange_WhileAnotherModificationRuns(t *testing.T) {
	t.Parallel()
	expand := func(c *cloud, id string, gib int64) error {
		ctx, cancel := context.WithTimeout(c.t.Context(), 700*time.Millisecond)
		defer cancel()
		_, err := c.backend().Expand(ctx, id, volume.Range{RequiredBytes: gib * volume.GiB})
		return err
	}
	modify := func(c *cloud, id, iops string) error {
		ctx, cancel := context.WithTimeout(c.t.Context(), 700*time.Millisecond)
		defer cancel()
		return c.backend().Modify(ctx, id, map[string]string{"iops": iops})
	}
	for name, row := range map[string]struct {
		first, second func(c *cloud, id string) error
		kind          fault.Kind
		want          string
	}{
		"a growth beside a change of performance": {
			func(c *cloud, id string) error { return modify(c, id, "4000") }, func(c *cloud, id string) error { return expand(c, id, 20) },
			fault.FailedPrecondition, "still changing the volume to 10 GiB, type gp3, 4000 iops",
		},
		"a change of performance beside a growth": {
			func(c *cloud, id string) error { return expand(c, id, 20) }, func(c *cloud, id string) error { return modify(c, id, "4000") },
			fault.FailedPrecondition, "still changing the volume to 20 GiB, type gp3, 3000 iops",
		},
		"a larger growth": {
			func(c *cloud, id string) error { return expand(c, id, 20) }, func(c *cloud, id string) error { return expand(c, id, 21) },
			fault.FailedPrecondition, "still changing the volume to 20 GiB",
		},
		"other performance": {
			func(c *cloud, id string) error { return modify(c, id, "4000") }, func(c *cloud, id string) error { return modify(c, id, "5000") },
			fault.FailedPrecondition, "4000 iops",
		},
		"the same growth is waited for": {
			func(c *cloud, id string) error { return expand(c, id, 20) }, func(c *cloud, id string) error { return expand(c, id, 20) },
			fault.Pending, "modifying",
		},
		"a growth that the running one covers is waited for": {
			func(c *cloud, id string) error { return expand(c, id, 20) }, func(c *cloud, id string) error { return expand(c, id, 15) },
			fault.Pending, "modifying",
		},
		"one that cannot be read is not final": {
			func(c *cloud, id string) error { // without a wait, whose reads would be counted
				if err := c.client().ModifyVolume(c.t.Context(), id, ec2.Change{IOPS: 4000}); err != nil {
					return err
				}
				return fault.New(fault.Pending, "modify", id, "begun")
			},
			func(c *cloud, id string) error {
				c.fault(emulator.Fault{Operation: "DescribeVolumesModifications", Nth: 2, Effect: "refuse", Code: "UnauthorizedOperation"})
				return expand(c, id, 20)
			},
			fault.Pending, "does not show it yet",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
			id := mustCreateTen(t, c.backend()).Handle
			c.speed(0) // EC2 makes no progress
			if err := row.first(c, id); !fault.Is(err, fault.Pending) {
				t.Fatalf("the first: %v (%v)", err, fault.KindOf(err))
			}
			err := row.second(c, id)
			if !fault.Is(err, row.kind) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v (%v), want %v with %q", err, fault.KindOf(err), row.kind, row.want)
			}
		})
	}
}

// TestChange_TogetherWithOneThatRuns: a growth whose answer was lost is repeated at the moment in which a class is asked for.
// The growth is under way; only the class is refused.
func TestChange_TogetherWithOneThatRuns(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	b := c.backend()
	id := mustCreateTen(t, b).Handle
	c.speed(0)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if _, err := c.backend().Expand(ctx, id, volume.Range{RequiredBytes: 20 * volume.GiB}); !fault.Is(err, fault.Pending) {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := b.Expand(ctx, id, volume.Range{RequiredBytes: 20 * volume.GiB}); !fault.Is(err, fault.Pending) {
			t.Errorf("the growth: %v (%v)", err, fault.KindOf(err))
		}
	})
	both.Go(func() {
		if err := b.Modify(ctx, id, map[string]string{"iops": "4000"}); !fault.Is(err, fault.FailedPrecondition) && !fault.Is(err, fault.Pending) {
			t.Errorf("the class: %v (%v)", err, fault.KindOf(err))
		}
	})
	both.Wait()
}

// TestChange_WhileThisProcessWaitsForAnother: the process that still waits for its own modification must not answer "in progress"
// to another wish either: nothing was asked of EC2 for that one.
func TestChange_WhileThisProcessWaitsForAnother(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		gib  int64
		iops string
		kind fault.Kind
		want string
	}{
		"a larger growth":      {1000, "", fault.FailedPrecondition, "still being changed to 20 GiB, type gp3, 3000 iops"},
		"other performance":    {0, "4000", fault.FailedPrecondition, "the next change is possible when that is completed"},
		"the same growth":      {20, "", fault.Pending, "under way"},
		"one that it includes": {15, "", fault.Pending, "under way"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
			b, id := c.backend(), mustCreateTen(t, c.backend()).Handle
			c.speed(0) // EC2 makes no progress
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error, 1)
			go func() {
				_, err := b.Expand(ctx, id, volume.Range{RequiredBytes: 20 * volume.GiB})
				first <- err
			}()
			for c.State().Volumes[0].Modification != "modifying" {
				<-time.After(time.Millisecond)
			}
			var err error
			if row.gib > 0 {
				_, err = b.Expand(t.Context(), id, volume.Range{RequiredBytes: row.gib * volume.GiB})
			} else {
				err = b.Modify(t.Context(), id, map[string]string{"iops": row.iops})
			}
			if !fault.Is(err, row.kind) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v (%v), want %v with %q", err, fault.KindOf(err), row.kind, row.want)
			}
			cancel()
			if err := <-first; !fault.Is(err, fault.Pending) {
				t.Errorf("the first: %v", err)
			}
		})
	}
}
