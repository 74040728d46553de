package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/tests/lane"
)

// claim is one use of a volume, as the kubelet sees it.
type claim struct {
	*world
	volume string
	kind   string // ext4, xfs, or raw for a block device
	layout string // bosh, or empty for a file system on the whole disk
}

const (
	raw  = "raw"
	bosh = "bosh"
)

func (c claim) staging() string { return filepath.Join(plugins, "staging", c.volume) }
func (c claim) target() string  { return filepath.Join(plugins, "pods", c.volume, "mount") }

func (c claim) capability() *csi.VolumeCapability {
	out := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	if c.kind == raw {
		out.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		out.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: c.kind}}
	}
	return out
}

// context is what a provisioner gives a volume that it made empty.
func (c claim) context() map[string]string {
	out := map[string]string{"storage.kubernetes.io/csiProvisionerIdentity": "guest"}
	if c.layout != "" {
		out["diskbridge.io/layout"] = c.layout
	}
	return out
}

func (c claim) stage(ctx context.Context) error {
	if err := os.MkdirAll(c.staging(), 0o750); err != nil {
		return err
	}
	_, err := c.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: c.volume, StagingTargetPath: c.staging(), VolumeCapability: c.capability(), VolumeContext: c.context(),
	})
	return lane.Named("stage", err)
}

func (c claim) publish(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(c.target()), 0o750); err != nil {
		return err
	}
	_, err := c.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: c.volume, StagingTargetPath: c.staging(), TargetPath: c.target(), VolumeCapability: c.capability(), VolumeContext: c.context(),
	})
	return lane.Named("publish", err)
}

// mount stages and publishes, each twice as a kubelet may.
func (c claim) mount(ctx context.Context) error {
	return lane.InOrder(ctx, c.stage, c.stage, c.publish, c.publish)
}

// unmount takes back what mount did, each twice. The plugin removes the target (CSI specification, NodeUnpublishVolume).
func (c claim) unmount(ctx context.Context) error {
	unpublish := func(ctx context.Context) error {
		_, err := c.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: c.volume, TargetPath: c.target()})
		return lane.Named("unpublish", err)
	}
	unstage := func(ctx context.Context) error {
		_, err := c.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: c.volume, StagingTargetPath: c.staging()})
		return lane.Named("unstage", err)
	}
	gone := func(context.Context) error {
		if _, err := os.Lstat(c.target()); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%s is left after unpublish", c.target()))
		}
		return nil
	}
	return lane.InOrder(ctx, unpublish, gone, unpublish, unstage, unstage)
}

// expand tells the node that the volume has grown.
func (c claim) expand(ctx context.Context) error {
	answer, err := c.node.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
		VolumeId: c.volume, VolumePath: c.target(), StagingTargetPath: c.staging(), VolumeCapability: c.capability(),
		CapacityRange: &csi.CapacityRange{RequiredBytes: grownSize},
	})
	if err == nil && answer.GetCapacityBytes() < grownSize {
		err = fmt.Errorf("answers %d bytes, want %d", answer.GetCapacityBytes(), grownSize)
	}
	return lane.Named("expand", err)
}

// total asks the node for the file system's size in bytes.
func (c claim) total(ctx context.Context) (int64, error) {
	answer, err := c.node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: c.volume, VolumePath: c.target(), StagingTargetPath: c.staging()})
	for _, usage := range answer.GetUsage() {
		if usage.GetUnit() == csi.VolumeUsage_BYTES {
			return usage.GetTotal(), nil
		}
	}
	return 0, lane.Named("stats", errors.Join(err, errors.New("no bytes are in the answer")))
}

// isMounted proves that the pod's folder is the right disk, or partition, with the right file system, by the kernel's own word.
func (c claim) isMounted(d *disk) error {
	var at, device unix.Stat_t
	var system unix.Statfs_t
	node := d.node()
	if c.layout == bosh {
		node += "p1"
	}
	if err := errors.Join(unix.Stat(c.target(), &at), unix.Stat(node, &device), unix.Statfs(c.target(), &system)); err != nil {
		return err
	}
	magic := map[string]int64{"ext4": unix.EXT4_SUPER_MAGIC, "xfs": unix.XFS_SUPER_MAGIC}[c.kind]
	if at.Dev != device.Rdev || system.Type != magic {
		return fmt.Errorf("%s is device %d with file system %x, want %d with %x", c.target(), at.Dev, system.Type, device.Rdev, magic)
	}
	return nil
}
