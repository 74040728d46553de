package replay

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

const gib = int64(1) << 30

// ebsOperations are the operations of EBS volumes that change something in AWS.
func ebsOperations() []operation {
	return []operation{
		{name: "create", prepare: prepare(createVolume)},
		// While EC2 lists the failed volume beside the new one, a new process refuses the name (docs/limitations.md).
		{name: "create after one that ended in error", prepare: createAfterError, prompt: true},
		{name: "publish", prepare: prepare(publish)},
		{name: "unpublish", prepare: prepare(unpublish)},
		{name: "expand", prepare: prepare(expand)},
		// While EC2 optimizes the volume, it takes no second growth.
		{name: "expand again", prepare: prepare(expandAgain), prompt: true},
		{name: "modify", prepare: prepare(modify)},
		{name: "clone", prepare: prepare(clone)},
		{name: "create snapshot", prepare: prepare(createSnapshot)},
		{name: "delete snapshot", prepare: prepare(deleteSnapshot)},
		{name: "delete", prepare: prepare(deleteVolume)},
	}
}

// ebs is one volume's life until the operation, through the connection of the moment.
type ebs struct {
	controller csi.ControllerClient
	node, name string
	volume     string // id; empty until it is made
	snapshot   string // id; empty until it is made
	source     string // id of the volume that it is a clone of; empty if there is none
}

func prepare(of func(context.Context, *ebs) (request, error)) func(context.Context, grpc.ClientConnInterface, *sandbox.Emulator, string) (request, error) {
	return func(ctx context.Context, conn grpc.ClientConnInterface, e *sandbox.Emulator, unique string) (request, error) {
		return of(ctx, &ebs{controller: csi.NewControllerClient(conn), node: e.Instances[0].ID, name: "pvc-" + unique})
	}
}

func capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func (b *ebs) createRequest() *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: b.name, CapacityRange: &csi.CapacityRange{RequiredBytes: 10 * gib}, VolumeCapabilities: []*csi.VolumeCapability{capability()},
		Parameters: map[string]string{"type": "gp3", "encrypted": "true"},
		AccessibilityRequirements: &csi.TopologyRequirement{Requisite: []*csi.Topology{
			{Segments: map[string]string{"topology.kubernetes.io/zone": "us-east-1a"}},
		}},
	}
}

func (b *ebs) create(ctx context.Context) error {
	v, err := b.controller.CreateVolume(ctx, b.createRequest())
	b.volume = v.GetVolume().GetVolumeId()
	return err
}

func (b *ebs) publishRequest() *csi.ControllerPublishVolumeRequest {
	return &csi.ControllerPublishVolumeRequest{VolumeId: b.volume, NodeId: b.node, VolumeCapability: capability()}
}

func (b *ebs) unpublishRequest() *csi.ControllerUnpublishVolumeRequest {
	return &csi.ControllerUnpublishVolumeRequest{VolumeId: b.volume, NodeId: b.node}
}

func (b *ebs) snapshotRequest() *csi.CreateSnapshotRequest {
	return &csi.CreateSnapshotRequest{Name: "snapshot-of-" + b.name, SourceVolumeId: b.volume}
}

// undo removes the volume and its snapshot; the connection is not that of before.
func (b *ebs) undo(ctx context.Context, conn grpc.ClientConnInterface, _ proto.Message) error {
	controller := csi.NewControllerClient(conn)
	if b.snapshot != "" {
		if _, err := controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: b.snapshot}); err != nil {
			return err
		}
	}
	if _, err := controller.ControllerUnpublishVolume(ctx, b.unpublishRequest()); err != nil {
		return err
	}
	for _, id := range []string{b.volume, b.source} {
		if id == "" {
			continue
		}
		if _, err := controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
			return err
		}
	}
	return nil
}

// only is the one volume that there is, if there is exactly that one.
func (b *ebs) only(truth harness.Truth) (harness.TrueVolume, error) {
	if len(truth.Volumes) != 1 || truth.Volumes[0].ID != b.volume || truth.Volumes[0].State == "deleting" {
		return harness.TrueVolume{}, fmt.Errorf("%s is not the one volume", b.volume)
	}
	return truth.Volumes[0], nil
}

func createVolume(_ context.Context, b *ebs) (request, error) {
	req := request{undo: b.undo}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).CreateVolume(ctx, b.createRequest())
	}
	req.blank = func(answer proto.Message) { answer.(*csi.CreateVolumeResponse).Volume.VolumeId = "" }
	req.once = func(answer proto.Message, truth harness.Truth) error {
		b.volume = answer.(*csi.CreateVolumeResponse).GetVolume().GetVolumeId()
		v, err := b.only(truth)
		if err == nil && (v.State != "available" || v.Tags["CSIVolumeName"] != b.name) {
			err = fmt.Errorf("the volume cannot be used under its name")
		}
		return err
	}
	return req, nil
}

