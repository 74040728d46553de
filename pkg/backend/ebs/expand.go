package ebs

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opExpand = "expand"

// Expand grows a volume and waits until its new size can be used. A volume that is
// large enough is left alone.
func (b *Backend) Expand(ctx context.Context, handle string, size volume.Range) (int64, error) {
	v, err := b.volume(ctx, opExpand, handle)
	if err != nil {
		return 0, err
	}
	if size.RequiredBytes <= 0 {
		return 0, fault.New(fault.Invalid, opExpand, v.ID, "capacity_range.required_bytes must be given")
	}
	target, err := size.SizeGiB(v.SizeGiB)
	if err != nil {
		return 0, fault.New(fault.OutOfRange, opExpand, v.ID, "%v", err)
	}
	if size.LimitBytes > 0 && v.SizeGiB*volume.GiB > size.LimitBytes {
		return 0, fault.New(fault.OutOfRange, opExpand, v.ID, "the volume has %d GiB already, more than limit_bytes %d; volumes never shrink", v.SizeGiB, size.LimitBytes)
	}
	if l, known := typeLimits[v.Type]; known && target > l.maxGiB {
		return 0, fault.New(fault.OutOfRange, opExpand, v.ID, "%d GiB are more than the %d GiB that type %s allows", target, l.maxGiB, v.Type)
	}
	if target <= v.SizeGiB {
		return v.SizeGiB * volume.GiB, nil
	}
	err = b.api.ModifyVolumeSize(ctx, v.ID, target)
	if err != nil && !fault.Is(err, fault.Pending) {
		return 0, b.expandRefused(ctx, v.ID, err)
	}
	// Pending: a modification runs already, perhaps the one that we asked for before.
	return b.awaitSize(ctx, v.ID, target)
}

// expandRefused proves a not-found answer before it is passed on.
func (b *Backend) expandRefused(ctx context.Context, id string, err error) error {
	if !fault.Is(err, fault.NotFound) {
		return fault.Wrap(opExpand, id, err)
	}
	absent, proofErr := b.api.VolumeAbsent(ctx, id)
	switch {
	case proofErr != nil:
		return fault.Wrap(opExpand, id, proofErr)
	case absent:
		return fault.Wrap(opExpand, id, err)
	default:
		return notVisibleYet(opExpand, id)
	}
}

// awaitSize waits until the modification is effective and DescribeVolumes shows it.
func (b *Backend) awaitSize(ctx context.Context, id string, target int64) (int64, error) {
	var last ec2.Modification
	var size int64
	err := batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		m, found, err := b.api.Modification(ctx, id)
		if fault.Is(err, fault.Unavailable) || err == nil && !found {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		last = m
		switch {
		case m.State == "failed":
			return false, fault.New(fault.Internal, opExpand, id, "EC2 could not modify the volume: %s", m.StatusMessage)
		case !m.Effective():
			return false, nil
		case m.TargetGiB < target && m.State != "completed":
			return false, fault.New(fault.Pending, opExpand, id, "an earlier modification to %d GiB is still in state %q; ask again when it is completed", m.TargetGiB, m.State)
		}
		v, found, err := b.api.Volume(ctx, id)
		if err != nil && !fault.Is(err, fault.Unavailable) {
			return false, err
		}
		if found {
			size = v.SizeGiB
		}
		return found && v.SizeGiB >= target, nil
	})
	if err != nil && ctx.Err() != nil {
		return 0, fault.New(fault.Pending, opExpand, id, "EC2 still shows the modification to %d GiB as %q; ask again", last.TargetGiB, last.State)
	}
	return size * volume.GiB, fault.Wrap(opExpand, id, err)
}
