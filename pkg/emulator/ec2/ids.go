package ec2

import (
	"regexp"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

var hexPart = regexp.MustCompile(`^([0-9a-f]{8}|[0-9a-f]{17})$`)

func wellFormed(prefix, id string) bool {
	part, ok := strings.CutPrefix(id, prefix+"-")
	return ok && hexPart.MatchString(part)
}

func checkVolumeIDs(parameter string, ids ...string) error {
	for _, id := range ids {
		if !wellFormed("vol", id) {
			return wire.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Expected: 'vol-...'.", id, parameter)
		}
	}
	return nil
}

func checkSnapshotIDs(ids ...string) error {
	for _, id := range ids {
		if !wellFormed("snap", id) {
			return wire.Errorf("InvalidParameterValue", "Value (%s) for parameter snapshotId is invalid. Expected: 'snap-...'.", id)
		}
	}
	return nil
}

func checkInstanceIDs(ids ...string) error {
	for _, id := range ids {
		if !wellFormed("i", id) {
			return wire.Errorf("InvalidInstanceID.Malformed", "Invalid id: %q", id)
		}
	}
	return nil
}

func noVolumes(ids ...string) error {
	if len(ids) > 1 {
		return wire.Errorf("InvalidVolume.NotFound", "The volumes '%s' do not exist.", strings.Join(ids, ", "))
	}
	return wire.Errorf("InvalidVolume.NotFound", "The volume '%s' does not exist.", ids[0])
}

func noSnapshots(ids ...string) error {
	if len(ids) > 1 {
		return wire.Errorf("InvalidSnapshot.NotFound", "The snapshots '%s' do not exist.", strings.Join(ids, ", "))
	}
	return wire.Errorf("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", ids[0])
}

func noInstances(ids ...string) error {
	if len(ids) > 1 {
		return wire.Errorf("InvalidInstanceID.NotFound", "The instance IDs '%s' do not exist", strings.Join(ids, ", "))
	}
	return wire.Errorf("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", ids[0])
}

// volume is the volume as it truly is, for a call that is to change it; a fresh one may be unknown for a moment.
// It must be called inside Read or Update.
func (s *Service) volume(id string) (*store.Volume, error) {
	if _, ok := s.Store.Volumes.Seen(viewChanges, id); !ok {
		return nil, noVolumes(id)
	}
	v, ok := s.Store.Volumes.Get(id)
	if !ok || v.State == store.Gone {
		return nil, noVolumes(id)
	}
	return v, nil
}

func (s *Service) snapshot(id string) (*store.Snapshot, error) {
	if _, ok := s.Store.Snapshots.Seen(viewChanges, id); !ok {
		return nil, noSnapshots(id)
	}
	v, ok := s.Store.Snapshots.Get(id)
	if !ok {
		return nil, noSnapshots(id)
	}
	return v, nil
}

func (s *Service) instance(id string) (*store.Instance, error) {
	if _, ok := s.Store.Instances.Seen(viewChanges, id); !ok {
		return nil, noInstances(id)
	}
	v, ok := s.Store.Instances.Get(id)
	if !ok {
		return nil, noInstances(id)
	}
	return v, nil
}

// zoneID is the id that AWS gives a zone, such as use1-az1; empty for a zone that is not there.
func (s *Service) zoneID(zone string) string {
	for i, z := range s.Zones {
		if z == zone {
			return ZoneID(s.Region, i)
		}
	}
	return ""
}

// ZoneID is the id of a region's n-th zone: us-east-1 has use1-az1, use1-az2, …
func ZoneID(region string, n int) string {
	parts := strings.Split(region, "-")
	short := parts[0]
	for _, p := range parts[1:] {
		short += p[:1]
	}
	return short + "-az" + string(rune('1'+n))
}

// checkZone accepts a zone by name or by id and answers its name.
func (s *Service) checkZone(name, id string) (string, error) {
	for _, z := range s.Zones {
		if name != "" && z == name || name == "" && s.zoneID(z) == id {
			return z, nil
		}
	}
	return "", wire.Errorf("InvalidZone.NotFound", "The zone '%s' does not exist.", name+id)
}
