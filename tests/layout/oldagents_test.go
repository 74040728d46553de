package layout

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestBoshLayout_OldAgentsDisks: the driver mounts a GPT whose one partition has no name, and says of an MBR what it is and
// what to do, with one text for each layout.
func TestBoshLayout_OldAgentsDisks(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("partitions and mounts need root")
	}
	for name, tc := range map[string]struct {
		label   string
		mounted bool
	}{"a GPT": {"gpt", true}, "an MBR": {"dos", false}} {
		t.Run(name, func(t *testing.T) {
			dir := harness.Dir(t)
			emulator := harness.Emulator(t, dir, "--profile=instant", "--devices=loop", "--instances=1")
			instance := emulator.Instances[0]
			driver := harness.All(t, emulator, instance, dir, "csi", "--cluster-id=layout", "--absence-interval=50ms")
			p := &pod{t: t, controller: csi.NewControllerClient(driver.Conn), node: csi.NewNodeClient(driver.Conn), nodeID: instance.ID, dir: dir}
			p.create("pvc", map[string]string{"layout": "bosh"}, "")
			publish := must[*csi.ControllerPublishVolumeResponse](t)(p.controller.ControllerPublishVolume(t.Context(), &csi.ControllerPublishVolumeRequest{
				VolumeId: p.volume.GetVolumeId(), NodeId: p.nodeID, VolumeCapability: writer(), VolumeContext: p.volume.GetVolumeContext()})).GetPublishContext()
			script := `printf 'label: %s\n,,L\n' "$1" | sfdisk --quiet --no-reread --no-tell-kernel "$2"
				truncate -s 1000M "$3" && mkfs.xfs -q "$3" && dd if="$3" of="$2" bs=1M seek=1 conv=notrunc,fsync status=none`
			device := filepath.Join(instance.DeviceRoot, "nvme1n1")
			if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script, "sh", tc.label, device, filepath.Join(dir, "image")).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if tc.mounted {
				p.start()
				p.stop()
			} else {
				for _, layout := range []string{"bosh", "unknown"} {
					_, err := p.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
						VolumeId: p.volume.GetVolumeId(), PublishContext: publish, StagingTargetPath: t.TempDir(), VolumeCapability: writer(),
						VolumeContext: map[string]string{"diskbridge.io/layout": layout}})
					if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "If an old BOSH agent made the disk, let BOSH copy it") {
						t.Errorf("layout %s: %v", layout, err)
					}
				}
				must[*csi.ControllerUnpublishVolumeResponse](t)(p.controller.ControllerUnpublishVolume(t.Context(), &csi.ControllerUnpublishVolumeRequest{VolumeId: p.volume.GetVolumeId(), NodeId: p.nodeID}))
			}
			p.delete()
			harness.RequireEmpty(t, emulator)
		})
	}
}
