package ebs

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	instances "github.com/diskbridge/diskbridge/pkg/limits"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	opAttachDisk = "attach disk"
	opDetachDisk = "detach disk"
)

// AttachDisk attaches a disk and says by which path the agent finds it. A disk that another instance lets go of is
// waited for. Before anything can be written to a disk, its tags say that BOSH uses it.
func (d *Disks) AttachDisk(ctx context.Context, handle, node string) (volume.DiskAttachment, error) {
	v, err := d.read(ctx, opAttachDisk, handle)
	if err != nil {
		return volume.DiskAttachment{}, err
	}
	inst, err := d.node(ctx, node)
	if err != nil {
		return volume.DiskAttachment{}, err
	}
	layout, err := d.layoutOf(ctx, v)
	if err == nil {
		err = d.mayUse(v, layout)
	}
	if err != nil {
		return volume.DiskAttachment{}, err
	}
	if v.Zone != inst.Zone {
		return volume.DiskAttachment{}, fault.New(fault.Invalid, opAttachDisk, v.ID, "the disk is in zone %s, VM %s in %s; a disk can only be attached in its own zone", v.Zone, inst.ID, inst.Zone)
	}
	out := volume.DiskAttachment{}
	if who := v.Tags[TagHolder]; who != "" && who != d.holder() {
		out.Notes = append(out.Notes, "disk "+v.ID+" is held by "+who+", and this Director is "+d.holder())
	}
	if layout == "" && !usedByBosh(v) {
		out.Notes = append(out.Notes, "nothing on disk "+v.ID+" says what it carries, so it is taken for one that the AWS CPI made; BOSH's agent erases a file system without a partition")
	}
	device, notes, err := d.attachDisk(ctx, v, inst)
	out.Notes = append(out.Notes, notes...)
	if err != nil {
		return volume.DiskAttachment{}, err
	}
	out.Hint = hint(inst.Type, v.ID, device)
	return out, nil
}

// attachDisk returns the device name of the attachment, which it makes where there is none.
func (d *Disks) attachDisk(ctx context.Context, v ec2.Volume, inst ec2.Instance) (device string, notes []string, err error) {
	if v, err = d.available(ctx, opAttachDisk, v); err != nil {
		return "", nil, fault.Wrap(opAttachDisk, v.ID, err)
	}
	here, byVolume := v.On(inst.ID)
	there, byInstance := inst.Has(v.ID)
	switch {
	case byVolume && byInstance && here.State == ec2.Attached && there.State == ec2.Attached:
		notes, err = d.mark(ctx, v)
		return here.Device, notes, err
	case byVolume && here.State == ec2.Attaching:
		device, err = d.attachedAs(ctx, v.ID, inst.ID)
		return device, nil, err
	case byVolume && (here.State == ec2.Detaching || here.State == ec2.Busy):
		if err := d.awaitDetached(ctx, opAttachDisk, v.ID, inst.ID, true); err != nil {
			return "", nil, err
		}
	}
	if v, err = d.awaitFree(ctx, opAttachDisk, v, inst.ID); err != nil {
		return "", nil, err
	}
	if notes, err = d.mark(ctx, v); err != nil {
		return "", notes, err
	}
	device, err = d.tryNames(ctx, v, inst)
	return device, notes, err
}

func (d *Disks) attachedAs(ctx context.Context, id, instance string) (string, error) {
	out, err := d.awaitAttached(ctx, id, instance)
	return out[volume.PublishDevice], err
}

// tryNames asks EC2 for one free device name after the other.
func (d *Disks) tryNames(ctx context.Context, v ec2.Volume, inst ec2.Instance) (string, error) {
	taken := map[string]bool{}
	for _, a := range inst.Attachments {
		taken[place(a.Device)] = true
	}
	refused := 0
	for _, name := range diskNames(inst.Type) {
		if taken[place(name)] {
			continue
		}
		device, err := d.tryName(ctx, v, inst, name)
		wrong, inUse := refusesName(err, name)
		if wrong && !inUse {
			refused++
		}
		if !wrong || refused > maxRefusedNames {
			return device, err
		}
	}
	return "", fault.New(fault.InUse, opAttachDisk, v.ID, "VM %s has too many disks attached: every device name is taken", inst.ID)
}

