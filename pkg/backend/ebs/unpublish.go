package ebs

import (
	"context"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

const opUnpublish = "unpublish"

// Unpublish detaches a volume from an instance and waits until EC2 shows no trace of
// the attachment. Force is used only where the instance is stopped or terminated,
// so that nothing can be lost by it. It succeeds where volume or instance are
// proven gone. An empty node means every instance that holds the volume.
func (b *Backend) Unpublish(ctx context.Context, handle, node string) error {
	v, err := b.volume(ctx, opUnpublish, handle)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if node != "" {
		return b.detach(ctx, v, node)
	}
	return b.detachAll(ctx, v)
}

// detachAll detaches from every instance. Which ones hold the volume only
// DescribeVolumes tells, and it may show the past: it is believed when it has shown
// the one attachment that there can be, or once it must show everything.
func (b *Backend) detachAll(ctx context.Context, v ec2.Volume) error {
	for looked := time.Now(); ; {
		for _, a := range v.Attachments {
			if err := b.detach(ctx, v, a.Instance); err != nil {
				return err
			}
		}
		if len(v.Attachments) > 0 && !v.MultiAttach || time.Since(looked) > b.api.AbsenceInterval() {
			return nil
		}
		if batch.Pause(ctx, b.api.AbsenceInterval()) != nil {
			return notVisibleYet(opUnpublish, v.ID)
		}
		var err error
		if v, err = b.volume(ctx, opUnpublish, v.ID); err != nil {
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		}
	}
}

// detach always asks EC2, also where DescribeVolumes shows no attachment: that
// answer may be older than the attachment.
func (b *Backend) detach(ctx context.Context, v ec2.Volume, node string) error {
	if !instanceID.MatchString(node) {
		return nil // no instance can have this id, so none holds the volume
	}
	a, seen := v.On(node)
	if seen && (a.State == ec2.Detaching || a.State == ec2.Busy) {
		return b.awaitDetached(ctx, opUnpublish, v.ID, node, true)
	}
	gone, err := untilKnown(ctx, opUnpublish, func(ctx context.Context) error { return b.api.DetachVolume(ctx, v.ID, node, false) },
		b.aVolume(v.ID), b.anInstance(node))
	switch code := fault.CodeOf(err); {
	case err == nil:
		return b.awaitDetached(ctx, opUnpublish, v.ID, node, seen)
	case code == "IncorrectState", code == "InvalidAttachment.NotFound":
		// Not attached, or detaching already: both views together tell which.
		return b.awaitDetached(ctx, opUnpublish, v.ID, node, true)
	case gone != "":
		b.devices.forget(gone)
		return nil
	default:
		return fault.Wrap(opUnpublish, v.ID, err)
	}
}

// awaitDetached waits until neither DescribeVolumes nor DescribeInstances shows the
// attachment. seen says that it was shown, or that EC2 itself denied it; otherwise
// its absence counts only after the interval in which EC2 may show the past.
func (b *Backend) awaitDetached(ctx context.Context, op, id, node string, seen bool) error {
	start, state, force := time.Now(), ec2.Detaching, lastResort{} // EC2 was asked for it
	b.detaches.begin(id, node, start)
	err := b.waits.detached.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, err := b.attachmentState(ctx, id, node)
		if fault.Is(err, fault.Unavailable) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		state = now
		seen = seen || state != ""
		if state == "" {
			return seen || time.Since(start) > b.api.AbsenceInterval(), nil
		}
		if time.Since(start) > b.api.AbsenceInterval() {
			err = b.forceWhereDown(ctx, id, node, &force)
		}
		return false, err
	})
	if err == nil {
		b.detaches.end(id, node)
	}
	if err != nil && ctx.Err() != nil && state == "" {
		return notVisibleYet(op, id)
	}
	if err != nil && ctx.Err() != nil {
		return fault.New(fault.Pending, op, id, "EC2 still shows the attachment to %s as %q; "+
			"if this lasts, the node holds the device: unmount it there, or stop the instance", node, state)
	}
	return fault.Wrap(op, id, err)
}

// lastResort is what a wait knows about detaching by force.
type lastResort struct {
	downSince time.Time // since when every look has shown the instance down
	done      bool
}

// forceWhereDown detaches by force from an instance on which nothing runs: its system
// will never let go of the device by itself. One look is not enough, since EC2 may
// show the past: the instance may be starting again.
func (b *Backend) forceWhereDown(ctx context.Context, id, node string, f *lastResort) error {
	inst, found, err := b.api.Instance(ctx, node)
	if err != nil || !found || !inst.Down() {
		f.downSince = time.Time{}
		return nil //nolint:nilerr // asked again at the next poll
	}
	if f.downSince.IsZero() {
		f.downSince = time.Now()
	}
	if f.done || time.Since(f.downSince) <= b.api.AbsenceInterval() {
		return nil
	}
	f.done = true
	err = b.api.DetachVolume(ctx, id, node, true)
	if fault.Is(err, fault.InUse) || fault.Is(err, fault.NotFound) {
		err = nil // it has ended in the meantime
	}
	return fault.Wrap("force-detach from "+node, id, err)
}

// attachmentState returns what either view shows of an attachment; "" where neither
// shows it, or the volume is proven gone.
func (b *Backend) attachmentState(ctx context.Context, id, node string) (string, error) {
	v, found, err := b.api.Volume(ctx, id)
	if err != nil {
		return "", err
	}
	if !found {
		absent, err := b.api.VolumeAbsent(ctx, id)
		if err != nil || absent {
			return "", err
		}
		return "unknown", nil
	}
	if a, on := v.On(node); on {
		return a.State, nil
	}
	inst, found, err := b.api.Instance(ctx, node)
	if err != nil || !found || inst.Gone() {
		return "", err
	}
	a, _ := inst.Has(id)
	return a.State, nil
}
