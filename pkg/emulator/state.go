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

	FileSystems  []FileSystemState  `json:"file_systems,omitempty"`
	AccessPoints []AccessPointState `json:"access_points,omitempty"`
	Buckets      []string           `json:"buckets,omitempty"` // the account's own
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
	Force    bool   `json:"force,omitempty"` // it ends by force
}

// SnapshotState is a snapshot.
type SnapshotState struct {
	ID      string            `json:"id"`
	Volume  string            `json:"volume"`
	State   string            `json:"state"`
	SizeGiB int               `json:"size_gib"`
	Tags    map[string]string `json:"tags"`
}

// FileSystemState is an EFS file system with its mount targets.
type FileSystemState struct {
	ID           string             `json:"id"`
	Token        string             `json:"token"`
	State        string             `json:"state"`
	Throughput   string             `json:"throughput"` // mode
	Backup       string             `json:"backup,omitempty"`
	Lifecycle    int                `json:"lifecycle,omitempty"` // number of policies
	Tags         map[string]string  `json:"tags"`
	MountTargets []MountTargetState `json:"mount_targets"`
}

// MountTargetState is a mount target.
type MountTargetState struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Zone   string `json:"zone"`
	Subnet string `json:"subnet"`
	IP     string `json:"ip"`
}

// AccessPointState is an EFS access point.
type AccessPointState struct {
	ID         string            `json:"id"`
	FileSystem string            `json:"file_system"`
	State      string            `json:"state"`
	Path       string            `json:"path"`
	Tags       map[string]string `json:"tags"`
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
		state.FileSystems, state.AccessPoints = s.fileStates()
		for _, b := range s.store.Buckets.All(store.Truth) {
			if b.Owner == s.options.AccountID {
				state.Buckets = append(state.Buckets, b.Name)
			}
		}
	})
	for _, i := range s.allInstances() {
		state.Instances = append(state.Instances, InstanceState{i.ID, i.Zone, i.Type, i.State})
	}
	return state
}

// fileStates are EFS's; it must be called inside Read or Update.
func (s *Server) fileStates() (systems []FileSystemState, points []AccessPointState) {
	targets := map[string][]MountTargetState{}
	for _, m := range s.store.MountTargets.All(store.Truth) {
		targets[m.FileSystem] = append(targets[m.FileSystem], MountTargetState{m.ID, m.State, m.Zone, m.Subnet, m.IP})
	}
	for _, f := range s.store.FileSystems.All(store.Truth) {
		systems = append(systems, FileSystemState{f.ID, f.Token, f.State, f.ThroughputMode, f.Backup, len(f.Lifecycle), f.Tags, targets[f.ID]})
	}
	for _, a := range s.store.AccessPoints.All(store.Truth) {
		points = append(points, AccessPointState{a.ID, a.FileSystem, a.State, a.Root.Path, a.Tags})
	}
	return systems, points
}

func newVolumeState(v *store.Volume) VolumeState {
	state := VolumeState{
		ID: v.ID, Zone: v.Zone, State: v.Status(), Type: v.Type, SizeGiB: v.SizeGiB, IOPS: v.IOPS, Created: v.Created, Tags: v.Tags,
		Attachments: []AttachmentState{},
	}
	for _, a := range v.Attachments {
		state.Attachments = append(state.Attachments, AttachmentState{a.Instance, a.Device, a.State, a.Force})
	}
	if m := v.Current(); m != nil {
		state.Modification = m.State
	}
	return state
}
