package backend

import (
	"context"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Backend is one kind of disk. Every method is idempotent: the same request again,
// also from another process and after a crash at any instant, means the same
// resource. Errors are faults (pkg/fault); fault.NotFound is only answered where
// absence is proven. Contexts bound every wait.
type Backend interface {
	// Create makes the volume that the request's name stands for, or returns it where
	// it exists and fits; fault.Conflict where it exists and does not fit.
	Create(ctx context.Context, req volume.CreateRequest) (volume.Volume, error)
	// Delete removes a volume that is ours; nil where it does not exist. Someone
	// else's is fault.InUse and stays. kept says why a volume that we gave back was
	// left alone although the answer is success; it is for the log and an event.
	Delete(ctx context.Context, handle string) (kept string, err error)
	// Get describes one volume.
	Get(ctx context.Context, handle string) (volume.Volume, error)
	// List describes one page of the volumes, and the token of the next page.
	List(ctx context.Context, page volume.Page) ([]volume.Volume, string, error)
	// Supports answers nil where a volume of this kind can be used like this;
	// otherwise fault.Invalid with the reason.
	Supports(capability volume.Capability) error
}

// Publisher is a Backend whose volumes are attached to a node before use. It may be asked
// about several nodes of one volume at the same time.
type Publisher interface {
	// Publish makes a volume reachable from a node and returns the publish context.
	Publish(ctx context.Context, req volume.PublishRequest) (map[string]string, error)
	// Unpublish ends it; nil where it is ended or the node is gone. An empty node
	// means every node.
	Unpublish(ctx context.Context, handle, node string) error
}

// Expander is a Backend whose volumes grow.
type Expander interface {
	// Expand grows a volume into the range and returns its size in bytes, which is
	// never smaller than before.
	Expand(ctx context.Context, handle string, size volume.Range) (int64, error)
}

// Modifier is a Backend whose volumes change their attributes while they live.
type Modifier interface {
	// Modify gives a volume the mutable parameters; those that it has already cost nothing.
	Modify(ctx context.Context, handle string, parameters map[string]string) error
}

// Snapshotter is a Backend with point-in-time copies.
type Snapshotter interface {
	CreateSnapshot(ctx context.Context, req volume.SnapshotRequest) (volume.Snapshot, error)
	DeleteSnapshot(ctx context.Context, id string) error
	ListSnapshots(ctx context.Context, filter volume.SnapshotFilter, page volume.Page) ([]volume.Snapshot, string, error)
}

// Examiner is a Backend that can tell what ails a volume.
type Examiner interface {
	// Examine returns what is known to be wrong, nothing for a healthy volume.
	Examine(ctx context.Context, handle string) ([]volume.Ailment, error)
}

// Prober is a Backend that can tell whether its cloud answers.
type Prober interface {
	// Probe returns nil once the cloud has answered.
	Probe(ctx context.Context) error
}

// Credentialed is a Backend that can work with the credentials of a request.
type Credentialed interface {
	// With is the backend that uses the secrets that came with a request, which are not empty.
	With(secrets map[string]string) (Backend, error)
}

// Owner is who we are when a backend asks whether something is ours.
type Owner struct {
	Driver  string // driver name, such as ebs.csi.diskbridge.io
	Cluster string // never empty
	Tags    map[string]string
}

// Kind describes a kind of disk to the front doors.
type Kind struct {
	Name       volume.Kind
	Driver     string     // default driver name
	Parameters Parameters // of a new volume: StorageClass, cloud_properties
	// SnapshotParameters are those of a new snapshot, nil without snapshots.
	SnapshotParameters Parameters
	// MutableParameters are those that may change while a volume lives, nil without a Modifier.
	MutableParameters Parameters
	// ZoneKeys are the further topology keys of drivers that a kind can stand in for, by
	// driver name: volumes that such a driver made ask for them.
	ZoneKeys map[string][]string
	// OptIn says that the kind is only served where the operator names it.
	OptIn bool
	// Attach says that a volume is published to a node before use, by a Publisher.
	Attach bool
	// Grows says that a volume can grow, by an Expander.
	Grows bool
	// Zonal says that there are volumes that are reachable from one zone only.
	Zonal bool
	// Examined says that a volume's health is known, by an Examiner.
	Examined bool
	// PublishedNodes says that a volume tells which nodes hold it.
	PublishedNodes bool
	// Clones says that a volume can be made from another one.
	Clones bool
	// NodeGrows says that the node has to grow a volume's file system after Expand.
	NodeGrows bool
}

// Registry is the set of kinds that a program serves, in a fixed order.
type Registry []Kind

// Find returns the kind of a name.
func (r Registry) Find(name volume.Kind) (Kind, bool) {
	for _, k := range r {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// Served are the kinds that are served where the operator names none.
func (r Registry) Served() Registry {
	return slices.DeleteFunc(slices.Clone(r), func(k Kind) bool { return k.OptIn })
}

// Names lists the kinds in order.
func (r Registry) Names() []string {
	names := make([]string, len(r))
	for i, k := range r {
		names[i] = string(k.Name)
	}
	return names
}
