package emulator

import (
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
)

// State is what there is, as it truly is, whatever the services show yet.
type State struct {
	Volumes   []VolumeState   `json:"volumes"`
	Snapshots []SnapshotState `json:"snapshots"` // the account's own
	Instances []InstanceState `json:"instances"`
}

// VolumeState is a volume.
type VolumeState struct {
	ID          string            `json:"id"`
	Zone        string            `json:"zone"`
	State       string            `json:"state"`
	Type        string            `json:"type"`
	SizeGiB     int               `json:"size_gib"`
	IOPS        int               `json:"iops,omitempty"`
	Created     time.Time         `json:"created"`
	Tags        map[string]string `json:"tags"`
	Attachments []AttachmentState `json:"attachments"`

	Modification string `json:"modification,omitempty"` // state of the latest one
}

// AttachmentState is an attachment.
type AttachmentState struct {
	Instance string `json:"instance"`
	Device   string `json:"device"`
	State    string `json:"state"`
}

// SnapshotState is a snapshot.
type SnapshotState struct {
	ID      string            `json:"id"`
	Volume  string            `json:"volume"`
	State   string            `json:"state"`
	SizeGiB int               `json:"size_gib"`
	Tags    map[string]string `json:"tags"`
}

// InstanceState is an instance.
type InstanceState struct {
	ID    string `json:"id"`
	Zone  string `json:"zone"`
	Type  string `json:"type"`
	State string `json:"state"`
}

// State is what there is now.
func (s *Server) State() State {
	state := State{Volumes: []VolumeState{}, Snapshots: []SnapshotState{}, Instances: []InstanceState{}}
	s.store.Read(func() {
		for _, v := range s.store.Volumes.All(store.Truth) {
			if v.State != store.Gone {
				state.Volumes = append(state.Volumes, newVolumeState(v))
			}
		}
		for _, v := range s.store.Snapshots.All(store.Truth) {
			if !v.Public {
				state.Snapshots = append(state.Snapshots, SnapshotState{v.ID, v.Volume, v.State, v.SizeGiB, v.Tags})
			}
		}
	})
	for _, i := range s.allInstances() {
		state.Instances = append(state.Instances, InstanceState{i.ID, i.Zone, i.Type, i.State})
	}
	return state
}

func newVolumeState(v *store.Volume) VolumeState {
	state := VolumeState{
		ID: v.ID, Zone: v.Zone, State: v.Status(), Type: v.Type, SizeGiB: v.SizeGiB, IOPS: v.IOPS, Created: v.Created, Tags: v.Tags,
		Attachments: []AttachmentState{},
	}
	for _, a := range v.Attachments {
		state.Attachments = append(state.Attachments, AttachmentState{a.Instance, a.Device, a.State})
	}
	if m := v.Current(); m != nil {
		state.Modification = m.State
	}
	return state
}
