package cli

import (
	"context"
	"encoding/json"
	"fmt"
)

func (c *CLI) text(ctx context.Context, method string, arguments ...any) (text string, err error) {
	raw, err := c.Call(ctx, method, arguments...)
	if err == nil {
		err = json.Unmarshal(raw, &text)
	}
	return text, err
}

// VM is what create-env has made.
type VM struct{ Stemcell, CID, Disk string }

// CreateEnv calls what create-env calls, in its order.
func (c *CLI) CreateEnv(ctx context.Context, sizeMiB int, cloud map[string]any) (vm VM, hint string, err error) {
	if vm.Stemcell, err = c.text(ctx, "create_stemcell", "/nowhere/image", map[string]any{}); err != nil {
		return vm, "", err
	}
	if vm.CID, err = c.createVM(ctx, vm.Stemcell, []string{}); err != nil {
		return vm, "", err
	}
	vm.Disk, hint, err = c.addDisk(ctx, vm.CID, sizeMiB, cloud)
	return vm, hint, err
}

func (c *CLI) createVM(ctx context.Context, stemcell string, disks []string) (string, error) {
	raw, err := c.Call(ctx, "create_vm", "agent", stemcell, map[string]any{"instance_type": "m5.large"}, map[string]any{}, disks, map[string]any{})
	if err != nil {
		return "", err
	}
	var answer []any
	if err := json.Unmarshal(raw, &answer); err != nil || len(answer) != 2 {
		return "", fmt.Errorf("create_vm answered %s", raw)
	}
	cid := fmt.Sprint(answer[0])
	_, err = c.Call(ctx, "set_vm_metadata", cid, map[string]string{"director": "bosh-init"})
	return cid, err
}

func (c *CLI) addDisk(ctx context.Context, vm string, sizeMiB int, cloud map[string]any) (cid, hint string, err error) {
	if cid, err = c.text(ctx, "create_disk", sizeMiB, cloud, vm); err != nil {
		return cid, "", err
	}
	hint, err = c.attach(ctx, vm, cid)
	return cid, hint, err
}

func (c *CLI) attach(ctx context.Context, vm, cid string) (string, error) {
	hint, err := c.text(ctx, "attach_disk", vm, cid)
	if err == nil {
		_, err = c.Call(ctx, "set_disk_metadata", cid, map[string]string{"director": "bosh-init", "attached_at": "now", "instance_id": "0"})
	}
	return hint, err
}

// Grow makes the VM anew with a larger disk, as create-env does after a change of the size: the CLI always copies.
func (c *CLI) Grow(ctx context.Context, vm VM, sizeMiB int, cloud map[string]any) (VM, error) {
	if _, err := c.Call(ctx, "has_vm", vm.CID); err != nil {
		return vm, err
	}
	if _, err := c.Call(ctx, "delete_vm", vm.CID); err != nil { // the disk is attached still, only unmounted
		return vm, err
	}
	var err error
	if vm.CID, err = c.createVM(ctx, vm.Stemcell, []string{vm.Disk}); err != nil {
		return vm, err
	}
	if _, err := c.attach(ctx, vm.CID, vm.Disk); err != nil {
		return vm, err
	}
	old := vm.Disk
	if vm.Disk, _, err = c.addDisk(ctx, vm.CID, sizeMiB, cloud); err != nil {
		return vm, err
	}
	if _, err := c.Call(ctx, "detach_disk", vm.CID, old); err != nil {
		return vm, err
	}
	return vm, c.deleteDisk(ctx, old)
}

func (c *CLI) deleteDisk(ctx context.Context, cid string) error {
	_, err := c.Call(ctx, "delete_disk", cid)
	if f, ok := err.(*Failure); ok && f.Type == "Bosh::Clouds::DiskNotFound" { //nolint:errorlint // it is not wrapped
		err = nil
	}
	return err
}

// DeleteEnv deletes all that create-env has made.
func (c *CLI) DeleteEnv(ctx context.Context, vm VM) error {
	for _, step := range [][]any{{"has_vm", vm.CID}, {"delete_vm", vm.CID}} {
		if _, err := c.Call(ctx, step[0].(string), step[1]); err != nil { //nolint:forcetypeassert // written two lines above
			return err
		}
	}
	if err := c.deleteDisk(ctx, vm.Disk); err != nil {
		return err
	}
	_, err := c.Call(ctx, "delete_stemcell", vm.Stemcell)
	return err
}
