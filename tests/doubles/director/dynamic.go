package director

import (
	"context"
	"fmt"
)

// dynamicDisk is a disk that runtime users made through the Director's API (RFC 53).
type dynamicDisk struct {
	cid string
	vm  *VM
}

// Provide creates and attaches a dynamic disk; the same name again is the same disk.
func (d *Director) Provide(ctx context.Context, vm *VM, name string, size int, cloud map[string]any) (cid string, err error) {
	if d.dynamic == nil {
		d.dynamic = map[string]*dynamicDisk{}
	}
	disk := d.dynamic[name]
	if disk == nil {
		properties := map[string]any{"name": name}
		for k, v := range cloud {
			properties[k] = v
		}
		cid, err := d.Text(ctx, "create_disk", size, properties, vm.CID)
		if err != nil {
			return "", err
		}
		disk = &dynamicDisk{cid: cid}
		d.dynamic[name] = disk
	}
	if disk.vm != nil && disk.vm != vm {
		return "", fmt.Errorf("disk %s is attached to %s", name, disk.vm.CID)
	}
	hint, err := d.Text(ctx, "attach_disk", vm.CID, disk.cid)
	if err != nil {
		return "", err
	}
	disk.vm = vm
	return disk.cid, vm.Agent.AddDynamicDisk(disk.cid, hint)
}

// DetachDynamic detaches a dynamic disk; one that is not attached is detached.
func (d *Director) DetachDynamic(ctx context.Context, name string) error {
	disk := d.dynamic[name]
	if disk == nil || disk.vm == nil {
		return nil
	}
	if err := disk.vm.Agent.RemoveDynamicDisk(disk.cid); err != nil {
		return err
	}
	_, err := d.Call(ctx, "detach_disk", disk.vm.CID, disk.cid)
	if err != nil && !Is(err, "DiskNotAttached") {
		return err
	}
	disk.vm = nil
	return nil
}

// DeleteDynamic deletes a dynamic disk if there is one: has_disk, then delete_disk, whose DiskNotFound is not rescued.
func (d *Director) DeleteDynamic(ctx context.Context, name string) error {
	disk := d.dynamic[name]
	if disk == nil {
		return nil
	}
	has, err := d.CheckDisk(ctx, disk.cid)
	if err == nil && has {
		_, err = d.Call(ctx, "delete_disk", disk.cid)
	}
	if err == nil {
		delete(d.dynamic, name)
	}
	return err
}
