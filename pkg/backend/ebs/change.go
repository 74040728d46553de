package ebs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// siblingWindow is how long a change waits for one that comes at the same moment:
// Kubernetes' resizer asks for a new size and for a new class in two calls, and EC2
// would refuse the second until the first is completed, which can take hours.
const siblingWindow = 60 * time.Millisecond

// changes joins changes of one volume that coincide.
type changes struct {
	mu      sync.Mutex
	pending map[string]*pendingChange
	failed  map[string]ec2.Modification // the last one of a volume that this process saw fail
}

type pendingChange struct {
	want   ec2.Change
	closed bool // asked for; nothing can join any more
	done   chan struct{}
	// What follows is there once done is closed.
	together bool // another change has joined
	result   ec2.Volume
	err      error
}

func newChanges() *changes {
	return &changes{pending: map[string]*pendingChange{}, failed: map[string]ec2.Modification{}}
}

func (c *changes) noteFailed(m ec2.Modification) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bound(c.failed)
	c.failed[m.Volume] = m
}

func (c *changes) failedLast(id string) (ec2.Modification, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.failed[id]
	return m, ok
}

// join adds a change to the pending one of the volume. owner says that the caller
// must carry it out. Where it contradicts what is pending, or comes too late, p is nil, and pending is what is pending.
func (c *changes) join(id string, want ec2.Change) (p *pendingChange, owner bool, pending ec2.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p = c.pending[id]
	if p == nil {
		p = &pendingChange{want: want, done: make(chan struct{})}
		c.pending[id] = p
		return p, true, want
	}
	merged, fits := merge(p.want, want)
	if p.closed || !fits {
		return nil, false, p.want
	}
	p.want = merged
	return p, false, merged
}

// closed ends the joining and returns what is to be asked for.
func (c *changes) close(p *pendingChange) ec2.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.closed = true
	return p.want
}

func (c *changes) finish(id string, p *pendingChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
	close(p.done)
}

// merge joins two changes; fits is false where they contradict each other.
func merge(a, b ec2.Change) (out ec2.Change, fits bool) {
	fits = true
	out = ec2.Change{
		Type: pick(a.Type, b.Type, &fits), SizeGiB: pick(a.SizeGiB, b.SizeGiB, &fits),
		IOPS: pick(a.IOPS, b.IOPS, &fits), Throughput: pick(a.Throughput, b.Throughput, &fits),
	}
	return out, fits
}

func pick[T comparable](a, b T, fits *bool) T {
	var none T
	switch {
	case a == none:
		return b
	case b != none && a != b:
		*fits = false
	}
	return a
}

// change asks EC2 for a new shape and waits until it is effective. Changes of one
// volume that coincide become one modification.
func (b *Backend) change(ctx context.Context, op string, v ec2.Volume, want ec2.Change) (ec2.Volume, error) {
	p, owner, pending := b.changes.join(v.ID, want)
	switch {
	case p == nil && covers(pending, want):
		return v, fault.New(fault.Pending, op, v.ID, "the change is under way; retry")
	case p == nil: // definite, as in otherRuns: nothing was asked of EC2 for this one
		return v, fault.New(fault.FailedPrecondition, op, v.ID,
			"the volume is still being changed to %s; the next change is possible when that is completed", describeTarget(over(shapeOf(v), pending)))
	}
	if owner {
		b.lead(ctx, op, v, p, want)
	} else {
		select {
		case <-p.done:
		case <-ctx.Done():
			return v, fault.New(fault.Pending, op, v.ID, "the change is under way together with another; ask again")
		}
	}
	if p.together && final(p.err) {
		return b.carryOut(ctx, op, v, want)
	}
	return p.result, fault.Wrap(op, v.ID, p.err)
}

// lead carries a change out, with those that join it.
func (b *Backend) lead(ctx context.Context, op string, v ec2.Volume, p *pendingChange, own ec2.Change) {
	defer b.changes.finish(v.ID, p)
	_ = batch.Pause(ctx, siblingWindow) // an ended context is told by the next call
	all := b.changes.close(p)
	p.together = all != own
	p.result, p.err = b.carryOut(ctx, op, v, all)
}

// final reports whether a refusal stays what it is. Of changes that were refused together each is then asked for by
// itself: a class that EC2 does not allow must not make a growth impossible for ever, and a growth that runs already is waited for.
func final(err error) bool {
	return slices.Contains([]fault.Kind{fault.Invalid, fault.OutOfRange, fault.Limit, fault.FailedPrecondition}, fault.KindOf(err))
}

// carryOut calls ModifyVolume, or waits for the modification that does the same.
func (b *Backend) carryOut(ctx context.Context, op string, v ec2.Volume, want ec2.Change) (ec2.Volume, error) {
	newest, found, err := b.newest(ctx, v.ID)
	if err != nil {
		return v, fault.Wrap(op, v.ID, err)
	}
	known := recall(v.Tags[TagModifications], newest, found, time.Now())
	if underWay := found && running(newest) && covers(newest.Target, want); !underWay { // else an earlier call's answer was lost
		if err := b.mayRequest(ctx, op, v, want, known); err != nil {
			return v, err
		}
		done, err := b.request(ctx, op, v, want, known)
		if done.ID != "" || err != nil {
			return done, err
		}
	}
	now, err := b.awaitChange(ctx, op, v.ID, want)
	if failed := (failedModification{}); errors.As(err, &failed) {
		b.changes.noteFailed(failed.Modification)
		known = recall(known.tag(), failed.Modification, true, time.Now())
		if until, last, held := known.heldUntil(want); held {
			return v, heldOff(op, v.ID, last, until, failed.StatusMessage)
		}
	}
	return now, err
}

