package efs

import (
	"context"
	"regexp"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opPublish = "publish"

var instanceID = regexp.MustCompile(`^i-[0-9a-f]{8}([0-9a-f]{9})?$`)

// Publish makes sure that a node's zone has a mount target, and answers with its
// address. Nothing is written where it exists.
func (b *Backend) Publish(ctx context.Context, req volume.PublishRequest) (map[string]string, error) {
	plan, err := planned(req.Capability)
	if err != nil {
		return nil, err
	}
	h, err := parse(opPublish, req.Handle)
	if err != nil {
		return nil, err
	}
	if h.AccessPoint == "" { // a mount option can name one
		h.AccessPoint = plan.AccessPoint
	}
	context, err := volume.ReadContext(volume.EFS, req.Context)
	if err != nil {
		return nil, fault.New(fault.Invalid, opPublish, req.Handle, "%v", err)
	}
	f, node, err := b.both(ctx, h, req.Node)
	if err != nil {
		return nil, err
	}
	w := want{system: f, zone: node.Zone, node: node}
	if f.Zone != "" { // One Zone: its only mount target serves every zone
		w.zone = f.Zone
	}
	for key, list := range map[string]*[]string{keySubnets: &w.subnets, keyGroups: &w.groups} {
		prefix := map[string]string{keySubnets: "subnet-", keyGroups: "sg-"}[key]
		if *list, err = ids(context[key], prefix, key); err != nil {
			return nil, fault.New(fault.Invalid, opPublish, req.Handle, "volume context: %v", err)
		}
	}
	m, err := b.target(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := b.checkReach(ctx, m, node); err != nil {
		return nil, err
	}
	return map[string]string{volume.PublishAddress: m.IP}, nil
}

// both reads what is published and where, at the same time, so that they share one
// round trip; both must exist.
func (b *Backend) both(ctx context.Context, h volume.Handle, node string) (efs.FileSystem, ec2.Instance, error) {
	type answer struct {
		inst ec2.Instance
		err  error
	}
	instance := make(chan answer, 1)
	go func() {
		inst, err := b.instance(ctx, node)
		instance <- answer{inst, err}
	}()
	f, err := b.usable(ctx, h)
	a := <-instance
	if err == nil {
		err = a.err
	}
	return f, a.inst, err
}

// usable reads the file system of a handle, which must be one that can be mounted; an
// access point must exist as well.
func (b *Backend) usable(ctx context.Context, h volume.Handle) (efs.FileSystem, error) {
	f, err := b.system(ctx, opPublish, h.Root)
	if err == nil && h.AccessPoint != "" {
		_, err = b.point(ctx, opPublish, h)
	}
	if err != nil || f.State == efs.StateAvailable || f.State == efs.StateUpdating {
		return f, err
	}
	return b.available(ctx, opPublish, h.Root)
}

// instance reads an instance that must exist; fault.NotFound only with proof.
func (b *Backend) instance(ctx context.Context, id string) (ec2.Instance, error) {
	if !instanceID.MatchString(id) {
		return ec2.Instance{}, fault.New(fault.NotFound, opPublish, id, "no EC2 instance can have this id; node ids are i-…")
	}
	inst, err := mustExist(ctx, opPublish, "instance", id, b.network.Instance, b.network.InstanceAbsent)
	if err == nil && inst.Gone() {
		err = fault.New(fault.NotFound, opPublish, id, "the instance is terminated")
	}
	return inst, err
}

// Unpublish has nothing to end: a mount target serves other nodes, and goes with its
// file system.
func (b *Backend) Unpublish(_ context.Context, handle, _ string) error {
	_, err := parse("unpublish", handle)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
