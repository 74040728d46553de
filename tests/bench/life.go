package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// What the volumes are, and become.
const (
	sizeGiB    = 10
	grownGiB   = 11
	moreIOPS   = "3500"
	perNode    = 20 // volumes on one instance; every Nitro instance takes more
	driverType = "gp3"
)

// disk is one volume through its life.
type disk struct {
	name, node   string
	id, snapshot string
	context      map[string]string
	failed       bool // a call failed: it takes no further part
}

// fleet is n volumes that live at the same time behind one controller.
type fleet struct {
	csi.ControllerClient
	aws      *awsSide
	zone     string
	disks    []*disk
	deadline time.Duration
}

// operation is one measured step.
type operation struct {
	name  string
	call  func(*fleet, context.Context, *disk) error
	needs csi.ControllerServiceCapability_RPC_Type // left out where the driver does not announce it
	after func(*fleet, context.Context) error      // not measured; nil for nothing
}

// operations are the measured steps in their order.
func operations(throttled bool) []operation {
	const (
		detaches  = csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME
		creates   = csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME
		expands   = csi.ControllerServiceCapability_RPC_EXPAND_VOLUME
		modifies  = csi.ControllerServiceCapability_RPC_MODIFY_VOLUME
		snapshots = csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT
	)
	all := []operation{
		{name: "create", call: (*fleet).create, needs: creates},
		{name: "publish", call: (*fleet).publish, needs: detaches},
		{name: "publish_again", call: (*fleet).publish, needs: detaches},
		{name: "expand", call: (*fleet).expand, needs: expands, after: (*fleet).modified},
		{name: "modify", call: (*fleet).modify, needs: modifies, after: (*fleet).modified},
		{name: "snapshot", call: (*fleet).takeSnapshot, needs: snapshots},
		{name: "unpublish", call: (*fleet).unpublish, needs: detaches},
		{name: "delete", call: (*fleet).remove, needs: creates},
	}
	if throttled {
		return []operation{all[0], all[1], all[6], all[7]}
	}
	return all
}

// newFleet prepares n volumes to be made; what tells runs on one emulator apart.
func newFleet(ctx context.Context, conn *grpc.ClientConn, aws *awsSide, n int, what string, deadline time.Duration) (*fleet, error) {
	nodes, zone, err := aws.nodes(ctx, (n+perNode-1)/perNode)
	if err != nil {
		return nil, err
	}
	f := &fleet{ControllerClient: csi.NewControllerClient(conn), aws: aws, zone: zone, deadline: deadline}
	for i := range n {
		f.disks = append(f.disks, &disk{name: fmt.Sprintf("%s-%d", what, i), node: nodes[i%len(nodes)]})
	}
	return f, nil
}

// live takes the fleet through every operation that the driver announces and returns what was seen.
func (f *fleet) live(ctx context.Context, ops []operation, show func(string, sample)) (map[string]sample, error) {
	announced, err := f.ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask for the driver's capabilities: %w", err)
	}
	can := map[csi.ControllerServiceCapability_RPC_Type]bool{}
	for _, c := range announced.GetCapabilities() {
		can[c.GetRpc().GetType()] = true
	}
	samples := map[string]sample{}
	for _, op := range ops {
		if !can[op.needs] {
			continue
		}
		s, err := f.all(ctx, op)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		samples[op.name] = s
		show(op.name, s)
		if op.after != nil {
			if err := op.after(f, ctx); err != nil {
				return nil, fmt.Errorf("after %s: %w", op.name, err)
			}
		}
	}
	return samples, f.clean(ctx)
}

// all makes one call for every volume at the same time.
func (f *fleet) all(ctx context.Context, op operation) (sample, error) {
	before, err := f.aws.control.Calls(ctx)
	if err != nil {
		return sample{}, err
	}
	type result struct {
		took time.Duration
		err  error
	}
	results := make([]result, len(f.disks))
	var group sync.WaitGroup
	begin := time.Now()
	for i, d := range f.disks {
		if d.failed {
			continue
		}
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, f.deadline)
			defer cancel()
			err := op.call(f, ctx, d)
			results[i] = result{time.Since(begin), err}
		})
	}
	group.Wait()
	s := sample{wall: time.Since(begin)}
	for i, r := range results {
		switch {
		case f.disks[i].failed:
			s.errors++
		case r.err != nil:
			f.disks[i].failed = true
			s.errors++
			s.why = r.err.Error()
		default:
			s.took = append(s.took, r.took)
		}
	}
	after, err := f.aws.control.Calls(ctx)
	s.calls = difference(before, after)
	return s, err
}

func (f *fleet) create(ctx context.Context, d *disk) error {
	here := &csi.Topology{Segments: map[string]string{"topology.kubernetes.io/zone": f.zone}}
	out, err := f.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: d.name, CapacityRange: &csi.CapacityRange{RequiredBytes: sizeGiB << 30},
		VolumeCapabilities: []*csi.VolumeCapability{capability()}, Parameters: map[string]string{"type": driverType},
		AccessibilityRequirements: &csi.TopologyRequirement{Requisite: []*csi.Topology{here}, Preferred: []*csi.Topology{here}},
	})
	d.id, d.context = out.GetVolume().GetVolumeId(), out.GetVolume().GetVolumeContext()
	return err
}

func (f *fleet) publish(ctx context.Context, d *disk) error {
	_, err := f.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: d.id, NodeId: d.node, VolumeCapability: capability(), VolumeContext: d.context,
	})
	return err
}

func (f *fleet) expand(ctx context.Context, d *disk) error {
	_, err := f.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: d.id, CapacityRange: &csi.CapacityRange{RequiredBytes: grownGiB << 30}, VolumeCapability: capability(),
	})
	return err
}

func (f *fleet) modify(ctx context.Context, d *disk) error {
	_, err := f.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{
		VolumeId: d.id, MutableParameters: map[string]string{"iops": moreIOPS},
	})
	return err
}

func (f *fleet) takeSnapshot(ctx context.Context, d *disk) error {
	out, err := f.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{SourceVolumeId: d.id, Name: d.name})
	d.snapshot = out.GetSnapshot().GetSnapshotId()
	return err
}

func (f *fleet) unpublish(ctx context.Context, d *disk) error {
	_, err := f.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: d.id, NodeId: d.node})
	return err
}

func (f *fleet) remove(ctx context.Context, d *disk) error {
	_, err := f.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: d.id})
	return err
}

// modified waits until every modification is complete: AWS takes no other before.
func (f *fleet) modified(ctx context.Context) error { return f.aws.settled(ctx) }

// clean removes what the operations left, a few at a time.
func (f *fleet) clean(ctx context.Context) error {
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	for _, d := range f.disks {
		if d.snapshot == "" {
			continue
		}
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, f.deadline)
			defer cancel()
			_, _ = f.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: d.snapshot}) // the emulator tells what is left
		})
	}
	group.Wait()
	return f.aws.empty(ctx)
}

func capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}},
	}
}
