package cpi

import (
	"context"
	"encoding/json"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// The arguments and results of the methods are those of https://bosh.io/docs/cpi-api-v2/.

// note writes what the operator should know to the log.
func note(ctx context.Context, notes []string) {
	for _, n := range notes {
		klog.FromContext(ctx).Info("Note: " + n)
	}
}

func createDisk(ctx context.Context, c *call) (any, error) {
	size, p, vm := c.bytes(0, "size"), c.properties(ctx, 1), c.optionalText(2, "vm_cid")
	if c.wrong != nil {
		return nil, c.wrong
	}
	disk, err := c.broker.CreateDisk(ctx, volume.EBS, volume.DiskRequest{Name: p.name, Bytes: size, Node: vm, Parameters: p.parameters, Tags: p.tags})
	note(ctx, disk.Notes)
	return disk.Handle, err
}

func deleteDisk(ctx context.Context, c *call) (any, error) {
	disk := c.disk(0)
	if c.wrong != nil {
		return nil, c.wrong
	}
	return nil, c.broker.DeleteDisk(ctx, volume.EBS, disk)
}

func hasDisk(ctx context.Context, c *call) (any, error) {
	disk := c.foreignDisk(0)
	if c.wrong != nil {
		return nil, c.wrong
	}
	return c.broker.HasDisk(ctx, volume.EBS, disk)
}

func attachDisk(ctx context.Context, c *call) (any, error) {
	vm, disk := c.text(0, "vm_cid"), c.disk(1)
	if c.wrong != nil {
		return nil, c.wrong
	}
	if v := c.stemcellVersion(); v == 1 {
		return nil, errorf(NotSupported, "the VM's stemcell speaks API version 1, whose agent asks a registry, and diskbridge keeps none; use a stemcell with api_version 2 or later")
	}
	a, err := c.broker.AttachDisk(ctx, volume.EBS, disk, vm)
	note(ctx, a.Notes)
	return a.Hint, err
}

// stemcellVersion is the context's vm.stemcell.api_version; 0 where it says nothing.
func (c *call) stemcellVersion() int {
	var vm struct {
		Stemcell struct {
			APIVersion int `json:"api_version"`
		} `json:"stemcell"`
	}
	if json.Unmarshal(c.Context["vm"], &vm) != nil {
		return 0
	}
	return vm.Stemcell.APIVersion
}

func detachDisk(ctx context.Context, c *call) (any, error) {
	vm, disk := c.text(0, "vm_cid"), c.foreignDisk(1)
	if c.wrong != nil {
		return nil, c.wrong
	}
	return nil, c.broker.DetachDisk(ctx, volume.EBS, disk, vm)
}

func getDisks(ctx context.Context, c *call) (any, error) {
	vm := c.text(0, "vm_cid")
	if c.wrong != nil {
		return nil, c.wrong
	}
	return c.broker.NodeDisks(ctx, volume.EBS, vm)
}

func resizeDisk(ctx context.Context, c *call) (any, error) {
	disk, size := c.disk(0), c.bytes(1, "new_size")
	if c.wrong != nil {
		return nil, c.wrong
	}
	notes, err := c.broker.ChangeDisk(ctx, volume.EBS, disk, volume.DiskChange{Bytes: size})
	note(ctx, notes)
	return nil, err
}

// updateDisk answers the disk's own CID: it is changed in place or not at all. The Director has detached the disk, and
// attaches it again for NotSupported only: that is the answer to properties that are wrong, too, and create_disk, which
// comes next, says the same.
func updateDisk(ctx context.Context, c *call) (any, error) {
	disk, size := c.disk(0), c.bytes(1, "new_size")
	if c.wrong != nil {
		return nil, c.wrong
	}
	p := c.properties(ctx, 2)
	if c.wrong != nil {
		return nil, errorf(NotSupported, "%s", errorOf(c.wrong).Message)
	}
	notes, err := c.broker.ChangeDisk(ctx, volume.EBS, disk, volume.DiskChange{Bytes: size, Parameters: p.parameters, Tags: p.tags})
	note(ctx, notes)
	return disk, err
}

func setDiskMetadata(ctx context.Context, c *call) (any, error) {
	disk, metadata := c.disk(0), c.scalars(1, "metadata")
	if c.wrong != nil {
		return nil, c.wrong
	}
	notes, err := c.broker.TagDisk(ctx, volume.EBS, disk, metadata)
	note(ctx, notes)
	return nil, err
}

// snapshotDisk tags and describes a snapshot as the AWS CPI does.
func snapshotDisk(ctx context.Context, c *call) (any, error) {
	disk, metadata := c.disk(0), c.scalars(1, "metadata")
	if c.wrong != nil {
		return nil, c.wrong
	}
	take := func(key string) string { v := metadata[key]; delete(metadata, key); return v }
	director, index, job := take("director_name"), take("index"), take("job")
	for key, value := range map[string]string{"director": director, "instance_index": index, "instance_name": path(job, metadata["instance_id"])} {
		if value != "" {
			metadata[key] = value
		}
	}
	s, err := c.broker.SnapshotDisk(ctx, volume.EBS, volume.DiskSnapshot{
		Handle: disk, Description: path(metadata["deployment"], job, index), Tags: metadata, DeviceTag: "device",
		Complete: c.settings.Own.SnapshotWait == "completed",
	})
	note(ctx, s.Notes)
	return s.Handle, err
}

// path joins what there is with slashes.
func path(parts ...string) string {
	text := ""
	for _, p := range parts {
		if p != "" && text != "" {
			text += "/"
		}
		text += p
	}
	return text
}

func deleteSnapshot(ctx context.Context, c *call) (any, error) {
	id := c.text(0, "snapshot_cid")
	if c.wrong != nil {
		return nil, c.wrong
	}
	return nil, c.broker.DeleteDiskSnapshot(ctx, volume.EBS, id)
}
