package backend

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// DiskKeeper is a Backend for a caller that keeps the handles itself, so that a handle is its claim: BOSH.
type DiskKeeper interface {
	// CreateDisk makes a disk. After an error nothing is left of it, or what may be left can be found by its tags.
	CreateDisk(ctx context.Context, req volume.DiskRequest) (volume.Disk, error)
	// DeleteDisk removes a disk. fault.NotFound means that the caller has nothing there (any more): it is proven gone,
	// or somebody else holds it and it stays.
	DeleteDisk(ctx context.Context, handle string) error
	// HasDisk is false only where absence is proven.
	HasDisk(ctx context.Context, handle string) (bool, error)
	// ChangeDisk gives a disk a new size and new parameters, or answers fault.Unsupported with the reason, and then
	// surely nothing was changed. What is so already costs no call.
	ChangeDisk(ctx context.Context, handle string, change volume.DiskChange) (notes []string, err error)
	// TagDisk sets tags; notes say which were left out.
	TagDisk(ctx context.Context, handle string, tags map[string]string) (notes []string, err error)
}

// DiskAttacher is a Backend whose disks are attached by a caller that keeps the handles itself.
type DiskAttacher interface {
	// AttachDisk attaches a disk, or finds it attached to the node.
	AttachDisk(ctx context.Context, handle, node string) (volume.DiskAttachment, error)
	// DetachDisk ends it; volume.ErrNotAttached where the disk is not attached to the node. What is gone is detached.
	DetachDisk(ctx context.Context, handle, node string) error
	// NodeDisks lists the handles of the caller's disks on a node.
	NodeDisks(ctx context.Context, node string) ([]string, error)
}

// DiskSnapshotter is a Backend with point-in-time copies for a caller that keeps their ids itself.
type DiskSnapshotter interface {
	// SnapshotDisk takes a copy, whose id is the handle.
	SnapshotDisk(ctx context.Context, req volume.DiskSnapshot) (volume.Disk, error)
	// DeleteDiskSnapshot removes a copy; nil where it is proven gone.
	DeleteDiskSnapshot(ctx context.Context, id string) error
}
