// Package layout takes a volume of BOSH's layout through its whole life, over CSI, with the real driver, the emulator
// and loop devices. It knows CSI only.
package layout

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/tests/harness"
)

const gib = int64(1) << 30

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// pod is one volume and the paths of the pod that uses it.
type pod struct {
	t          *testing.T
	controller csi.ControllerClient
	node       csi.NodeClient
	nodeID     string
	dir        string
	volume     *csi.Volume
	publish    map[string]string
}

func (p *pod) staging() string { return filepath.Join(p.dir, "staging") }
func (p *pod) target() string  { return filepath.Join(p.dir, "pod") }

// xfs grows mounted on every machine.
func writer() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "xfs"}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER},
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (p *pod) create(name string, parameters map[string]string, snapshot string) {
	p.t.Helper()
	r := &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: gib}, Parameters: parameters,
		VolumeCapabilities: []*csi.VolumeCapability{writer()},
	}
	if snapshot != "" {
		r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot}}}
	}
	p.volume = must[*csi.CreateVolumeResponse](p.t)(p.controller.CreateVolume(p.t.Context(), r)).GetVolume()
}

func (p *pod) start() {
	p.t.Helper()
	ctx := p.t.Context()
	p.publish = must[*csi.ControllerPublishVolumeResponse](p.t)(p.controller.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: p.volume.GetVolumeId(), NodeId: p.nodeID, VolumeCapability: writer(), VolumeContext: p.volume.GetVolumeContext()})).GetPublishContext()
	if err := os.MkdirAll(p.staging(), 0o750); err != nil {
		p.t.Fatal(err)
	}
	must[*csi.NodeStageVolumeResponse](p.t)(p.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: p.volume.GetVolumeId(), PublishContext: p.publish, StagingTargetPath: p.staging(),
		VolumeCapability: writer(), VolumeContext: p.volume.GetVolumeContext()}))
	must[*csi.NodePublishVolumeResponse](p.t)(p.publishAt(p.target()))
}

func (p *pod) publishAt(target string) (*csi.NodePublishVolumeResponse, error) {
	return p.node.NodePublishVolume(p.t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: p.volume.GetVolumeId(), PublishContext: p.publish, StagingTargetPath: p.staging(), TargetPath: target,
		VolumeCapability: writer(), VolumeContext: p.volume.GetVolumeContext()})
}

func (p *pod) stop() {
	p.t.Helper()
	ctx, id := p.t.Context(), p.volume.GetVolumeId()
	must[*csi.NodeUnpublishVolumeResponse](p.t)(p.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: p.target()}))
	must[*csi.NodeUnstageVolumeResponse](p.t)(p.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: p.staging()}))
	must[*csi.ControllerUnpublishVolumeResponse](p.t)(p.controller.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: id, NodeId: p.nodeID}))
}

func (p *pod) delete() {
	p.t.Helper()
	must[*csi.DeleteVolumeResponse](p.t)(p.controller.DeleteVolume(p.t.Context(), &csi.DeleteVolumeRequest{VolumeId: p.volume.GetVolumeId()}))
}

func (p *pod) total() int64 {
	p.t.Helper()
	s := must[*csi.NodeGetVolumeStatsResponse](p.t)(p.node.NodeGetVolumeStats(p.t.Context(),
		&csi.NodeGetVolumeStatsRequest{VolumeId: p.volume.GetVolumeId(), VolumePath: p.target()}))
	return s.GetUsage()[0].GetTotal()
}

func TestBoshLayout_Life(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("partitions and mounts need root")
	}
	dir := harness.Dir(t)
	emulator := harness.Emulator(t, dir, "--profile=instant", "--devices=loop", "--instances=1")
	instance := emulator.Instances[0]
	driver := harness.All(t, emulator, instance, dir, "csi", "--cluster-id=layout", "--absence-interval=50ms")
	p := &pod{t: t, controller: csi.NewControllerClient(driver.Conn), node: csi.NewNodeClient(driver.Conn), nodeID: instance.ID, dir: filepath.Join(dir, "first")}
	p.create("pvc-first", map[string]string{"layout": "bosh", "blockSize": "1024"}, "")
	p.start()
	file := filepath.Join(p.target(), "file")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.publishAt(filepath.Join(p.dir, "second")); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a single writer at a second path: %v", err)
	}
	table, err := exec.CommandContext(t.Context(), "sfdisk", "--dump", filepath.Join(instance.DeviceRoot, "nvme1n1")).CombinedOutput()
	if err != nil || !strings.Contains(string(table), `name="bosh-partition-0"`) {
		t.Errorf("the partition table: %v\n%s", err, table)
	}

	before, ctx, id := p.total(), t.Context(), p.volume.GetVolumeId()
	must[*csi.ControllerExpandVolumeResponse](t)(p.controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib}}))
	grown := must[*csi.NodeExpandVolumeResponse](t)(p.node.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
		VolumeId: id, VolumePath: p.target(), StagingTargetPath: p.staging(), CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib}}))
	if after := p.total(); grown.GetCapacityBytes() != 2*gib || after < before+gib*9/10 {
		t.Errorf("it grew from %d to %d bytes, and the answer is %d", before, after, grown.GetCapacityBytes())
	}
	p.stop()

	snapshot := must[*csi.CreateSnapshotResponse](t)(p.controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "snapshot", SourceVolumeId: id})).GetSnapshot()
	restored := *p
	restored.dir = filepath.Join(dir, "restored")
	restored.create("pvc-restored", nil, snapshot.GetSnapshotId())
	restored.start()
	if got, err := os.ReadFile(filepath.Join(restored.target(), "file")); string(got) != "hello" {
		t.Errorf("the restored file holds %q, %v", got, err)
	}
	restored.stop()

	restored.delete()
	must[*csi.DeleteSnapshotResponse](t)(p.controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: snapshot.GetSnapshotId()}))
	p.start() // again, after the kernel forgot its partition
	if got, err := os.ReadFile(file); string(got) != "hello" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	p.stop()
	p.delete()
	harness.RequireEmpty(t, emulator)
}
