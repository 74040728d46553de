package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Node serves the kubelet of one machine.
type Node struct {
	csipb.UnimplementedNodeServer

	Kind          volume.Kind // volumes of other kinds are refused
	ID            string
	Region        string // for DNS names; may be empty
	Topology      volume.Topology
	ZoneKeys      []string // topology keys that carry the zone; nil: the well-known one
	DefaultFSType string
	PathRoot      string // staging and target paths must be inside; "" allows any absolute path
	Volumes       Volumes
	MountsGroup   bool // files get the pod's group by the mount itself
	// MaxVolumes answers how many volumes this node takes now; 0, or no function, leaves the limit to the caller.
	MaxVolumes func(context.Context) (int64, error)

	locks *broker.Locks
}

var _ csipb.NodeServer = (*Node)(nil)

// NewNode completes a Node.
func NewNode(n Node) *Node {
	n.locks = broker.NewLocks()
	return &n
}

// rpcs are the announced capabilities.
func (s *Node) rpcs() []csipb.NodeServiceCapability_RPC_Type {
	out := []csipb.NodeServiceCapability_RPC_Type{
		csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if s.Volumes.meter() != nil {
		out = append(out, csipb.NodeServiceCapability_RPC_GET_VOLUME_STATS, csipb.NodeServiceCapability_RPC_GET_VOLUME_HEALTH)
	}
	if s.MountsGroup {
		out = append(out, csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP)
	}
	if s.Volumes.expands() {
		out = append(out, csipb.NodeServiceCapability_RPC_EXPAND_VOLUME)
	}
	return out
}

// NodeGetCapabilities answers what is implemented.
func (s *Node) NodeGetCapabilities(context.Context, *csipb.NodeGetCapabilitiesRequest) (*csipb.NodeGetCapabilitiesResponse, error) {
	out := &csipb.NodeGetCapabilitiesResponse{}
	for _, t := range s.rpcs() {
		out.Capabilities = append(out.Capabilities, &csipb.NodeServiceCapability{
			Type: &csipb.NodeServiceCapability_Rpc{Rpc: &csipb.NodeServiceCapability_RPC{Type: t}},
		})
	}
	return out, nil
}

// NodeGetInfo answers who and where this machine is, and what it takes now: kubelet asks again and again.
func (s *Node) NodeGetInfo(ctx context.Context, _ *csipb.NodeGetInfoRequest) (*csipb.NodeGetInfoResponse, error) {
	var limit int64
	if s.MaxVolumes != nil {
		var err error
		if limit, err = s.MaxVolumes(ctx); err != nil {
			return nil, fault.Wrap("count volumes", s.ID, err)
		}
	}
	topology := fromTopology(s.Topology)
	for _, key := range s.ZoneKeys {
		topology.GetSegments()[key] = s.Topology.Zone
	}
	return &csipb.NodeGetInfoResponse{NodeId: s.ID, MaxVolumesPerNode: limit, AccessibleTopology: topology}, nil
}

// NodeStageVolume mounts the volume, and makes first what is still to be made.
func (s *Node) NodeStageVolume(ctx context.Context, r *csipb.NodeStageVolumeRequest) (*csipb.NodeStageVolumeResponse, error) {
	const op = "stage"
	plan, err := s.plan(op, r)
	if err != nil {
		return nil, err
	}
	if err := checkPath("staging_target_path", r.GetStagingTargetPath(), s.PathRoot); err != nil {
		return nil, invalid(op, "%v", err)
	}
	err = s.locked(op, r.GetVolumeId(), func() error { return s.Volumes.StageWith(ctx, plan, r.GetStagingTargetPath(), r.GetSecrets()) })
	return &csipb.NodeStageVolumeResponse{}, err
}

// NodeUnstageVolume unmounts what NodeStageVolume mounted.
func (s *Node) NodeUnstageVolume(ctx context.Context, r *csipb.NodeUnstageVolumeRequest) (*csipb.NodeUnstageVolumeResponse, error) {
	const op = "unstage"
	if err := first(checkString("volume_id", r.GetVolumeId()), checkPath("staging_target_path", r.GetStagingTargetPath(), s.PathRoot)); err != nil {
		return nil, invalid(op, "%v", err)
	}
	err := s.locked(op, r.GetVolumeId(), func() error { return s.Volumes.Unstage(ctx, r.GetVolumeId(), r.GetStagingTargetPath()) })
	return &csipb.NodeUnstageVolumeResponse{}, err
}

// NodePublishVolume makes a staged volume visible at the target path.
func (s *Node) NodePublishVolume(ctx context.Context, r *csipb.NodePublishVolumeRequest) (*csipb.NodePublishVolumeResponse, error) {
	const op = "publish on node"
	plan, err := s.plan(op, r)
	if err != nil {
		return nil, err
	}
	if r.GetStagingTargetPath() == "" {
		return nil, fault.New(fault.InUse, op, r.GetVolumeId(), "staging_target_path must be given: the volume is staged first")
	}
	if err := first(checkPath("target_path", r.GetTargetPath(), s.PathRoot), checkPath("staging_target_path", r.GetStagingTargetPath(), s.PathRoot)); err != nil {
		return nil, invalid(op, "%v", err)
	}
	err = s.locked(op, r.GetVolumeId(), func() error {
		return s.Volumes.Publish(ctx, plan, r.GetStagingTargetPath(), r.GetTargetPath(), r.GetReadonly())
	})
	return &csipb.NodePublishVolumeResponse{}, err
}

// NodeUnpublishVolume removes what NodePublishVolume made.
func (s *Node) NodeUnpublishVolume(ctx context.Context, r *csipb.NodeUnpublishVolumeRequest) (*csipb.NodeUnpublishVolumeResponse, error) {
	const op = "unpublish on node"
	if err := first(checkString("volume_id", r.GetVolumeId()), checkPath("target_path", r.GetTargetPath(), s.PathRoot)); err != nil {
		return nil, invalid(op, "%v", err)
	}
	err := s.locked(op, r.GetVolumeId(), func() error { return s.Volumes.Unpublish(ctx, r.GetVolumeId(), r.GetTargetPath()) })
	return &csipb.NodeUnpublishVolumeResponse{}, err
}

// NodeExpandVolume grows the file system to its device and checks that it grew.
func (s *Node) NodeExpandVolume(ctx context.Context, r *csipb.NodeExpandVolumeRequest) (*csipb.NodeExpandVolumeResponse, error) {
	const op = "expand on node"
	if !s.Volumes.expands() {
		return nil, fault.New(fault.Unsupported, op, r.GetVolumeId(), "a volume of this kind grows without its node")
	}
	if err := s.checkVolumePath(op, r.GetVolumeId(), r.GetVolumePath()); err != nil {
		return nil, err
	}
	staging := r.GetStagingTargetPath() // optional, too
	if staging != "" {
		if err := checkPath("staging_target_path", staging, s.PathRoot); err != nil {
			return nil, invalid(op, "%v", err)
		}
	}
	capability := r.GetVolumeCapability()
	if capability == nil { // the field is optional here
		capability = &csipb.VolumeCapability{
			AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
			AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{}},
		}
	}
	plan, err := s.plan(op, &csipb.NodeStageVolumeRequest{VolumeId: r.GetVolumeId(), VolumeCapability: capability})
	if err != nil {
		return nil, err
	}
	var size int64
	err = s.locked(op, r.GetVolumeId(), func() error {
		size, err = s.Volumes.Expand(ctx, plan, staging, r.GetVolumePath(), r.GetCapacityRange().GetRequiredBytes())
		return err
	})
	if err != nil {
		return nil, err
	}
	return &csipb.NodeExpandVolumeResponse{CapacityBytes: size}, nil
}

