package ebs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opSnapshotDisk = "snapshot disk"

// SnapshotDisk takes a snapshot. EC2 has no token for it, so a random tag finds the one whose answer was lost.
func (d *Disks) SnapshotDisk(ctx context.Context, req volume.DiskSnapshot) (volume.Disk, error) {
	v, err := d.read(ctx, opSnapshotDisk, req.Handle)
	if err != nil {
		return volume.Disk{}, err
	}
	tags, notes := metadata(req.Tags)
	notes = append(notes, leaveRoom(tags, snapshotTags)...)
	description := req.Description
	if len(v.Attachments) > 0 && req.DeviceTag != "" {
		tags[req.DeviceTag] = v.Attachments[0].Device
		description += "/" + path.Base(v.Attachments[0].Device)
	}
	if description = cut(description, 255); description != "" {
		tags["Name"] = description
	}
	maps.Copy(tags, map[string]string{
		TagLayout: inheritedLayout(v.Tags), tagRequest: rand.Text(), TagUnconfirmed: "true",
	})
	s, err := d.takeOnce(ctx, v.ID, description, tags)
	if err != nil {
		return volume.Disk{}, err
	}
	if req.Complete {
		if err := d.awaitCompleted(ctx, s); err != nil {
			return volume.Disk{}, err
		}
	}
	if err := d.confirm(ctx, opSnapshotDisk, d.aSnapshot(s.ID)); err != nil {
		ctx, cancel := afterwards(ctx)
		defer cancel()
		return volume.Disk{}, d.dropSnapshot(ctx, s.ID, err)
	}
	return volume.Disk{Handle: s.ID, Notes: notes}, nil
}

// snapshotTags is how many tags a snapshot gets beside the Director's: its layout, the request, unconfirmed, the device and
// the name.
const snapshotTags = 5

// leaveRoom takes away what would be too many tags, the least telling first, and says so.
func leaveRoom(tags map[string]string, room int) (notes []string) {
	for i, key := range byUse(tags) {
		if i >= maxTags-room {
			delete(tags, key)
			notes = append(notes, fmt.Sprintf("tag %s is left out: EC2 takes %d", key, maxTags))
		}
	}
	return notes
}

// takeOnce asks for the snapshot, and looks for it by its tag where the answer is lost.
func (d *Disks) takeOnce(ctx context.Context, id, description string, tags map[string]string) (s ec2.Snapshot, err error) {
	for {
		_, err = untilKnown(ctx, opSnapshotDisk, func(ctx context.Context) (err error) {
			s, err = d.api.CreateSnapshot(ctx, id, description, tags)
			return err
		}, d.aVolume(id))
		if !fault.Is(err, fault.UnknownOutcome) {
			return s, fault.Wrap(opSnapshotDisk, id, err)
		}
		if batch.Pause(ctx, d.api.AbsenceInterval()) != nil {
			return s, fault.New(fault.UnknownOutcome, opSnapshotDisk, id, "EC2's answer was lost (%v): it may have taken a snapshot, which `diskbridge orphans` then lists", err)
		}
		list, readErr := d.api.SnapshotsTagged(ctx, tagRequest, tags[tagRequest])
		if readErr != nil {
			return s, fault.Wrap(opSnapshotDisk, id, fmt.Errorf("%w; then: %w", err, readErr))
		}
		if len(list) > 0 {
			return list[0], nil
		}
	}
}

var errSnapshotFailed = errors.New("EC2 could not complete the snapshot")

// awaitCompleted waits until a snapshot's data is copied.
func (d *Disks) awaitCompleted(ctx context.Context, s ec2.Snapshot) error {
	err := batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, found, err := d.api.Snapshot(ctx, s.ID)
		switch {
		case fault.Is(err, fault.Unavailable), err == nil && !found:
			return false, nil
		case err == nil && now.State == "error":
			return false, errSnapshotFailed
		}
		return now.State == "completed", err
	})
	if errors.Is(err, errSnapshotFailed) {
		return d.dropSnapshot(ctx, s.ID, err)
	}
	if err != nil && ctx.Err() != nil {
		return fault.New(fault.Pending, opSnapshotDisk, s.ID, "EC2 still copies the data; the snapshot exists, and `diskbridge orphans` lists it")
	}
	return fault.Wrap(opSnapshotDisk, s.ID, err)
}

// dropSnapshot deletes a snapshot that this call took and cannot answer: the Director never learns its name.
func (d *Disks) dropSnapshot(ctx context.Context, id string, why error) error {
	if err := end(ctx, opSnapshotDisk, d.aSnapshot(id), d.api.DeleteSnapshot); err != nil {
		return fault.New(fault.KindOf(why), opSnapshotDisk, id, "%v; it is left, see `diskbridge orphans`: %v", why, err)
	}
	return fault.New(fault.KindOf(why), opSnapshotDisk, id, "%v; it was deleted again, take another", why)
}

// DeleteDiskSnapshot deletes a snapshot; nil where it is gone. One of Kubernetes' stays.
func (d *Disks) DeleteDiskSnapshot(ctx context.Context, id string) error {
	s, err := d.snapshot(ctx, opDeleteSnapshot, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if name := s.Tags[TagSnapshotName]; name != "" {
		return fault.New(fault.InUse, opDeleteSnapshot, id, "not deleted: it is Kubernetes' snapshot %s", name)
	}
	return end(ctx, opDeleteSnapshot, d.aSnapshot(id), d.api.DeleteSnapshot)
}
