package ebs

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opPublish = "publish"

// Publish attaches a volume to an instance and waits until it is attached. An
// attachment is believed at once only where DescribeVolumes and DescribeInstances
// agree; otherwise EC2's own answer to AttachVolume decides.
func (b *Backend) Publish(ctx context.Context, req volume.PublishRequest) (map[string]string, error) {
	if err := b.Supports(req.Capability); err != nil {
		return nil, err
	}
	var err error
	if req.Context, err = volume.ReadContext(volume.EBS, req.Context); err != nil {
		return nil, fault.New(fault.Invalid, opPublish, req.Handle, "%v", err)
	}
	asOf := time.Now()
	v, inst, err := b.both(ctx, req.Handle, req.Node)
	if err != nil {
		return nil, err
	}
	out, err := b.bring(ctx, req, v, inst, asOf)
	if from := cmp.Or(v.Snapshot, v.Source); err == nil && from != "" {
		out[volume.ContextSource] = from // other drivers' volume contexts do not say so, and it is never formatted
	}
	return out, err
}

// bring attaches the volume unless it is attached, and waits until it is.
func (b *Backend) bring(ctx context.Context, req volume.PublishRequest, v ec2.Volume, inst ec2.Instance, asOf time.Time) (map[string]string, error) {
	if err := b.mayAttach(v, inst, req.Capability); err != nil {
		return nil, err
	}
	if v.State == ec2.StateCreating {
		var err error
		if v, err = b.available(ctx, opPublish, v); err != nil {
			return nil, err
		}
	}
	onVolume, seenByVolume := v.On(inst.ID)
	onInstance, seenByInstance := inst.Has(v.ID)
	switch {
	case seenByVolume && seenByInstance && onVolume.State == ec2.Attached && onInstance.State == ec2.Attached:
		return attached(onVolume), nil
	case seenByVolume && onVolume.State == ec2.Attaching:
		return b.awaitAttached(ctx, v.ID, inst.ID)
	case seenByVolume && (onVolume.State == ec2.Detaching || onVolume.State == ec2.Busy):
		if err := b.awaitDetached(ctx, opPublish, v.ID, inst.ID, true); err != nil {
			return nil, err
		}
	}
	if req.Context[volume.ContextAwaitInitialized] == "true" {
		if err := b.awaitInitialized(ctx, v); err != nil {
			return nil, err
		}
	}
	if v.Tags[TagLayout] == layoutBlank { // the node is about to write: say what
		layout := layoutRaw
		if req.Context[volume.ContextLayout] == string(volume.LayoutBosh) {
			layout = string(volume.LayoutBosh)
		}
		if err := b.setTags(ctx, opPublish, v.ID, map[string]string{TagLayout: layout}); err != nil {
			return nil, err
		}
	}
	return b.attach(ctx, v, inst, asOf)
}

// silentAfter is for how long EC2 may say nothing of how far a new volume is filled.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VolumeStatusItem.html
const silentAfter = 5 * time.Minute

// awaitInitialized waits until EC2 has copied all data from the snapshot.
func (b *Backend) awaitInitialized(ctx context.Context, v ec2.Volume) error {
	if v.Snapshot == "" && v.Source == "" {
		return nil
	}
	err := batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		progress, told, err := b.api.Initialized(ctx, v.ID)
		if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.NotFound) {
			return false, nil // throttled, or not shown yet
		}
		return told && progress >= 100 || !told && time.Since(v.Created) > silentAfter, err
	})
	if err != nil && ctx.Err() != nil {
		return fault.New(fault.Pending, opPublish, v.ID, "the volume is still being filled from its snapshot; ask again")
	}
	return fault.Wrap(opPublish, v.ID, err)
}

// both reads volume and instance at the same time, so that they share one round trip.
func (b *Backend) both(ctx context.Context, handle, node string) (v ec2.Volume, inst ec2.Instance, err error) {
	if err := aNode(node); err != nil {
		return v, inst, err
	}
	asked := b.api.AskInstance(node)
	if v, err = b.volume(ctx, opPublish, handle); err != nil {
		return v, inst, err
	}
	inst, err = b.mustRun(ctx, node, func(ctx context.Context, id string) (ec2.Instance, bool, error) {
		if first := asked; first != nil {
			asked = nil
			return first(ctx)
		}
		return b.api.Instance(ctx, id)
	})
	return v, inst, err
}

// instance reads an instance that must exist; fault.NotFound only with proof.
func (b *Backend) instance(ctx context.Context, id string) (ec2.Instance, error) {
	if err := aNode(id); err != nil {
		return ec2.Instance{}, err
	}
	return b.mustRun(ctx, id, b.api.Instance)
}

// aNode is the error for what can be no node's id.
func aNode(id string) error {
	if instanceID.MatchString(id) {
		return nil
	}
	return fault.New(fault.NotFound, opPublish, id, "no node can have this id; EC2 instance ids are i- and 8 or 17 hexadecimal digits")
}

func (b *Backend) mustRun(ctx context.Context, id string, read func(context.Context, string) (ec2.Instance, bool, error)) (ec2.Instance, error) {
	inst, err := mustExist(ctx, b, opPublish, "instance", id, read, b.api.InstanceAbsent)
	if err == nil && inst.Gone() {
		err = fault.New(fault.NotFound, opPublish, id, "the instance is terminated")
	}
	if fault.Is(err, fault.NotFound) {
		b.devices.forget(id)
	}
	return inst, err
}

