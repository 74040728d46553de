package scripts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestAttachLimit follows the limit that a real node answers: a volume that is attached and not its own shortens it, the
// node's own does not, also after the node was killed; and no answer costs a call to EC2.
func TestAttachLimit(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("disks and mounts need root")
	}
	dir := harness.Dir(t)
	e := harness.Emulator(t, dir, "--instances=1", "--devices=loop")
	instance, volumes := e.Instances[0], filepath.Join(dir, "volumes")
	controller := csi.NewControllerClient(harness.Controller(t, e, dir, "c").Conn)
	node := harness.Node(t, instance, dir, "n", "--path-root="+volumes)
	wantLimit := func(what string, want int64) {
		t.Helper()
		before, err := e.Calls(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		info, err := csi.NewNodeClient(node.Conn).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
		if err != nil || info.GetMaxVolumesPerNode() != want {
			t.Errorf("%s: the limit is %d, %v; want %d", what, info.GetMaxVolumesPerNode(), err, want)
		}
		if after, err := e.Calls(t.Context()); err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: calls to AWS changed from %v to %v (%v)", what, before, after, err)
		}
	}
	wantLimit("m5.large with its root volume", 26)

	writer := &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}},
	}
	made, err := controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{writer},
		AccessibilityRequirements: &csi.TopologyRequirement{Requisite: []*csi.Topology{{
			Segments: map[string]string{"topology.kubernetes.io/zone": instance.Zone},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id, values := made.GetVolume().GetVolumeId(), made.GetVolume().GetVolumeContext()
	published, err := controller.ControllerPublishVolume(t.Context(), &csi.ControllerPublishVolumeRequest{
		VolumeId: id, NodeId: instance.ID, VolumeCapability: writer, VolumeContext: values,
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLimit("attached, by whomever", 25)

	staging := filepath.Join(volumes, "staging")
	if err := os.MkdirAll(staging, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := csi.NewNodeClient(node.Conn).NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: id, PublishContext: published.GetPublishContext(), VolumeContext: values, StagingTargetPath: staging, VolumeCapability: writer,
	}); err != nil {
		t.Fatal(err)
	}
	wantLimit("staged by the node", 26)
	node.Kill()
	node = harness.Node(t, instance, dir, "m", "--path-root="+volumes)
	wantLimit("staged before the node was killed", 26)

	clean(t, controller, node, id, instance.ID, staging)
	wantLimit("detached", 26)
	harness.RequireEmpty(t, e)
}

// clean takes the volume through the end of its life.
func clean(t *testing.T, controller csi.ControllerClient, node *sandbox.Driver, id, instance, staging string) {
	t.Helper()
	for what, end := range []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := csi.NewNodeClient(node.Conn).NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: staging})
			return err
		},
		func(ctx context.Context) error {
			_, err := controller.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: instance})
			return err
		},
		func(ctx context.Context) error {
			_, err := controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
			return err
		},
	} {
		if err := end(t.Context()); err != nil {
			t.Fatalf("step %d of the end: %v", what, err)
		}
	}
}
