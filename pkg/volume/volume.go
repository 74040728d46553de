package volume

import "time"

// Volume context keys: what the controller tells the node about a volume.
const (
	// ContextMayFormat is "true" only for a volume that was made empty for this claim.
	ContextMayFormat = "diskbridge.io/may-format"
	// ContextSource names the snapshot or volume whose data the volume carries; it is a
	// key of the publish context too, for volumes of other drivers.
	ContextSource = "diskbridge.io/source"
	// ContextAwaitInitialized is "true" where a volume is attached only once all its
	// data has come from its snapshot; the EBS CSI driver's key.
	ContextAwaitInitialized = "blockattachuntilinitialized"
	// ContextProvisioner is written by Kubernetes' provisioner into every volume it made.
	ContextProvisioner = "storage.kubernetes.io/csiProvisionerIdentity"
)

// PublishDevice is the publish context key of the device name that the cloud was
// asked for, such as /dev/xvdba. On NVMe instances it is only a hint.
const PublishDevice = "devicePath"

// Source is where the data of a new volume comes from; at most one is set.
type Source struct {
	Snapshot string
	Volume   string
}

// CreateRequest asks for a volume that does not exist yet. The same request may
// come again at any time and then means the same volume.
type CreateRequest struct {
	Name         string
	Range        Range
	Capabilities []Capability
	Parameters   map[string]string
	// MutableParameters are those of a VolumeAttributesClass; they win.
	MutableParameters map[string]string
	Source            Source
	Topology          Requirement
}

// Volume is what a backend says of a disk.
type Volume struct {
	Handle         string
	Bytes          int64
	Context        map[string]string
	Source         Source
	Topology       []Topology
	PublishedNodes []string
	MultiNode      bool // several nodes may use it at once
}

// PublishRequest makes a volume reachable from a node.
type PublishRequest struct {
	Handle     string
	Node       string
	Capability Capability
	Context    map[string]string
}

// SnapshotRequest asks for a point-in-time copy of a volume; idempotent by Name.
type SnapshotRequest struct {
	Name       string
	Source     string
	Parameters map[string]string
}

// Snapshot is what a backend says of a snapshot. Bytes is the smallest volume
// that it can be restored into.
type Snapshot struct {
	ID      string
	Source  string
	Bytes   int64
	Created time.Time
	Ready   bool
}

// Page asks for one page of a list: at most Max entries (0 = the backend's own
// page size), from Token on ("" = the beginning).
type Page struct {
	Max   int
	Token string
}

// SnapshotFilter narrows a list of snapshots; empty fields match everything.
type SnapshotFilter struct {
	ID     string
	Source string
}
