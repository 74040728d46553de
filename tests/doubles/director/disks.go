package director

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Agent is the VM's agent as the Director speaks to it.
type Agent interface {
	AddPersistentDisk(cid, hint string) error
	RemovePersistentDisk(cid string) error
	MountDisk(ctx context.Context, cid string) error
	UnmountDisk(ctx context.Context, cid string) error
	MigrateDisk(ctx context.Context) error
	ListDisk() []string
	AddDynamicDisk(cid, hint string) error
	RemoveDynamicDisk(cid string) error
}

// VM is an instance of a deployment: a VM and its one persistent disk.
type VM struct {
	CID   string
	Agent Agent
	Disk  string // CID of the active persistent disk; empty: none
	Size  int    // MiB
	Cloud map[string]any
	Name  string // group/id
}

// Adopt makes a VM known.
func (d *Director) Adopt(vm *VM) *VM { d.vms = append(d.vms, vm); return vm }

// CreateDisk makes the VM's persistent disk, attaches and mounts it (create_disk, attach_disk_step, mount_disk_step).
func (d *Director) CreateDisk(ctx context.Context, vm *VM, size int, cloud map[string]any) error {
	cid, err := d.Text(ctx, "create_disk", size, cloud, vm.CID)
	if err != nil {
		return err
	}
	vm.Disk, vm.Size, vm.Cloud = cid, size, cloud
	return d.Attach(ctx, vm, cid, true)
}

// Attach attaches a disk to the VM, tags it and tells the agent.
func (d *Director) Attach(ctx context.Context, vm *VM, cid string, mount bool) error {
	hint, err := d.Text(ctx, "attach_disk", vm.CID, cid)
	if err != nil {
		return err
	}
	if _, err := d.Call(ctx, "set_disk_metadata", cid, d.metadata(vm)); err != nil && !Is(err, "NotImplemented") {
		return err
	}
	if err := vm.Agent.AddPersistentDisk(cid, hint); err != nil || !mount {
		return err
	}
	return vm.Agent.MountDisk(ctx, cid)
}

func (d *Director) metadata(vm *VM) map[string]string {
	return map[string]string{
		"director": "test", "deployment": "dep", "instance_id": vm.Name, "instance_index": "0", "instance_group": "db",
		"attached_at": time.Now().UTC().Format(time.RFC3339), "kubernetes.io/cluster/prod": "owned", // a manifest's tag
	}
}

// Detach unmounts and detaches (detach_disk_step): only a disk that is not active may be detached already.
func (d *Director) Detach(ctx context.Context, vm *VM, cid string) error {
	if slices.Contains(vm.Agent.ListDisk(), cid) {
		if err := vm.Agent.UnmountDisk(ctx, cid); err != nil {
			return err
		}
	}
	if err := vm.Agent.RemovePersistentDisk(cid); err != nil {
		return err
	}
	_, err := d.Call(ctx, "detach_disk", vm.CID, cid)
	if Is(err, "DiskNotAttached") && cid != vm.Disk {
		err = nil
	}
	return err
}

// Resize changes the size of the VM's disk as with director.enable_cpi_resize_disk: natively, or by a copy.
func (d *Director) Resize(ctx context.Context, vm *VM, size int) (copied bool, err error) {
	return d.change(ctx, vm, size, vm.Cloud, func() (string, error) {
		_, err := d.Call(ctx, "resize_disk", vm.Disk, size)
		return "", err
	})
}

// Update changes the VM's disk as with director.enable_cpi_update_disk. The Director stores a new CID before it attaches.
func (d *Director) Update(ctx context.Context, vm *VM, size int, cloud map[string]any) (copied bool, err error) {
	return d.change(ctx, vm, size, cloud, func() (string, error) {
		raw, err := d.Call(ctx, "update_disk", vm.Disk, size, cloud)
		var cid *string
		if err == nil {
			err = json.Unmarshal(raw, &cid)
		}
		if err != nil || cid == nil {
			return "", err
		}
		return *cid, nil
	})
}

// change detaches, changes and attaches again. Only NotSupported and NotImplemented attach the disk again and copy; any
// other error leaves it detached.
func (d *Director) change(ctx context.Context, vm *VM, size int, cloud map[string]any, native func() (string, error)) (copied bool, err error) {
	if err := d.Detach(ctx, vm, vm.Disk); err != nil {
		return false, err
	}
	cid, err := native()
	if Is(err, "NotSupported") || Is(err, "NotImplemented") {
		if err := d.Attach(ctx, vm, vm.Disk, true); err != nil {
			return false, fmt.Errorf("attach again: %w", err)
		}
		return true, d.Copy(ctx, vm, size, cloud)
	}
	if err != nil {
		return false, err
	}
	if cid != "" {
		vm.Disk = cid
	}
	vm.Size, vm.Cloud = size, cloud
	return false, d.Attach(ctx, vm, vm.Disk, true)
}

