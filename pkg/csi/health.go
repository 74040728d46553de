package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// ControllerGetVolumeHealth answers what the cloud says is wrong with a volume.
func (s *Controller) ControllerGetVolumeHealth(ctx context.Context, r *csipb.ControllerGetVolumeHealthRequest) (*csipb.ControllerGetVolumeHealthResponse, error) {
	const op = "get health"
	if !s.Kind.Examined {
		return nil, fault.New(fault.Unsupported, op, r.GetVolumeId(), "nothing is known about the health of this kind of volume")
	}
	if err := checkString("volume_id", r.GetVolumeId()); err != nil {
		return nil, invalid(op, "%v", err)
	}
	ailments, err := s.Broker.Examine(ctx, r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &csipb.ControllerGetVolumeHealthResponse{VolumeHealth: fromAilments(r.GetVolumeId(), ailments)}, nil
}

// NodeGetVolumeHealth answers whether the volume answers where it is mounted. Without a path nothing is known of it, which
// the specification takes for healthy.
func (s *Node) NodeGetVolumeHealth(ctx context.Context, r *csipb.NodeGetVolumeHealthRequest) (*csipb.NodeGetVolumeHealthResponse, error) {
	const op = "get health on node"
	meter := s.Volumes.meter()
	if meter == nil {
		return nil, fault.New(fault.Unsupported, op, r.GetVolumeId(), "nothing is known about the health of this kind of volume")
	}
	if err := checkString("volume_id", r.GetVolumeId()); err != nil {
		return nil, invalid(op, "%v", err)
	}
	path := r.GetVolumePublishPath()
	if path == "" {
		path = r.GetStagingTargetPath()
	}
	var ailments []volume.Ailment
	if path != "" {
		if err := s.checkVolumePath(op, r.GetVolumeId(), path); err != nil {
			return nil, err
		}
		stats, err := meter.Stats(ctx, r.GetVolumeId(), path)
		switch {
		case fault.Is(err, fault.Unavailable):
			ailments = append(ailments, volume.Ailment{Inaccessible: true, Reason: "MountDoesNotAnswer", Message: err.Error()})
		case err != nil:
			return nil, err
		case stats.Failed:
			ailments = append(ailments, volume.Ailment{Reason: "FileSystemError", Message: "the kernel found an error in the file system at " + path +
				", and makes it read-only then (the node's kernel log says more); delete the pods that have it: it is checked and mounted again for the next one"})
		}
	}
	return &csipb.NodeGetVolumeHealthResponse{VolumeHealth: fromAilments(r.GetVolumeId(), ailments)}, nil
}

func fromAilments(handle string, ailments []volume.Ailment) *csipb.VolumeHealth {
	out := &csipb.VolumeHealth{VolumeId: handle}
	for _, a := range ailments {
		entry := &csipb.VolumeHealth_VolumeHealthEntry{Status: csipb.VolumeHealthErrorType_DEGRADED, Reason: a.Reason, Message: a.Message}
		if a.Inaccessible {
			entry.Status = csipb.VolumeHealthErrorType_INACCESSIBLE
		}
		out.HealthStatuses = append(out.HealthStatuses, entry)
	}
	return out
}