// mayAttach checks what EC2 would refuse or must not be asked.
func (b *Backend) mayAttach(v ec2.Volume, inst ec2.Instance, c volume.Capability) error {
	if holder := b.heldByOther(v.Tags); holder != "" {
		return fault.New(fault.InUse, opPublish, v.ID, "the volume is held by %s; release it there first", holder)
	}
	if v.Zone != inst.Zone {
		return fault.New(fault.Invalid, opPublish, v.ID, "the volume is in zone %s, node %s in %s; an EBS volume can only be attached in its own zone", v.Zone, inst.ID, inst.Zone)
	}
	if c.Mode.MultiNode() && !v.MultiAttach {
		return fault.New(fault.Invalid, opPublish, v.ID, "the volume was not made for several nodes (multi-attach, type io2)")
	}
	if v.MultiAttach && c.Mode.MultiNode() {
		return nil
	}
	return heldElsewhere(v, inst.ID)
}

// heldElsewhere is the error for a volume that other instances hold, nil if none does.
func heldElsewhere(v ec2.Volume, instance string) error {
	others := slices.DeleteFunc(slices.Clone(v.Attachments), func(a ec2.Attachment) bool { return a.Instance == instance })
	switch {
	case len(others) == 0:
		return nil
	case others[0].State == ec2.Detaching:
		return fault.New(fault.Pending, opPublish, v.ID, "the volume is still detaching from node %s; ask again", others[0].Instance)
	default:
		return fault.New(fault.InUse, opPublish, v.ID, "the volume is attached to node %s; unpublish it there first", describeAttachments(others))
	}
}

// attach asks EC2 under one device name after the other until one is free. asOf is when the instance was read.
func (b *Backend) attach(ctx context.Context, v ec2.Volume, inst ec2.Instance, asOf time.Time) (map[string]string, error) {
	for again, refused := true, 0; ; {
		device, release, ok := b.devices.reserve(inst, asOf)
		if !ok && again {
			b.devices.forgetTaken(inst.ID)
			again = false
			continue
		}
		if !ok {
			return nil, fault.New(fault.Limit, opPublish, v.ID, "node %s has no free device name", inst.ID)
		}
		out, err := b.attachAs(ctx, v, inst, device)
		release()
		wrong, inUse := refusesName(err, device)
		if wrong {
			b.devices.markTaken(inst.ID, device)
		}
		if wrong && !inUse {
			refused++
		}
		if !wrong || refused > maxRefusedNames {
			return out, err
		}
	}
}

// attachAs asks EC2 for one device name and waits until the volume is attached.
func (b *Backend) attachAs(ctx context.Context, v ec2.Volume, inst ec2.Instance, device string) (map[string]string, error) {
	_, err := untilKnown(ctx, opPublish, func(ctx context.Context) error { return b.api.AttachVolume(ctx, v.ID, inst.ID, device) },
		b.aVolume(v.ID), b.anInstance(inst.ID))
	switch code := fault.CodeOf(err); {
	case err == nil, code == "VolumeInUse":
		// VolumeInUse: by us, in a call whose answer was lost, or by another node. The wait tells.
	case code == "AttachmentLimitExceeded":
		return nil, fault.Wrap(opPublish+" to node "+inst.ID, v.ID, err)
	default:
		return nil, fault.Wrap(opPublish, v.ID, err)
	}
	return b.awaitAttached(ctx, v.ID, inst.ID)
}

// awaitAttached waits until DescribeVolumes shows the attachment complete. One that
// hangs is ended, so that the next call starts afresh.
func (b *Backend) awaitAttached(ctx context.Context, id, instance string) (map[string]string, error) {
	last := ec2.Attachment{State: ec2.Attaching} // EC2 was asked for it
	start := time.Now()
	err := b.waits.attached.Poll(ctx, func(ctx context.Context) (bool, error) {
		v, found, err := b.api.Volume(ctx, id)
		if fault.Is(err, fault.Unavailable) || err == nil && !found {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		a, on := v.On(instance)
		if !on {
			if v.MultiAttach {
				return false, nil
			}
			return false, heldElsewhere(v, instance)
		}
		last = a
		if a.State == ec2.Attaching && b.stuck(a, start) {
			return false, b.endStuck(ctx, a)
		}
		return a.State == ec2.Attached, nil
	})
	if err != nil && ctx.Err() != nil {
		return nil, fault.New(fault.Pending, opPublish, id, "EC2 still shows the attachment to %s as %q; ask again", instance, last.State)
	}
	if err != nil {
		return nil, fault.Wrap(opPublish, id, err)
	}
	return attached(last), nil
}

// stuck reports whether an attachment hangs: EC2 says that it began long ago, and
// this call has seen it hang for a part of that time, since clocks differ.
func (b *Backend) stuck(a ec2.Attachment, seen time.Time) bool {
	return time.Since(a.Since) > b.opts.StuckAfter && time.Since(seen) > b.opts.StuckAfter/10
}

// endStuck detaches what never became attached; nobody can have written to it.
func (b *Backend) endStuck(ctx context.Context, a ec2.Attachment) error {
	err := b.api.DetachVolume(ctx, a.Volume, a.Instance, false)
	if err != nil && !fault.Is(err, fault.InUse) && !fault.Is(err, fault.NotFound) {
		return err
	}
	b.devices.markTaken(a.Instance, a.Device)
	return fault.New(fault.Pending, opPublish, a.Volume,
		"EC2 did not finish attaching it to %s as %s for %s; the attachment was ended, ask again", a.Instance, a.Device, time.Since(a.Since).Round(time.Second))
}

func attached(a ec2.Attachment) map[string]string {
	return map[string]string{volume.PublishDevice: a.Device}
}
