package ebs

import (
	"context"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// patientAPI repeats what EC2 refuses for now until the call's time is over: no Director repeats a disk method, and after
// such a refusal nothing was done. A request that got no answer of EC2 was repeated already, and then a setting is more
// likely wrong.
type patientAPI struct{ API }

// passes reports whether a refusal ends by itself while a Director waits: so do snapshots that are still being copied.
func passes(err error) bool {
	switch code := fault.CodeOf(err); code {
	case "ConcurrentSnapshotLimitExceeded", "PendingSnapshotLimitExceeded":
		return true
	default:
		return code != "" && fault.Is(err, fault.Unavailable)
	}
}

// patiently asks until the answer is none that passes. Where ctx ends, it returns the last refusal.
func patiently[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		out, err := ask()
		if !passes(err) || batch.Pause(ctx, pause) != nil {
			return out, err
		}
	}
}

// change asks for what has no result.
func (patientAPI) change(ctx context.Context, ask func() error) error {
	_, err := patiently(ctx, func() (struct{}, error) { return struct{}{}, ask() })
	return err
}

// found is an answer that may be that there is none.
type found[T any] struct {
	value T
	is    bool
}

func look[T any](ctx context.Context, ask func() (T, bool, error)) (T, bool, error) {
	out, err := patiently(ctx, func() (found[T], error) {
		value, is, err := ask()
		return found[T]{value, is}, err
	})
	return out.value, out.is, err
}

// CreateTags implements API, as the methods below do.
func (p patientAPI) CreateTags(ctx context.Context, id string, tags map[string]string) error {
	return p.retag(ctx, func() error { return p.API.CreateTags(ctx, id, tags) })
}

func (p patientAPI) DeleteTags(ctx context.Context, id string, keys []string) error {
	return p.retag(ctx, func() error { return p.API.DeleteTags(ctx, id, keys) })
}

// retag also repeats what may have been done: to set the same tags twice is to set them once.
func (p patientAPI) retag(ctx context.Context, ask func() error) error {
	for {
		err := p.change(ctx, ask)
		if !fault.Is(err, fault.UnknownOutcome) || batch.Pause(ctx, 500*time.Millisecond) != nil {
			return err
		}
	}
}

func (p patientAPI) CreateVolume(ctx context.Context, spec ec2.VolumeSpec) (ec2.Volume, error) {
	return patiently(ctx, func() (ec2.Volume, error) { return p.API.CreateVolume(ctx, spec) })
}

func (p patientAPI) DeleteVolume(ctx context.Context, id string) error {
	return p.change(ctx, func() error { return p.API.DeleteVolume(ctx, id) })
}

func (p patientAPI) ModifyVolume(ctx context.Context, id string, c ec2.Change) error {
	return p.change(ctx, func() error { return p.API.ModifyVolume(ctx, id, c) })
}

func (p patientAPI) AttachVolume(ctx context.Context, volume, instance, device string) error {
	return p.change(ctx, func() error { return p.API.AttachVolume(ctx, volume, instance, device) })
}

func (p patientAPI) DetachVolume(ctx context.Context, volume, instance string, force bool) error {
	return p.change(ctx, func() error { return p.API.DetachVolume(ctx, volume, instance, force) })
}

func (p patientAPI) CreateSnapshot(ctx context.Context, volume, description string, tags map[string]string) (ec2.Snapshot, error) {
	return patiently(ctx, func() (ec2.Snapshot, error) { return p.API.CreateSnapshot(ctx, volume, description, tags) })
}

func (p patientAPI) DeleteSnapshot(ctx context.Context, id string) error {
	return p.change(ctx, func() error { return p.API.DeleteSnapshot(ctx, id) })
}

func (p patientAPI) Volume(ctx context.Context, id string) (ec2.Volume, bool, error) {
	return look(ctx, func() (ec2.Volume, bool, error) { return p.API.Volume(ctx, id) })
}

func (p patientAPI) VolumesTagged(ctx context.Context, key, value string) ([]ec2.Volume, error) {
	return patiently(ctx, func() ([]ec2.Volume, error) { return p.API.VolumesTagged(ctx, key, value) })
}

func (p patientAPI) VolumeAbsent(ctx context.Context, id string) (bool, error) {
	return patiently(ctx, func() (bool, error) { return p.API.VolumeAbsent(ctx, id) })
}

func (p patientAPI) Modification(ctx context.Context, id string) (ec2.Modification, bool, error) {
	return look(ctx, func() (ec2.Modification, bool, error) { return p.API.Modification(ctx, id) })
}

func (p patientAPI) Instance(ctx context.Context, id string) (ec2.Instance, bool, error) {
	return look(ctx, func() (ec2.Instance, bool, error) { return p.API.Instance(ctx, id) })
}

func (p patientAPI) InstanceAbsent(ctx context.Context, id string) (bool, error) {
	return patiently(ctx, func() (bool, error) { return p.API.InstanceAbsent(ctx, id) })
}

func (p patientAPI) Snapshot(ctx context.Context, id string) (ec2.Snapshot, bool, error) {
	return look(ctx, func() (ec2.Snapshot, bool, error) { return p.API.Snapshot(ctx, id) })
}

func (p patientAPI) SnapshotsTagged(ctx context.Context, key, value string) ([]ec2.Snapshot, error) {
	return patiently(ctx, func() ([]ec2.Snapshot, error) { return p.API.SnapshotsTagged(ctx, key, value) })
}

func (p patientAPI) SnapshotAbsent(ctx context.Context, id string) (bool, error) {
	return patiently(ctx, func() (bool, error) { return p.API.SnapshotAbsent(ctx, id) })
}

func (p patientAPI) Zones(ctx context.Context) ([]ec2.Zone, error) {
	return patiently(ctx, func() ([]ec2.Zone, error) { return p.API.Zones(ctx) })
}