// Copy moves the VM's data to a new disk and orphans the old one.
func (d *Director) Copy(ctx context.Context, vm *VM, size int, cloud map[string]any) error {
	cid, err := d.Text(ctx, "create_disk", size, cloud, vm.CID)
	if err != nil {
		return err
	}
	if err := d.Attach(ctx, vm, cid, true); err != nil {
		return err
	}
	if err := vm.Agent.MigrateDisk(ctx); err != nil {
		return err
	}
	old := vm.Disk
	vm.Disk, vm.Size, vm.Cloud = cid, size, cloud
	if err := d.Detach(ctx, vm, old); err != nil {
		return err
	}
	d.orphans = append(d.orphans, old)
	return nil
}

// Orphan takes the disk from the VM and keeps it as an orphan.
func (d *Director) Orphan(ctx context.Context, vm *VM) error {
	old := vm.Disk
	if err := d.Detach(ctx, vm, old); err != nil {
		return err
	}
	vm.Disk = ""
	d.orphans = append(d.orphans, old)
	return nil
}

// Orphans are the records of orphaned disks.
func (d *Director) Orphans() []string { return slices.Clone(d.orphans) }

// SweepOrphans deletes orphaned disks as the Director does every half hour; a disk that does not exist loses its record.
func (d *Director) SweepOrphans(ctx context.Context) error {
	var errs []error
	d.orphans = slices.DeleteFunc(d.orphans, func(cid string) bool {
		_, err := d.Call(ctx, "delete_disk", cid)
		if err != nil && !Is(err, "DiskNotFound") {
			errs = append(errs, err)
			return false
		}
		return true
	})
	return errors.Join(errs...)
}

// Recreate makes the VM anew with delete_vm and create_vm, which leave its disk to be attached again.
func (d *Director) Recreate(ctx context.Context, vm *VM, agentOf func(cid string) (Agent, error)) error {
	if err := vm.Agent.UnmountDisk(ctx, vm.Disk); err != nil {
		return err
	}
	if _, err := d.Call(ctx, "delete_vm", vm.CID); err != nil && !Is(err, "VMNotFound") {
		return err
	}
	if err := d.CreateVM(ctx, vm, agentOf); err != nil {
		return err
	}
	return d.Attach(ctx, vm, vm.Disk, true)
}

// CreateVM makes the VM and tags it.
func (d *Director) CreateVM(ctx context.Context, vm *VM, agentOf func(cid string) (Agent, error)) error {
	disks := []string{}
	if vm.Disk != "" {
		disks = append(disks, vm.Disk)
	}
	raw, err := d.Call(ctx, "create_vm", "agent-"+vm.Name, "ami-00000000000000001", map[string]any{"instance_type": "m5.large", "ephemeral_disk": map[string]any{"size": 1024}}, map[string]any{}, disks, map[string]any{"bosh": map[string]any{}})
	if err != nil {
		return err
	}
	var answer []any
	if err := json.Unmarshal(raw, &answer); err != nil || len(answer) != 2 {
		return fmt.Errorf("create_vm answered %s, not a VM and its networks", raw)
	}
	vm.CID = fmt.Sprint(answer[0])
	if vm.Agent, err = agentOf(vm.CID); err != nil {
		return err
	}
	_, err = d.Call(ctx, "set_vm_metadata", vm.CID, map[string]string{"director": "test", "deployment": "dep", "job": "db", "index": "0", "instance_id": vm.Name})
	return err
}

// DeleteVM deletes the VM without a word about its disk.
func (d *Director) DeleteVM(ctx context.Context, vm *VM) error {
	_, err := d.Call(ctx, "delete_vm", vm.CID)
	if Is(err, "VMNotFound") {
		err = nil
	}
	return err
}

// CheckDisk is bosh cck's question about a disk: is it there?
func (d *Director) CheckDisk(ctx context.Context, cid string) (bool, error) {
	raw, err := d.Call(ctx, "has_disk", cid)
	return string(raw) == "true", err
}

// Reattach is bosh cck's repair of a disk that the agent does not see: it attaches although it may be attached.
func (d *Director) Reattach(ctx context.Context, vm *VM) error {
	return d.Attach(ctx, vm, vm.Disk, true)
}

// Snapshot takes a snapshot of the VM's disk (snapshot_manager.rb).
func (d *Director) Snapshot(ctx context.Context, vm *VM) (string, error) {
	return d.Text(ctx, "snapshot_disk", vm.Disk, map[string]any{
		"deployment": "dep", "job": "db", "index": 0, "director_name": "test", "director_uuid": d.UUID, "agent_id": "agent-" + vm.Name, "instance_id": vm.Name,
	})
}

// DeleteSnapshot deletes one.
func (d *Director) DeleteSnapshot(ctx context.Context, cid string) error {
	_, err := d.Call(ctx, "delete_snapshot", cid)
	return err
}