// tryName asks for one name, and repeats the request while what is in the way passes.
func (d *Disks) tryName(ctx context.Context, v ec2.Volume, inst ec2.Instance, name string) (string, error) {
	for start := time.Now(); ; {
		_, err := untilKnown(ctx, opAttachDisk, func(ctx context.Context) error { return d.api.AttachVolume(ctx, v.ID, inst.ID, name) },
			d.aVolume(v.ID), d.anInstance(inst.ID))
		switch code := fault.CodeOf(err); {
		case err == nil:
			return d.attachedAs(ctx, v.ID, inst.ID)
		case code == "VolumeInUse": // by us, in a call whose answer was lost, or by somebody who was faster
			now, err := d.volume(ctx, opAttachDisk, v.ID) // EC2 may not have shown it before
			if err == nil {
				v, err = d.awaitFree(ctx, opAttachDisk, now, inst.ID)
			}
			if err != nil {
				return "", err
			}
			if _, here := v.On(inst.ID); here {
				return d.attachedAs(ctx, v.ID, inst.ID)
			}
		case code == "IncorrectState" && time.Since(start) < maxRelease, fault.Is(err, fault.UnknownOutcome):
			// The instance is still starting, or the answer was lost: asking again tells.
		case code == "AttachmentLimitExceeded": // no lack of room for disks, but of places on this VM
			return "", &fault.Error{Op: opAttachDisk, Subject: v.ID, Kind: fault.InUse, Message: "VM " + inst.ID + " takes no more disks", Err: err}
		default:
			return "", fault.Wrap(opAttachDisk+" to VM "+inst.ID, v.ID, err)
		}
		if batch.Pause(ctx, 500*time.Millisecond) != nil {
			return "", fault.New(fault.Pending, opAttachDisk, v.ID, "EC2 did not attach it to VM %s in time (%v); ask again", inst.ID, err)
		}
	}
}

// diskNames are the names that the AWS CPI uses, and on NVMe instances, where a name means nothing, those of the
// Kubernetes door from behind.
func diskNames(instanceType string) []string {
	var names []string
	for letter := 'f'; letter <= 'p'; letter++ {
		names = append(names, "/dev/sd"+string(letter))
	}
	if instances.Xen(instanceType) {
		return names
	}
	for _, name := range slices.Backward(candidates) {
		names = append(names, name)
	}
	return names
}

// place is what a device name stands for: on Xen /dev/sdf and /dev/xvdf are one.
func place(device string) string {
	name := strings.TrimPrefix(device, "/dev/")
	return strings.TrimPrefix(strings.TrimPrefix(name, "xvd"), "sd")
}

// hint is the path by which BOSH's agent finds a disk: on NVMe instances udev's link by the volume's id.
func hint(instanceType, id, device string) string {
	if instances.Xen(instanceType) {
		return device
	}
	return "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(id, "-", "")
}

// DetachDisk detaches a disk and waits until EC2 shows no trace of it. EC2's own answer decides whether it was attached.
func (d *Disks) DetachDisk(ctx context.Context, handle, node string) error {
	v, err := d.read(ctx, opDetachDisk, handle)
	if fault.Is(err, fault.NotFound) {
		return nil // what is gone is detached
	}
	if err != nil {
		return err
	}
	if who := heldByKubernetes(v.Tags); who != "" {
		return notAttached(v.ID, node, "it is "+who)
	}
	if !instanceID.MatchString(node) {
		return markMissing(fault.New(fault.NotFound, opDetachDisk, node, "no VM can have this id; EC2 instance ids are i- and 8 or 17 hexadecimal digits"))
	}
	a, seen := v.On(node)
	if seen && (a.State == ec2.Detaching || a.State == ec2.Busy) {
		return d.awaitDetached(ctx, opDetachDisk, v.ID, node, true)
	}
	for {
		gone, err := untilKnown(ctx, opDetachDisk, func(ctx context.Context) error { return d.api.DetachVolume(ctx, v.ID, node, false) },
			d.aVolume(v.ID), d.anInstance(node))
		switch code := fault.CodeOf(err); {
		case err == nil:
			return d.awaitDetached(ctx, opDetachDisk, v.ID, node, seen)
		case code == "IncorrectState", code == "InvalidAttachment.NotFound":
			return d.notOn(ctx, v.ID, node)
		case gone == v.ID:
			return nil
		case gone == node:
			return markMissing(err)
		case !fault.Is(err, fault.UnknownOutcome):
			return fault.Wrap(opDetachDisk, v.ID, err)
		}
		if batch.Pause(ctx, 500*time.Millisecond) != nil {
			return fault.Wrap(opDetachDisk, v.ID, err)
		}
	}
}

// notOn is the answer where EC2 denies an attachment: it was never there, or its end is under way and then waited for.
func (d *Disks) notOn(ctx context.Context, id, node string) error {
	state, err := d.attachmentState(ctx, id, node)
	switch {
	case err != nil:
		return fault.Wrap(opDetachDisk, id, err)
	case state == ec2.Detaching || state == ec2.Busy:
		return d.awaitDetached(ctx, opDetachDisk, id, node, true)
	default:
		return notAttached(id, node, "EC2 knows no such attachment")
	}
}

func notAttached(id, node, why string) error {
	return &fault.Error{Op: opDetachDisk, Subject: id, Kind: fault.InUse, Message: "VM " + node + ": " + why, Err: volume.ErrNotAttached}
}
