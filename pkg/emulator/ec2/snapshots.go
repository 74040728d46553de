package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// maxExcluded is how many data volumes CreateSnapshots may leave out:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html
const maxExcluded = 40

// snapshotItem is a snapshot in an answer; CreateSnapshots says state where the others say status.
type snapshotItem struct {
	SnapshotID  string    `xml:"snapshotId"`
	VolumeID    string    `xml:"volumeId"`
	Status      string    `xml:"status,omitempty"`
	State       string    `xml:"state,omitempty"`
	Message     string    `xml:"statusMessage,omitempty"`
	StartTime   wire.Time `xml:"startTime"`
	EndTime     wire.Time `xml:"completionTime,omitempty"`
	Progress    string    `xml:"progress"`
	Owner       string    `xml:"ownerId"`
	OwnerAlias  string    `xml:"ownerAlias,omitempty"`
	VolumeSize  int       `xml:"volumeSize"`
	Description string    `xml:"description"`
	Tags        []tag     `xml:"tagSet>item"`
	Encrypted   bool      `xml:"encrypted"`
	KMSKeyID    string    `xml:"kmsKeyId,omitempty"`
	StorageTier string    `xml:"storageTier"`
}

func (s *Service) snapshotItem(v *store.Snapshot) snapshotItem {
	item := snapshotItem{
		SnapshotID: v.ID, VolumeID: v.Volume, Status: v.State, StartTime: wire.NewTime(v.Started),
		EndTime: wire.NewTime(v.Completed), Progress: s.snapshotProgress(v), Owner: v.Owner, OwnerAlias: v.OwnerAlias,
		VolumeSize: v.SizeGiB, Description: v.Description, Tags: tagSet(v.Tags),
		Encrypted: v.Encrypted, KMSKeyID: v.KMSKey, StorageTier: "standard",
	}
	if v.State == store.Error {
		item.Message = "The snapshot could not be completed."
	}
	return item
}

func (s *Service) snapshotProgress(v *store.Snapshot) string {
	if v.State == store.Completed {
		return "100%"
	}
	return fmt.Sprintf("%d%%", percent(v.Started, v.Change.At, s.Clock.Now()))
}

