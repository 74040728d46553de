package csi

import (
	"strings"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// TestMissingNode_SaysWhatIsMissing refuses to mount, with the reason, and undoes what was never done.
func TestMissingNode_SaysWhatIsMissing(t *testing.T) {
	n := &MissingNode{ID: "i-1", Why: "no node can mount them yet"}
	capability := &csipb.VolumeCapability{
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
		AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{}},
	}
	_, stage := n.NodeStageVolume(t.Context(), &csipb.NodeStageVolumeRequest{VolumeId: "s3://bucket", StagingTargetPath: "/s", VolumeCapability: capability})
	_, publish := n.NodePublishVolume(t.Context(), &csipb.NodePublishVolumeRequest{VolumeId: "s3://bucket", TargetPath: "/t", VolumeCapability: capability})
	for _, err := range []error{stage, publish} {
		if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), n.Why) {
			t.Errorf("%v", err)
		}
	}
	_, err := n.NodeStageVolume(t.Context(), &csipb.NodeStageVolumeRequest{VolumeId: "s3://bucket", StagingTargetPath: "relative", VolumeCapability: capability})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("a relative path: %v", err)
	}
	if _, err := n.NodeUnstageVolume(t.Context(), &csipb.NodeUnstageVolumeRequest{VolumeId: "s3://bucket", StagingTargetPath: "/s"}); err != nil {
		t.Error(err)
	}
	if info, err := n.NodeGetInfo(t.Context(), nil); err != nil || info.GetNodeId() != "i-1" {
		t.Errorf("%v, %v", info, err)
	}
}
