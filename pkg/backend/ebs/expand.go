package ebs

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opExpand = "expand"

// Expand grows a volume and waits until its new size can be used. A volume that is
// large enough is left alone. Where the volume remembers iopsPerGB, its operations
// per second grow along.
func (b *Backend) Expand(ctx context.Context, handle string, size volume.Range) (int64, error) {
	v, err := b.volume(ctx, opExpand, handle)
	if err != nil {
		return 0, err
	}
	target, err := expandTarget(v, size)
	if err != nil {
		return 0, err
	}
	if target <= v.SizeGiB {
		return v.SizeGiB * volume.GiB, nil
	}
	want := ec2.Change{SizeGiB: target}
	if ratio := b.rememberedRatio(v.Tags); ratio > 0 && typeLimits[v.Type].iopsPerGiB > 0 {
		if more := ratioIOPS(v.Type, ratio, target, true); more > v.IOPS {
			want.IOPS = more
		}
	}
	now, err := b.change(ctx, opExpand, v, want)
	return now.SizeGiB * volume.GiB, err
}

// expandTarget is the size in GiB that a range asks for.
func expandTarget(v ec2.Volume, size volume.Range) (int64, error) {
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
	return target, nil
}
