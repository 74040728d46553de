package csi

import (
	"context"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// keyed is a stager of buckets that notes the secrets that came.
type keyed struct {
	Stager[volume.ObjectPlan]

	secrets map[string]string
}

func (k *keyed) StageWith(_ context.Context, _ volume.ObjectPlan, _ string, secrets map[string]string) error {
	k.secrets = secrets
	return nil
}

// TestNode_ABucket takes secrets and a group, and has nothing to measure.
func TestNode_ABucket(t *testing.T) {
	k := &keyed{}
	n := NewNode(Node{Kind: volume.S3, ID: "i-1", Volumes: StagedBy(k), MountsGroup: true})
	_, err := n.NodeStageVolume(t.Context(), &csipb.NodeStageVolumeRequest{
		VolumeId: "s3://bucket", StagingTargetPath: "/s", Secrets: map[string]string{"accessKeyID": "a"},
		VolumeCapability: &csipb.VolumeCapability{
			AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
			AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{}},
		},
	})
	if err != nil || k.secrets["accessKeyID"] != "a" {
		t.Errorf("secrets %v (%v)", k.secrets, err)
	}
	if _, err := n.NodeGetVolumeStats(t.Context(), &csipb.NodeGetVolumeStatsRequest{VolumeId: "s3://bucket", VolumePath: "/s"}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("stats: %v", err)
	}
	announced, err := n.NodeGetCapabilities(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[csipb.NodeServiceCapability_RPC_Type]bool{}
	for _, c := range announced.GetCapabilities() {
		got[c.GetRpc().GetType()] = true
	}
	if !got[csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP] || got[csipb.NodeServiceCapability_RPC_GET_VOLUME_STATS] || got[csipb.NodeServiceCapability_RPC_EXPAND_VOLUME] {
		t.Errorf("announced %v", got)
	}
	if info, err := n.NodeGetInfo(t.Context(), nil); err != nil || info.GetAccessibleTopology() != nil {
		t.Errorf("topology %v (%v): a bucket is reached from everywhere", info.GetAccessibleTopology(), err)
	}
}