// NodeGetVolumeStats answers what the file system or device at a path holds.
func (s *Node) NodeGetVolumeStats(ctx context.Context, r *csipb.NodeGetVolumeStatsRequest) (*csipb.NodeGetVolumeStatsResponse, error) {
	const op = "get stats"
	meter := s.Volumes.meter()
	if meter == nil {
		return nil, fault.New(fault.Unsupported, op, r.GetVolumeId(), "a volume of this kind has nothing honest to report")
	}
	if err := s.checkVolumePath(op, r.GetVolumeId(), r.GetVolumePath()); err != nil {
		return nil, err
	}
	st, err := meter.Stats(ctx, r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	out := &csipb.NodeGetVolumeStatsResponse{Usage: []*csipb.VolumeUsage{{
		Unit: csipb.VolumeUsage_BYTES, Total: st.TotalBytes, Used: st.UsedBytes, Available: st.AvailableBytes,
	}}}
	if st.TotalInodes > 0 {
		out.Usage = append(out.Usage, &csipb.VolumeUsage{
			Unit: csipb.VolumeUsage_INODES, Total: st.TotalInodes, Used: st.UsedInodes, Available: st.AvailableInodes,
		})
	}
	return out, nil
}

// checkVolumePath checks where a caller says that a volume is. A path that cannot be
// one of ours is NotFound: no volume of ours is there (CSI specification,
// NodeGetVolumeStats and NodeExpandVolume errors).
func (s *Node) checkVolumePath(op, handle, path string) error {
	err := checkPath("volume_path", path, s.PathRoot)
	if idErr := checkString("volume_id", handle); idErr != nil || path == "" {
		return invalid(op, "%v", first(idErr, err))
	}
	if err != nil {
		return fault.New(fault.NotFound, op, handle, "%v", err)
	}
	return nil
}

// planned is a request that a plan is made of.
type planned interface {
	GetVolumeId() string
	GetVolumeContext() map[string]string
	GetPublishContext() map[string]string
	GetVolumeCapability() *csipb.VolumeCapability
}

// plan checks the fields that say what to do with which volume.
func (s *Node) plan(op string, r planned) (volume.Plan, error) {
	capability, err := toCapability(r.GetVolumeCapability())
	if err := first(checkString("volume_id", r.GetVolumeId()), err, checkMap("volume_context", r.GetVolumeContext()),
		checkMap("publish_context", r.GetPublishContext())); err != nil {
		return nil, invalid(op, "%v", err)
	}
	h, err := volume.ParseHandle(r.GetVolumeId())
	if err != nil {
		return nil, fault.New(fault.NotFound, op, "", "%v", err)
	}
	if h.Kind != s.Kind {
		return nil, invalid(op, "handle %q names an %s volume; this driver serves %s volumes only", r.GetVolumeId(), h.Kind, s.Kind)
	}
	plan, err := volume.NewPlan(volume.PlanRequest{
		Handle: r.GetVolumeId(), Context: r.GetVolumeContext(), Publish: r.GetPublishContext(), Capability: capability,
		FSType: s.DefaultFSType, Region: s.Region,
	})
	if err != nil {
		return nil, invalid(op, "%v", err)
	}
	return plan, nil
}

func (s *Node) locked(op, handle string, do func() error) error {
	release, err := s.locks.TryLock(op, handle)
	if err != nil {
		return err
	}
	defer release()
	return do()
}