func publish(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	req := request{undo: b.undo, blank: func(proto.Message) {}}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).ControllerPublishVolume(ctx, b.publishRequest())
	}
	req.once = func(_ proto.Message, truth harness.Truth) error {
		v, err := b.only(truth)
		if a, on := v.On(b.node); err == nil && (!on || a.State != "attached" || len(v.Attachments) != 1) {
			err = fmt.Errorf("the volume is not attached to %s alone", b.node)
		}
		return err
	}
	return req, nil
}

func unpublish(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	if _, err := b.controller.ControllerPublishVolume(ctx, b.publishRequest()); err != nil {
		return request{}, err
	}
	req := request{undo: b.undo, blank: func(proto.Message) {}}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).ControllerUnpublishVolume(ctx, b.unpublishRequest())
	}
	req.once = func(_ proto.Message, truth harness.Truth) error {
		v, err := b.only(truth)
		if err == nil && len(v.Attachments) > 0 {
			err = fmt.Errorf("the volume is still attached")
		}
		return err
	}
	return req, nil
}

func expand(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	req := request{undo: b.undo, blank: func(proto.Message) {}}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: b.volume, CapacityRange: &csi.CapacityRange{RequiredBytes: 12 * gib},
		})
	}
	req.once = func(_ proto.Message, truth harness.Truth) error {
		v, err := b.only(truth)
		if err == nil && v.SizeGiB != 12 {
			err = fmt.Errorf("the volume has %d GiB", v.SizeGiB)
		}
		return err
	}
	return req, nil
}

func modify(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	req := request{undo: b.undo, blank: func(proto.Message) {}}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{
			VolumeId: b.volume, MutableParameters: map[string]string{"iops": "4000", "tagSpecification_1": "tier=gold"},
		})
	}
	req.once = func(_ proto.Message, truth harness.Truth) error {
		v, err := b.only(truth)
		if err == nil && (v.IOPS != 4000 || v.Tags["tier"] != "gold") {
			err = fmt.Errorf("the volume has %d operations per second and the tags %v", v.IOPS, v.Tags)
		}
		return err
	}
	return req, nil
}

func clone(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	b.source, b.volume = b.volume, ""
	asked := b.createRequest()
	asked.Name = "clone-of-" + b.name
	asked.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: b.source},
	}}
	req := request{undo: b.undo}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).CreateVolume(ctx, asked)
	}
	req.blank = func(answer proto.Message) {
		v := answer.(*csi.CreateVolumeResponse).GetVolume()
		v.VolumeId, v.ContentSource, v.VolumeContext["diskbridge.io/source"] = "", nil, ""
	}
	req.once = func(answer proto.Message, truth harness.Truth) error {
		b.volume = answer.(*csi.CreateVolumeResponse).GetVolume().GetVolumeId()
		names := map[string]string{}
		for _, v := range truth.Volumes {
			if v.State == "available" {
				names[v.ID] = v.Tags["CSIVolumeName"]
			}
		}
		if len(truth.Volumes) != 2 || names[b.source] != b.name || names[b.volume] != asked.Name {
			return fmt.Errorf("the volumes are not %s and its one clone", b.source)
		}
		return nil
	}
	return req, nil
}

func createSnapshot(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	req := request{undo: b.undo}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		answer, err := csi.NewControllerClient(conn).CreateSnapshot(ctx, b.snapshotRequest())
		if err == nil {
			answer.Snapshot.ReadyToUse = false // it becomes true while we look
		}
		return answer, err
	}
	req.blank = func(answer proto.Message) {
		s := answer.(*csi.CreateSnapshotResponse).GetSnapshot()
		s.SnapshotId, s.SourceVolumeId, s.CreationTime = "", "", nil
	}
	req.once = func(answer proto.Message, truth harness.Truth) error {
		b.snapshot = answer.(*csi.CreateSnapshotResponse).GetSnapshot().GetSnapshotId()
		_, err := b.only(truth)
		if err == nil && (len(truth.Snapshots) != 1 || truth.Snapshots[0].ID != b.snapshot || truth.Snapshots[0].Volume != b.volume) {
			err = fmt.Errorf("%s is not the one snapshot", b.snapshot)
		}
		return err
	}
	return req, nil
}

func deleteSnapshot(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	made, err := b.controller.CreateSnapshot(ctx, b.snapshotRequest())
	if err != nil {
		return request{}, err
	}
	b.snapshot = made.GetSnapshot().GetSnapshotId()
	req := request{undo: b.undo, blank: func(proto.Message) {}}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: b.snapshot})
	}
	req.once = func(_ proto.Message, truth harness.Truth) error {
		_, err := b.only(truth)
		if err == nil && len(truth.Snapshots) > 0 {
			err = fmt.Errorf("the snapshot is still there")
		}
		return err
	}
	return req, nil
}

func deleteVolume(ctx context.Context, b *ebs) (request, error) {
	if err := b.create(ctx); err != nil {
		return request{}, err
	}
	req := request{undo: b.undo, blank: func(proto.Message) {}}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: b.volume})
	}
	req.once = func(_ proto.Message, truth harness.Truth) error {
		for _, v := range truth.Volumes {
			if v.State != "deleting" {
				return fmt.Errorf("%s is still there", v.ID)
			}
		}
		return nil
	}
	return req, nil
}
