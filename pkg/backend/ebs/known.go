package ebs

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// EC2 does not know a fresh resource everywhere at once, and may show what is no more.
// What is here tells the one from the other, and waits where waiting helps.

// absence is a proof by id, such as API.VolumeAbsent.
type absence func(ctx context.Context, id string) (bool, error)

// volume reads a volume that must exist; fault.NotFound only with proof.
func (b *Backend) volume(ctx context.Context, op, handle string) (ec2.Volume, error) {
	id, err := volumeID(op, handle)
	if err != nil {
		return ec2.Volume{}, err
	}
	return mustExist(ctx, b, op, "volume", id, b.api.Volume, b.api.VolumeAbsent)
}

// mustExist reads a resource. Where EC2 does not show it, its absence is proven, or the
// call waits until it is shown.
func mustExist[T any](ctx context.Context, b *Backend, op, what, id string, read func(context.Context, string) (T, bool, error), absent absence) (v T, err error) {
	var proven time.Time // that it exists
	err = batch.Poll(ctx, func(ctx context.Context) (found bool, err error) {
		v, found, err = read(ctx, id)
		if err != nil || found || time.Since(proven) < b.api.AbsenceInterval() {
			return found, err
		}
		gone, err := absent(ctx, id)
		if err == nil && gone {
			err = fault.New(fault.NotFound, op, id, "the %s does not exist", what)
		}
		proven = time.Now()
		return false, err
	})
	if err != nil && ctx.Err() != nil && !proven.IsZero() {
		return v, notVisibleYet(op, id)
	}
	return v, fault.Wrap(op, id, err)
}

// notVisibleYet is the answer where EC2's answers about one resource disagree for longer
// than the caller waits.
func notVisibleYet(op, id string) error {
	return fault.New(fault.Pending, op, id, "EC2 does not show it everywhere yet; ask again")
}

// thing is a resource that a call is about: how EC2 denies it, and what proves its absence.
type thing struct {
	id, denial string
	absent     absence
}

func (b *Backend) aVolume(id string) thing {
	return thing{id, "InvalidVolume.NotFound", b.api.VolumeAbsent}
}

func (b *Backend) anInstance(id string) thing {
	return thing{id, "InvalidInstanceID.", b.api.InstanceAbsent}
}

func (b *Backend) aSnapshot(id string) thing {
	return thing{id, "InvalidSnapshot.NotFound", b.api.SnapshotAbsent}
}

// untilKnown repeats a call while EC2 denies what exists. gone is the id of what is
// proven not to exist; the error is then fault.NotFound.
func untilKnown(ctx context.Context, op string, call func(context.Context) error, things ...thing) (gone string, err error) {
	for {
		err := call(ctx)
		i := slices.IndexFunc(things, func(t thing) bool { return strings.HasPrefix(fault.CodeOf(err), t.denial) })
		if err == nil || i < 0 {
			return "", err
		}
		t := things[i]
		absent, err := t.absent(ctx, t.id)
		switch {
		case err != nil:
			return "", fault.Wrap(op, t.id, err)
		case absent:
			return t.id, fault.New(fault.NotFound, op, t.id, "EC2 does not know it (any more)")
		case batch.Pause(ctx, 200*time.Millisecond) != nil:
			return "", notVisibleYet(op, t.id)
		}
	}
}

// end repeats a call that ends something until EC2 knows what it is about. What is
// proven gone needs no end.
func end(ctx context.Context, op string, t thing, call func(context.Context, string) error) error {
	gone, err := untilKnown(ctx, op, func(ctx context.Context) error { return call(ctx, t.id) }, t)
	if gone != "" {
		return nil
	}
	return fault.Wrap(op, t.id, err)
}
