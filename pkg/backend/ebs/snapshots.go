package ebs

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	opSnapshot       = "create snapshot"
	opDeleteSnapshot = "delete snapshot"
)

var snapshotID = regexp.MustCompile(`^snap-[0-9a-f]{8}([0-9a-f]{9})?$`)

// CreateSnapshot takes the snapshot that the name stands for, or returns it. EC2
// has no idempotency token for it: the name's tag is the only guard, and it is
// trusted only once EC2 must show everything that was asked for under the name.
func (b *Backend) CreateSnapshot(ctx context.Context, req volume.SnapshotRequest) (volume.Snapshot, error) {
	values, err := SnapshotParameters().Decode(req.Parameters)
	if err != nil {
		return volume.Snapshot{}, fault.New(fault.Invalid, opSnapshot, req.Name, "%v", err)
	}
	s, found, err := b.namedSnapshot(ctx, req)
	if err != nil || found {
		return s, err
	}
	if wait := time.Until(b.tokens.settled(req.Name, b.api.AbsenceInterval())); wait > 0 {
		if batch.Pause(ctx, wait) != nil {
			return s, fault.New(fault.Pending, opSnapshot, req.Name, "an earlier call may have taken it and EC2 may not show it yet; ask again")
		}
		if s, found, err = b.namedSnapshot(ctx, req); err != nil || found {
			return s, err
		}
	}
	v, err := b.volume(ctx, opSnapshot, req.Source)
	if err != nil {
		return s, err
	}
	tags, err := b.tags(values, TagSnapshotName, req.Name, inheritedLayout(v.Tags))
	if err != nil {
		return s, fault.New(fault.Invalid, opSnapshot, req.Name, "%v", err)
	}
	var made ec2.Snapshot
	_, err = untilKnown(ctx, opSnapshot, func(ctx context.Context) (err error) {
		made, err = b.api.CreateSnapshot(ctx, v.ID, "", tags)
		return err
	}, b.aVolume(v.ID))
	if fault.Is(err, fault.UnknownOutcome) {
		b.tokens.lost(req.Name, time.Now())
	}
	if err != nil {
		return s, fault.Wrap(opSnapshot, req.Name, err)
	}
	b.tokens.took(req.Name, made, time.Now())
	return describeSnapshot(made), nil
}

// namedSnapshot finds our snapshot of a name and checks that it fits the request.
func (b *Backend) namedSnapshot(ctx context.Context, req volume.SnapshotRequest) (volume.Snapshot, bool, error) {
	list, err := b.api.SnapshotsTagged(ctx, TagSnapshotName, req.Name)
	if err != nil {
		return volume.Snapshot{}, false, fault.Wrap(opSnapshot, req.Name, err)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(s ec2.Snapshot) bool {
		return !b.judge(TagSnapshotName, s.Tags).Delete || b.tokens.isDeleted(s.ID)
	})
	if fresh, ok := b.tokens.recall(req.Name, time.Now(), b.api.AbsenceInterval()); ok && len(list) == 0 {
		list = append(list, fresh) // EC2 does not show it yet
	}
	if len(list) == 0 {
		return volume.Snapshot{}, false, nil
	}
	// Should there be several, the oldest is the one that was answered first.
	s := slices.MinFunc(list, func(x, y ec2.Snapshot) int { return x.Started.Compare(y.Started) })
	if s.Volume != req.Source {
		return volume.Snapshot{}, false, fault.New(fault.Conflict, opSnapshot, req.Name, "%s exists under this name, but of volume %s", s.ID, s.Volume)
	}
	if s.State == "error" {
		return volume.Snapshot{}, false, fault.New(fault.Internal, opSnapshot, s.ID, "EC2 could not complete the snapshot; delete it and take another")
	}
	return describeSnapshot(s), true, nil
}

// DeleteSnapshot deletes a snapshot that is ours by its tags.
func (b *Backend) DeleteSnapshot(ctx context.Context, id string) error {
	s, err := b.snapshot(ctx, opDeleteSnapshot, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	switch j := b.judge(TagSnapshotName, s.Tags); {
	case j.Keep != "":
		return nil
	case j.Refuse != "":
		return fault.New(fault.InUse, opDeleteSnapshot, id, "not deleted: %s. If it is meant: %s", j.Refuse, b.claim(id))
	}
	err = end(ctx, opDeleteSnapshot, b.aSnapshot(id), b.api.DeleteSnapshot)
	if err == nil {
		b.tokens.deleted(id, time.Now())
	}
	return err
}

// ListSnapshots lists the account's snapshots, however they were made, and by id also
// those that others share: Kubernetes asks for those that a user imports. An id or source
// that does not exist gives an empty list. So the CSI specification asks for it.
func (b *Backend) ListSnapshots(ctx context.Context, filter volume.SnapshotFilter, page volume.Page) ([]volume.Snapshot, string, error) {
	if filter.ID != "" {
		s, found, err := b.api.Snapshot(ctx, filter.ID)
		if err != nil {
			return nil, "", fault.Wrap("list snapshots", filter.ID, err)
		}
		if !found || filter.Source != "" && s.Volume != filter.Source {
			return nil, "", nil
		}
		return []volume.Snapshot{describeSnapshot(s)}, "", nil
	}
	return backend.Paged(page, func(token string) ([]ec2.Snapshot, string, error) {
		return b.api.SnapshotPage(ctx, filter.Source, token)
	}, describeSnapshot)
}

// snapshot reads a snapshot that must exist; fault.NotFound only with proof.
func (b *Backend) snapshot(ctx context.Context, op, id string) (ec2.Snapshot, error) {
	if !snapshotID.MatchString(id) {
		return ec2.Snapshot{}, fault.New(fault.NotFound, op, strings.ToValidUTF8(id, "?"), "no snapshot can have this id; EC2 snapshot ids are snap- and 8 or 17 hexadecimal digits")
	}
	return mustExist(ctx, b, op, "snapshot", id, b.api.Snapshot, b.api.SnapshotAbsent)
}

func describeSnapshot(s ec2.Snapshot) volume.Snapshot {
	return volume.Snapshot{ID: s.ID, Source: s.Volume, Bytes: s.SizeGiB * volume.GiB, Created: s.Started, Ready: s.State == "completed"}
}