// request calls ModifyVolume. The volume is not empty where it has the wanted shape already.
func (b *Backend) request(ctx context.Context, op string, v ec2.Volume, want ec2.Change, known attempts) (ec2.Volume, error) {
	_, err := untilKnown(ctx, op, func(ctx context.Context) error { return b.api.ModifyVolume(ctx, v.ID, want) }, b.aVolume(v.ID))
	switch code := fault.CodeOf(err); {
	case code == "IncorrectModificationState": // one runs already, perhaps by a call whose answer was lost
		err = b.otherRuns(ctx, op, v.ID, want, err)
	case code == "VolumeModificationRateExceeded" && len(known) > 0:
		err = fault.Explain(err, "by what is known of the last 24 hours, the next change is possible after "+stamp(known.freeAt())+" at the latest")
	case err != nil && strings.Contains(err.Error(), "smaller than existing size"):
		return b.grownByOther(ctx, op, v.ID, want)
	}
	return ec2.Volume{}, fault.Wrap(op, v.ID, err)
}

// newest is the newest modification that EC2 shows, or that this process saw fail: EC2 may still show the time before.
func (b *Backend) newest(ctx context.Context, id string) (ec2.Modification, bool, error) {
	m, found, err := b.api.Modification(ctx, id)
	if seen, ok := b.changes.failedLast(id); err == nil && ok && (!found || seen.Started.After(m.Started)) {
		return seen, true, nil
	}
	return m, found, err
}

func running(m ec2.Modification) bool { return m.State == "modifying" || m.State == "optimizing" }

// otherRuns is nil where the modification for which EC2 refused this one does what is wanted. Where it does something else,
// the refusal is definite: a caller that took it for work in progress would not follow a user who takes the wish back.
func (b *Backend) otherRuns(ctx context.Context, op, id string, want ec2.Change, refusal error) error {
	m, found, err := b.api.Modification(ctx, id)
	switch {
	case err != nil || !found || !running(m):
		return fault.New(fault.Pending, op, id, "EC2 still carries out another modification and does not show it yet; retry: %v", refusal)
	case covers(m.Target, want):
		return nil
	}
	f := fault.New(fault.FailedPrecondition, op, id,
		"EC2 is still changing the volume to %s (%s since %s) and takes the next change when that is completed",
		describeTarget(m.Target), m.State, stamp(m.Started))
	f.Err = refusal
	return f
}

// describeTarget names what a modification makes of a volume.
func describeTarget(c ec2.Change) string {
	return fmt.Sprintf("%d GiB, %s", c.SizeGiB, describeShape(c))
}

// covers reports whether a shape has everything that was wanted.
func covers(is, want ec2.Change) bool {
	return is.SizeGiB >= want.SizeGiB && (want.Type == "" || is.Type == want.Type) &&
		(want.IOPS == 0 || is.IOPS == want.IOPS) && (want.Throughput == 0 || is.Throughput == want.Throughput)
}

// over is a shape with what a change wants of it.
func over(is, want ec2.Change) ec2.Change {
	return ec2.Change{
		Type: cmp.Or(want.Type, is.Type), SizeGiB: cmp.Or(want.SizeGiB, is.SizeGiB),
		IOPS: cmp.Or(want.IOPS, is.IOPS), Throughput: cmp.Or(want.Throughput, is.Throughput),
	}
}

// grownByOther waits until EC2 shows the size that another process has given the volume.
func (b *Backend) grownByOther(ctx context.Context, op, id string, want ec2.Change) (v ec2.Volume, err error) {
	err = batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		v, err = b.volume(ctx, op, id)
		return v.SizeGiB > want.SizeGiB, err
	})
	if err != nil && ctx.Err() != nil || err == nil && !covers(shapeOf(v), want) {
		return v, notVisibleYet(op, id)
	}
	return v, err
}

func shapeOf(v ec2.Volume) ec2.Change {
	return ec2.Change{Type: v.Type, SizeGiB: v.SizeGiB, IOPS: v.IOPS, Throughput: v.Throughput}
}

// awaitChange waits until the modification is effective and DescribeVolumes shows it. That it failed is believed once
// EC2 must show it: an earlier one of the same target may have failed, and EC2 shows the past for a moment.
func (b *Backend) awaitChange(ctx context.Context, op, id string, want ec2.Change) (ec2.Volume, error) {
	last := ec2.Modification{State: "modifying"} // EC2 was asked for it
	asked := time.Now()
	var v ec2.Volume
	err := b.waits.modified.Poll(ctx, func(ctx context.Context) (bool, error) {
		m, found, err := b.api.Modification(ctx, id)
		if fault.Is(err, fault.Unavailable) || err == nil && !found {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		last = m
		if m.State == modificationFailed && covers(m.Target, want) && time.Since(asked) >= b.api.AbsenceInterval() {
			f := fault.New(fault.Internal, op, id, "EC2 could not modify the volume, which is as it was: %s", m.StatusMessage)
			f.Err = failedModification{m}
			return false, f
		}
		if !m.Effective() || !covers(m.Target, want) {
			return false, nil
		}
		now, found, err := b.api.Volume(ctx, id)
		if err != nil && !fault.Is(err, fault.Unavailable) {
			return false, err
		}
		if found {
			v = now
		}
		return found && covers(shapeOf(v), want), nil
	})
	if err != nil && ctx.Err() != nil {
		return v, fault.New(fault.Pending, op, id, "EC2 still shows the modification as %q; ask again", last.State)
	}
	return v, fault.Wrap(op, id, err)
}
