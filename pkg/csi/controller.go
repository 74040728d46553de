package csi

import (
	"context"
	"fmt"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Controller serves one kind of disk to the cluster's sidecars.
type Controller struct {
	csipb.UnimplementedControllerServer

	Kind   backend.Kind
	Broker *broker.Broker
	Driver string // name, for events
	Events Events // nil: nobody reads events
}

// Events tells users what an RPC's success would hide. Warn never waits and never fails.
type Events interface {
	Warn(driver, handle, reason, message string)
}

// reasonKept is the reason of the event on a volume that outlives its PersistentVolume.
const reasonKept = "VolumeKept"

var _ csipb.ControllerServer = (*Controller)(nil)

// rpcs are the capabilities that volumes of the kind have.
func (s *Controller) rpcs() []csipb.ControllerServiceCapability_RPC_Type {
	out := []csipb.ControllerServiceCapability_RPC_Type{
		csipb.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csipb.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csipb.ControllerServiceCapability_RPC_GET_VOLUME,
		csipb.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if s.Kind.Attach {
		out = append(out, csipb.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME)
	}
	if s.Kind.Grows {
		out = append(out, csipb.ControllerServiceCapability_RPC_EXPAND_VOLUME)
	}
	if s.Kind.Examined {
		out = append(out, csipb.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH)
	}
	if s.Kind.PublishedNodes {
		out = append(out, csipb.ControllerServiceCapability_RPC_LIST_VOLUMES_PUBLISHED_NODES)
	}
	if s.Kind.SnapshotParameters != nil {
		out = append(out, csipb.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT, csipb.ControllerServiceCapability_RPC_LIST_SNAPSHOTS)
	}
	if s.Kind.MutableParameters != nil {
		out = append(out, csipb.ControllerServiceCapability_RPC_MODIFY_VOLUME)
	}
	if s.Kind.Clones {
		out = append(out, csipb.ControllerServiceCapability_RPC_CLONE_VOLUME)
	}
	return out
}

// ControllerGetCapabilities answers what is implemented.
func (s *Controller) ControllerGetCapabilities(context.Context, *csipb.ControllerGetCapabilitiesRequest) (*csipb.ControllerGetCapabilitiesResponse, error) {
	out := &csipb.ControllerGetCapabilitiesResponse{}
	for _, t := range s.rpcs() {
		out.Capabilities = append(out.Capabilities, &csipb.ControllerServiceCapability{
			Type: &csipb.ControllerServiceCapability_Rpc{Rpc: &csipb.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return out, nil
}

// CreateVolume makes the volume that the name stands for.
func (s *Controller) CreateVolume(ctx context.Context, r *csipb.CreateVolumeRequest) (*csipb.CreateVolumeResponse, error) {
	const op = "create volume"
	capabilities, capErr := toCapabilities(r.GetVolumeCapabilities())
	source, srcErr := toSource(r.GetVolumeContentSource())
	topology, topErr := toRequirement(r.GetAccessibilityRequirements())
	if err := first(checkString("name", r.GetName()), capErr, srcErr, topErr, checkMap("parameters", r.GetParameters()), checkMap("mutable_parameters", r.GetMutableParameters())); err != nil {
		return nil, invalid(op, "%v", err)
	}
	if err := s.checkFSType(capabilities, r.GetParameters()); err != nil {
		return nil, invalid(op, "%v", err)
	}
	v, err := s.Broker.With(r.GetSecrets()).Create(ctx, s.Kind.Name, volume.CreateRequest{
		Name: r.GetName(), Range: toRange(r.GetCapacityRange()), Capabilities: capabilities,
		Parameters: r.GetParameters(), MutableParameters: r.GetMutableParameters(), Source: source, Topology: topology,
	})
	if err != nil {
		return nil, err
	}
	return &csipb.CreateVolumeResponse{Volume: fromVolume(v)}, nil
}

// checkFSType checks the file system of a StorageClass where it comes as a parameter. Kubernetes' provisioner makes it the
// capability's; nodes learn of it from there only.
func (s *Controller) checkFSType(capabilities []volume.Capability, parameters map[string]string) error {
	fsType := parameters[backend.FSTypeParameter]
	for _, c := range capabilities {
		if fsType == "" || c.Block {
			continue
		}
		if c.FSType != "" && !strings.EqualFold(c.FSType, fsType) {
			return fmt.Errorf("parameter %q is %.32q, and fs_type of the capability %.32q", backend.FSTypeParameter, fsType, c.FSType)
		}
		c.FSType = fsType
		if err := s.Broker.Supports(s.Kind.Name, c); err != nil {
			return fmt.Errorf("parameter %q: %w", backend.FSTypeParameter, err)
		}
	}
	return nil
}

// DeleteVolume deletes a volume that is ours; one that does not exist is a success.
func (s *Controller) DeleteVolume(ctx context.Context, r *csipb.DeleteVolumeRequest) (*csipb.DeleteVolumeResponse, error) {
	if err := checkString("volume_id", r.GetVolumeId()); err != nil {
		return nil, invalid("delete volume", "%v", err)
	}
	kept, err := s.Broker.With(r.GetSecrets()).Delete(ctx, r.GetVolumeId())
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if kept != "" {
		klog.FromContext(ctx).Info("Volume was kept", "volume", r.GetVolumeId(), "reason", kept)
		if s.Events != nil {
			s.Events.Warn(s.Driver, r.GetVolumeId(), reasonKept, "volume "+r.GetVolumeId()+" was not deleted in AWS: "+kept)
		}
	}
	return &csipb.DeleteVolumeResponse{}, nil
}

// ControllerPublishVolume attaches a volume to a node.
func (s *Controller) ControllerPublishVolume(ctx context.Context, r *csipb.ControllerPublishVolumeRequest) (*csipb.ControllerPublishVolumeResponse, error) {
	c, capErr := toCapability(r.GetVolumeCapability())
	if err := first(checkString("volume_id", r.GetVolumeId()), checkString("node_id", r.GetNodeId()), capErr); err != nil {
		return nil, invalid("publish", "%v", err)
	}
	if r.GetReadonly() {
		return nil, invalid("publish", "readonly is not supported here (PUBLISH_READONLY is not announced); use the access mode or the read-only flag of the pod's volume")
	}
	published, err := s.Broker.Publish(ctx, volume.PublishRequest{
		Handle: r.GetVolumeId(), Node: r.GetNodeId(), Capability: c, Context: r.GetVolumeContext(),
	})
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerPublishVolumeResponse{PublishContext: published}, nil
}

// ControllerUnpublishVolume detaches a volume from a node, or from all where none is named.
func (s *Controller) ControllerUnpublishVolume(ctx context.Context, r *csipb.ControllerUnpublishVolumeRequest) (*csipb.ControllerUnpublishVolumeResponse, error) {
	if err := checkString("volume_id", r.GetVolumeId()); err != nil {
		return nil, invalid("unpublish", "%v", err)
	}
	if err := s.Broker.Unpublish(ctx, r.GetVolumeId(), r.GetNodeId()); err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	return &csipb.ControllerUnpublishVolumeResponse{}, nil
}

// ValidateVolumeCapabilities confirms capabilities of a volume that exists.
func (s *Controller) ValidateVolumeCapabilities(ctx context.Context, r *csipb.ValidateVolumeCapabilitiesRequest) (*csipb.ValidateVolumeCapabilitiesResponse, error) {
	capabilities, capErr := toCapabilities(r.GetVolumeCapabilities())
	if err := first(checkString("volume_id", r.GetVolumeId()), capErr); err != nil {
		return nil, invalid("validate capabilities", "%v", err)
	}
	v, err := s.Broker.With(r.GetSecrets()).Get(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if _, err := s.Kind.Parameters.Decode(r.GetParameters()); err != nil {
		return &csipb.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil //nolint:nilerr // the message is the answer
	}
	for _, c := range capabilities {
		if c.Mode.MultiNode() && !v.MultiNode {
			return &csipb.ValidateVolumeCapabilitiesResponse{Message: "the volume cannot be attached to several nodes"}, nil
		}
		if err := s.Broker.Supports(s.Kind.Name, c); err != nil {
			return &csipb.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil //nolint:nilerr // the message is the answer
		}
	}
	return &csipb.ValidateVolumeCapabilitiesResponse{Confirmed: &csipb.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(), Parameters: r.GetParameters(),
	}}, nil
}

// ListVolumes lists every volume of the kind with the nodes that hold it.
func (s *Controller) ListVolumes(ctx context.Context, r *csipb.ListVolumesRequest) (*csipb.ListVolumesResponse, error) {
	if r.GetMaxEntries() < 0 {
		return nil, invalid("list volumes", "max_entries must not be negative")
	}
	list, next, err := s.Broker.List(ctx, s.Kind.Name, volume.Page{Max: int(r.GetMaxEntries()), Token: r.GetStartingToken()})
	if err != nil {
		return nil, err
	}
	out := &csipb.ListVolumesResponse{NextToken: next}
	for _, v := range list {
		out.Entries = append(out.Entries, &csipb.ListVolumesResponse_Entry{
			Volume: fromVolume(v), Status: &csipb.ListVolumesResponse_VolumeStatus{PublishedNodeIds: v.PublishedNodes},
		})
	}
	return out, nil
}

// ControllerGetVolume describes one volume with the nodes that hold it.
func (s *Controller) ControllerGetVolume(ctx context.Context, r *csipb.ControllerGetVolumeRequest) (*csipb.ControllerGetVolumeResponse, error) {
	if err := checkString("volume_id", r.GetVolumeId()); err != nil {
		return nil, invalid("get volume", "%v", err)
	}
	v, err := s.Broker.Get(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerGetVolumeResponse{
		Volume: fromVolume(v), Status: &csipb.ControllerGetVolumeResponse_VolumeStatus{PublishedNodeIds: v.PublishedNodes},
	}, nil
}

// ControllerExpandVolume grows a volume; its file system is grown by the node.
func (s *Controller) ControllerExpandVolume(ctx context.Context, r *csipb.ControllerExpandVolumeRequest) (*csipb.ControllerExpandVolumeResponse, error) {
	if err := checkString("volume_id", r.GetVolumeId()); err != nil {
		return nil, invalid("expand", "%v", err)
	}
	if r.GetCapacityRange() == nil {
		return nil, invalid("expand", "capacity_range must be given")
	}
	size, err := s.Broker.Expand(ctx, r.GetVolumeId(), toRange(r.GetCapacityRange()))
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerExpandVolumeResponse{
		CapacityBytes: size, NodeExpansionRequired: s.Kind.NodeGrows && r.GetVolumeCapability().GetBlock() == nil,
	}, nil
}

// ControllerModifyVolume gives a volume the parameters of a VolumeAttributesClass.
func (s *Controller) ControllerModifyVolume(ctx context.Context, r *csipb.ControllerModifyVolumeRequest) (*csipb.ControllerModifyVolumeResponse, error) {
	if err := first(checkString("volume_id", r.GetVolumeId()), checkMap("mutable_parameters", r.GetMutableParameters())); err != nil {
		return nil, invalid("modify", "%v", err)
	}
	if err := s.Broker.Modify(ctx, r.GetVolumeId(), r.GetMutableParameters()); err != nil {
		return nil, err
	}
	return &csipb.ControllerModifyVolumeResponse{}, nil
}
