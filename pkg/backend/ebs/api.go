package ebs

import (
	"context"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
)

// API is what the backend needs of EC2; pkg/cloud/ec2.Client is the real one.
type API interface {
	volumeAPI
	modificationAPI
	attachmentAPI
	snapshotAPI
	Zones(ctx context.Context) ([]ec2.Zone, error)
	CreateTags(ctx context.Context, id string, tags map[string]string) error
	DeleteTags(ctx context.Context, id string, keys []string) error
	AbsenceInterval() time.Duration
}

type volumeAPI interface {
	CreateVolume(ctx context.Context, spec ec2.VolumeSpec) (ec2.Volume, error)
	CopyVolume(ctx context.Context, spec ec2.VolumeSpec) (ec2.Volume, error)
	DeleteVolume(ctx context.Context, id string) error
	Volume(ctx context.Context, id string) (ec2.Volume, bool, error)
	VolumesTagged(ctx context.Context, key, value string) ([]ec2.Volume, error)
	VolumePage(ctx context.Context, token string) ([]ec2.Volume, string, error)
	VolumeAbsent(ctx context.Context, id string) (bool, error)
	Initialized(ctx context.Context, id string) (percent int64, told bool, err error)
}

type modificationAPI interface {
	ModifyVolume(ctx context.Context, id string, change ec2.Change) error
	Modification(ctx context.Context, id string) (ec2.Modification, bool, error)
}

type attachmentAPI interface {
	AttachVolume(ctx context.Context, volume, instance, device string) error
	DetachVolume(ctx context.Context, volume, instance string, force bool) error
	Instance(ctx context.Context, id string) (ec2.Instance, bool, error)
	AskInstance(id string) (answer func(context.Context) (ec2.Instance, bool, error))
	InstanceAbsent(ctx context.Context, id string) (bool, error)
}

type snapshotAPI interface {
	CreateSnapshot(ctx context.Context, volume, description string, tags map[string]string) (ec2.Snapshot, error)
	DeleteSnapshot(ctx context.Context, id string) error
	Snapshot(ctx context.Context, id string) (ec2.Snapshot, bool, error)
	SnapshotsTagged(ctx context.Context, key, value string) ([]ec2.Snapshot, error)
	SnapshotPage(ctx context.Context, volume, token string) ([]ec2.Snapshot, string, error)
	SnapshotAbsent(ctx context.Context, id string) (bool, error)
}

var _ API = (*ec2.Client)(nil)
