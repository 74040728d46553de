package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// CreateSnapshot takes the snapshot that the name stands for.
func (s *Controller) CreateSnapshot(ctx context.Context, r *csipb.CreateSnapshotRequest) (*csipb.CreateSnapshotResponse, error) {
	if err := first(checkString("name", r.GetName()), checkString("source_volume_id", r.GetSourceVolumeId()), checkMap("parameters", r.GetParameters())); err != nil {
		return nil, invalid("create snapshot", "%v", err)
	}
	snap, err := s.Broker.CreateSnapshot(ctx, volume.SnapshotRequest{Name: r.GetName(), Source: r.GetSourceVolumeId(), Parameters: r.GetParameters()})
	if err != nil {
		return nil, err
	}
	return &csipb.CreateSnapshotResponse{Snapshot: fromSnapshot(snap)}, nil
}

// DeleteSnapshot deletes a snapshot that is ours; one that does not exist is a success.
func (s *Controller) DeleteSnapshot(ctx context.Context, r *csipb.DeleteSnapshotRequest) (*csipb.DeleteSnapshotResponse, error) {
	if err := checkString("snapshot_id", r.GetSnapshotId()); err != nil {
		return nil, invalid("delete snapshot", "%v", err)
	}
	if err := s.Broker.DeleteSnapshot(ctx, s.Kind.Name, r.GetSnapshotId()); err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	return &csipb.DeleteSnapshotResponse{}, nil
}

// ListSnapshots lists our snapshots.
func (s *Controller) ListSnapshots(ctx context.Context, r *csipb.ListSnapshotsRequest) (*csipb.ListSnapshotsResponse, error) {
	if r.GetMaxEntries() < 0 {
		return nil, invalid("list snapshots", "max_entries must not be negative")
	}
	list, next, err := s.Broker.ListSnapshots(ctx, s.Kind.Name,
		volume.SnapshotFilter{ID: r.GetSnapshotId(), Source: r.GetSourceVolumeId()},
		volume.Page{Max: int(r.GetMaxEntries()), Token: r.GetStartingToken()})
	if err != nil {
		return nil, err
	}
	out := &csipb.ListSnapshotsResponse{NextToken: next}
	for _, snap := range list {
		out.Entries = append(out.Entries, &csipb.ListSnapshotsResponse_Entry{Snapshot: fromSnapshot(snap)})
	}
	return out, nil
}
