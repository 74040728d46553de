package broker

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// The methods of a caller that keeps handles itself take no locks: each of its calls is a process of its own. They name
// the kind, since such a caller may have handles that no kind knows, and the kind has the rule for those.

// CreateDisk makes a disk of a kind.
func (b *Broker) CreateDisk(ctx context.Context, kind volume.Kind, req volume.DiskRequest) (volume.Disk, error) {
	k, err := roleOf[backend.DiskKeeper](b, "create disk", kind)
	if err != nil {
		return volume.Disk{}, err
	}
	return k.CreateDisk(ctx, req)
}

// DeleteDisk removes a disk.
func (b *Broker) DeleteDisk(ctx context.Context, kind volume.Kind, handle string) error {
	k, err := roleOf[backend.DiskKeeper](b, "delete disk", kind)
	if err != nil {
		return err
	}
	return k.DeleteDisk(ctx, handle)
}

// HasDisk tells whether a disk exists; false only with proof.
func (b *Broker) HasDisk(ctx context.Context, kind volume.Kind, handle string) (bool, error) {
	k, err := roleOf[backend.DiskKeeper](b, "look for disk", kind)
	if err != nil {
		return false, err
	}
	return k.HasDisk(ctx, handle)
}

// ChangeDisk changes a disk in place.
func (b *Broker) ChangeDisk(ctx context.Context, kind volume.Kind, handle string, change volume.DiskChange) (notes []string, err error) {
	k, err := roleOf[backend.DiskKeeper](b, "change disk", kind)
	if err != nil {
		return nil, err
	}
	return k.ChangeDisk(ctx, handle, change)
}

// TagDisk sets tags on a disk.
func (b *Broker) TagDisk(ctx context.Context, kind volume.Kind, handle string, tags map[string]string) (notes []string, err error) {
	k, err := roleOf[backend.DiskKeeper](b, "tag disk", kind)
	if err != nil {
		return nil, err
	}
	return k.TagDisk(ctx, handle, tags)
}

// AttachDisk attaches a disk to a node.
func (b *Broker) AttachDisk(ctx context.Context, kind volume.Kind, handle, node string) (volume.DiskAttachment, error) {
	a, err := roleOf[backend.DiskAttacher](b, "attach disk", kind)
	if err != nil {
		return volume.DiskAttachment{}, err
	}
	return a.AttachDisk(ctx, handle, node)
}

// DetachDisk detaches a disk from a node.
func (b *Broker) DetachDisk(ctx context.Context, kind volume.Kind, handle, node string) error {
	a, err := roleOf[backend.DiskAttacher](b, "detach disk", kind)
	if err != nil {
		return err
	}
	return a.DetachDisk(ctx, handle, node)
}

// NodeDisks lists the disks of a kind on a node.
func (b *Broker) NodeDisks(ctx context.Context, kind volume.Kind, node string) ([]string, error) {
	a, err := roleOf[backend.DiskAttacher](b, "list disks", kind)
	if err != nil {
		return nil, err
	}
	return a.NodeDisks(ctx, node)
}

// SnapshotDisk takes a copy of a disk.
func (b *Broker) SnapshotDisk(ctx context.Context, kind volume.Kind, req volume.DiskSnapshot) (volume.Disk, error) {
	s, err := roleOf[backend.DiskSnapshotter](b, "snapshot disk", kind)
	if err != nil {
		return volume.Disk{}, err
	}
	return s.SnapshotDisk(ctx, req)
}

// DeleteDiskSnapshot removes a copy of a disk of a kind.
func (b *Broker) DeleteDiskSnapshot(ctx context.Context, kind volume.Kind, id string) error {
	s, err := roleOf[backend.DiskSnapshotter](b, "delete snapshot", kind)
	if err != nil {
		return err
	}
	return s.DeleteDiskSnapshot(ctx, id)
}
