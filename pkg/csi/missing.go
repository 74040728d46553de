package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// MissingNode is the node of a kind that this node has not what it takes to mount. It says so, and where
// nothing was staged there is nothing to undo.
type MissingNode struct {
	csipb.UnimplementedNodeServer

	ID  string
	Why string // what to do instead
}

var _ csipb.NodeServer = (*MissingNode)(nil)

// NodeGetCapabilities announces what the node will have, so that staging is asked for and refused with a reason.
func (s *MissingNode) NodeGetCapabilities(context.Context, *csipb.NodeGetCapabilitiesRequest) (*csipb.NodeGetCapabilitiesResponse, error) {
	return &csipb.NodeGetCapabilitiesResponse{Capabilities: []*csipb.NodeServiceCapability{{
		Type: &csipb.NodeServiceCapability_Rpc{Rpc: &csipb.NodeServiceCapability_RPC{Type: csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME}},
	}}}, nil
}

// NodeGetInfo answers who this machine is.
func (s *MissingNode) NodeGetInfo(context.Context, *csipb.NodeGetInfoRequest) (*csipb.NodeGetInfoResponse, error) {
	return &csipb.NodeGetInfoResponse{NodeId: s.ID}, nil
}

// NodeStageVolume refuses.
func (s *MissingNode) NodeStageVolume(_ context.Context, r *csipb.NodeStageVolumeRequest) (*csipb.NodeStageVolumeResponse, error) {
	const op = "stage"
	_, err := toCapability(r.GetVolumeCapability())
	if err := first(checkString("volume_id", r.GetVolumeId()), checkPath("staging_target_path", r.GetStagingTargetPath(), ""), err); err != nil {
		return nil, invalid(op, "%v", err)
	}
	return nil, fault.New(fault.Unsupported, op, r.GetVolumeId(), "%s", s.Why)
}

// NodePublishVolume refuses.
func (s *MissingNode) NodePublishVolume(_ context.Context, r *csipb.NodePublishVolumeRequest) (*csipb.NodePublishVolumeResponse, error) {
	const op = "publish on node"
	_, err := toCapability(r.GetVolumeCapability())
	if err := first(checkString("volume_id", r.GetVolumeId()), checkPath("target_path", r.GetTargetPath(), ""), err); err != nil {
		return nil, invalid(op, "%v", err)
	}
	return nil, fault.New(fault.Unsupported, op, r.GetVolumeId(), "%s", s.Why)
}

// NodeUnstageVolume has nothing to undo.
func (s *MissingNode) NodeUnstageVolume(_ context.Context, r *csipb.NodeUnstageVolumeRequest) (*csipb.NodeUnstageVolumeResponse, error) {
	if err := first(checkString("volume_id", r.GetVolumeId()), checkPath("staging_target_path", r.GetStagingTargetPath(), "")); err != nil {
		return nil, invalid("unstage", "%v", err)
	}
	return &csipb.NodeUnstageVolumeResponse{}, nil
}

// NodeUnpublishVolume has nothing to undo.
func (s *MissingNode) NodeUnpublishVolume(_ context.Context, r *csipb.NodeUnpublishVolumeRequest) (*csipb.NodeUnpublishVolumeResponse, error) {
	if err := first(checkString("volume_id", r.GetVolumeId()), checkPath("target_path", r.GetTargetPath(), "")); err != nil {
		return nil, invalid("unpublish on node", "%v", err)
	}
	return &csipb.NodeUnpublishVolumeResponse{}, nil
}