func (s *Service) createSnapshot(ctx context.Context, p *wire.Params) (any, error) {
	id := p.Required("VolumeId")
	tags, err := tagSpecifications(p, "snapshot")
	if err != nil {
		return nil, err
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkVolumeIDs("volumeId", id); err != nil {
		return nil, err
	}
	var made *store.Snapshot
	err = s.Store.Update(func() error {
		v, err := s.volume(id)
		if err != nil {
			return err
		}
		if v.State != store.Available {
			return wire.Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", id, v.State)
		}
		if err := allowed(p); err != nil {
			return err
		}
		made = s.newSnapshot(v, p.String("Description"), tags, FailsLater(ctx))
		return nil
	})
	if err != nil {
		return nil, err
	}
	item := s.snapshotItem(made)
	if err := s.takeSnapshot(ctx, made.ID); err != nil {
		return nil, err
	}
	return item, nil
}

// newSnapshot adds a snapshot within the running update; its bytes are still to be copied.
func (s *Service) newSnapshot(v *store.Volume, description string, tags map[string]string, fails bool) *store.Snapshot {
	snap := &store.Snapshot{
		ID: s.Store.NewID("snap"), Volume: v.ID, Owner: s.Account, Description: description, SizeGiB: v.SizeGiB,
		State: store.Pending, Started: s.Clock.Now(), Encrypted: v.Encrypted, KMSKey: v.KMSKey, Tags: maps.Clone(tags), Fails: fails,
	}
	s.Store.Snapshots.Put(snap)
	return snap
}

// takeSnapshot copies the bytes as they are now. The snapshot's answer is made before: pending, whatever comes of it.
func (s *Service) takeSnapshot(ctx context.Context, id string) error {
	if err := s.Life.PrepareSnapshot(ctx, id); err != nil {
		return errors.Join(err, s.Store.Update(func() error { s.Store.Snapshots.Drop(id); return nil }))
	}
	s.Life.Step(context.WithoutCancel(ctx), store.Snapshots, id)
	return nil
}

// createSnapshots takes one snapshot of each volume of an instance:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSnapshots.html
func (s *Service) createSnapshots(ctx context.Context, p *wire.Params) (any, error) {
	instance := p.Required("InstanceSpecification.InstanceId")
	excluded := p.List("InstanceSpecification.ExcludeDataVolumeId")
	tags, err := tagSpecifications(p, "snapshot")
	if err != nil {
		return nil, err
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkInstanceIDs(instance); err != nil {
		return nil, err
	}
	if len(excluded) > maxExcluded {
		return nil, wire.Errorf("InvalidParameterValue", "At most %d data volumes can be excluded.", maxExcluded)
	}
	var made []*store.Snapshot
	err = s.Store.Update(func() error {
		if _, err := s.instance(instance); err != nil {
			return err
		}
		sources, err := s.snapshotSources(instance, excluded)
		if err != nil {
			return err
		}
		if err := allowed(p); err != nil {
			return err
		}
		for _, v := range sources {
			own := maps.Clone(tags)
			if p.String("CopyTagsFromSource") == "volume" {
				maps.Copy(own, v.Tags)
				maps.Copy(own, tags)
			}
			made = append(made, s.newSnapshot(v, p.String("Description"), own, FailsLater(ctx)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var items []snapshotItem
	for _, snap := range made {
		item := s.snapshotItem(snap)
		item.State, item.Status = item.Status, ""
		items = append(items, item)
		if err := s.takeSnapshot(ctx, snap.ID); err != nil {
			return nil, err
		}
	}
	return struct {
		Items []snapshotItem `xml:"snapshotSet>item"`
	}{items}, nil
}

func (s *Service) snapshotSources(instance string, excluded []string) ([]*store.Volume, error) {
	var sources []*store.Volume
	attached := map[string]bool{}
	for _, v := range s.Store.Volumes.All(store.Truth) {
		if v.Attachment(instance) == nil {
			continue
		}
		attached[v.ID] = true
		if !slices.Contains(excluded, v.ID) {
			sources = append(sources, v)
		}
	}
	for _, id := range excluded {
		if !attached[id] {
			return nil, wire.Errorf("InvalidParameterValue", "Volume '%s' is not attached to instance '%s'.", id, instance)
		}
	}
	if len(sources) == 0 {
		return nil, wire.Errorf("InvalidParameterValue", "Instance '%s' has no volumes to take snapshots of.", instance)
	}
	return sources, nil
}

func (s *Service) deleteSnapshot(ctx context.Context, p *wire.Params) (any, error) {
	id := p.Required("SnapshotId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkSnapshotIDs(id); err != nil {
		return nil, err
	}
	err := s.Store.Update(func() error {
		v, err := s.snapshot(id)
		switch {
		case err != nil:
			return err
		case v.Owner != s.Account:
			return wire.Coded("UnauthorizedOperation")
		case v.Lock != nil && s.lockState(v.Lock) != "expired":
			return wire.Errorf("SnapshotLocked", "The snapshot '%s' is locked until %s.", id, wire.NewTime(v.Lock.Expires))
		}
		if err := allowed(p); err != nil {
			return err
		}
		s.Store.Snapshots.Drop(id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.Life.RemoveBytes(context.WithoutCancel(ctx), id); err != nil {
		return nil, err
	}
	return simpleResult{true}, nil
}

func (s *Service) describeSnapshots(_ context.Context, p *wire.Params) (any, error) {
	type snapshot = *store.Snapshot
	owners, restorers := p.List("Owner"), p.List("RestorableBy")
	var all []snapshot
	s.Store.Read(func() {
		for _, v := range s.Store.Snapshots.All(viewSnapshots) {
			if s.ownedBy(v, owners) && s.restorableBy(v, restorers) {
				all = append(all, v)
			}
		}
	})
	page, next, err := listing[snapshot]{
		idParameter: "SnapshotId", minResults: 5,
		key:      func(v snapshot) string { return v.ID },
		checkIDs: checkSnapshotIDs,
		missing:  noSnapshots,
		tags:     func(v snapshot) map[string]string { return v.Tags },
		fields: map[string]func(snapshot) []string{
			"description":  func(v snapshot) []string { return one(v.Description) },
			"encrypted":    func(v snapshot) []string { return truth(v.Encrypted) },
			"owner-alias":  func(v snapshot) []string { return some(v.OwnerAlias) },
			"owner-id":     func(v snapshot) []string { return one(v.Owner) },
			"progress":     func(v snapshot) []string { return one(s.snapshotProgress(v)) },
			"snapshot-id":  func(v snapshot) []string { return one(v.ID) },
			"start-time":   func(v snapshot) []string { return at(v.Started) },
			"status":       func(v snapshot) []string { return one(v.State) },
			"storage-tier": func(snapshot) []string { return one("standard") },
			"volume-id":    func(v snapshot) []string { return one(v.Volume) },
			"volume-size":  func(v snapshot) []string { return num(v.SizeGiB) },
		},
	}.pick(p, all)
	if err != nil {
		return nil, err
	}
	var items []snapshotItem
	for _, v := range page {
		items = append(items, s.snapshotItem(v))
	}
	return struct {
		Items []snapshotItem `xml:"snapshotSet>item"`
		Next  string         `xml:"nextToken,omitempty"`
	}{items, next}, nil
}

func (s *Service) ownedBy(v *store.Snapshot, owners []string) bool {
	return len(owners) == 0 || slices.ContainsFunc(owners, func(o string) bool {
		return o == v.Owner || o == "self" && v.Owner == s.Account || o != "" && o == v.OwnerAlias
	})
}

func (s *Service) restorableBy(v *store.Snapshot, users []string) bool {
	return len(users) == 0 || slices.ContainsFunc(users, func(u string) bool {
		return u == "all" && v.Public || (u == "self" || u == s.Account) && v.Owner == s.Account
	})
}
