package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Broker serves requests about the kinds of disk it was given.
type Broker struct {
	backends map[volume.Kind]backend.Backend
	locks    *Locks
	secrets  map[string]string // of the request
}

// New makes a Broker over opened backends.
func New(backends map[volume.Kind]backend.Backend) *Broker {
	return &Broker{backends: maps.Clone(backends), locks: NewLocks()}
}

// With is the broker for a request that came with secrets. Kinds that know no secrets ignore them.
func (b *Broker) With(secrets map[string]string) *Broker {
	own := *b
	own.secrets = secrets
	return &own
}

// Create makes a volume of a kind; calls for one name exclude each other.
func (b *Broker) Create(ctx context.Context, kind volume.Kind, req volume.CreateRequest) (volume.Volume, error) {
	be, err := b.of("create volume", kind)
	if err != nil {
		return volume.Volume{}, err
	}
	return locked(b, "create volume", "name/"+req.Name, func() (volume.Volume, error) { return be.Create(ctx, req) })
}

// Delete removes a volume; kept is the reason why it was left alone with success.
func (b *Broker) Delete(ctx context.Context, handle string) (kept string, err error) {
	be, err := b.owner("delete volume", handle)
	if err != nil {
		return "", err
	}
	return locked(b, "delete volume", handle, func() (string, error) { return be.Delete(ctx, handle) })
}

// Get describes a volume.
func (b *Broker) Get(ctx context.Context, handle string) (volume.Volume, error) {
	be, err := b.owner("get volume", handle)
	if err != nil {
		return volume.Volume{}, err
	}
	return be.Get(ctx, handle)
}

// List describes a page of the volumes of a kind.
func (b *Broker) List(ctx context.Context, kind volume.Kind, page volume.Page) ([]volume.Volume, string, error) {
	be, err := b.of("list volumes", kind)
	if err != nil {
		return nil, "", err
	}
	return be.List(ctx, page)
}

// Supports answers nil where volumes of the kind can be used like this.
func (b *Broker) Supports(kind volume.Kind, c volume.Capability) error {
	be, err := b.of("check capability", kind)
	if err != nil {
		return err
	}
	return be.Supports(c)
}

// Publish makes a volume reachable from a node. Other nodes may be served at the same time.
func (b *Broker) Publish(ctx context.Context, req volume.PublishRequest) (map[string]string, error) {
	p, err := role[backend.Publisher](b, "publish", req.Handle)
	if err != nil {
		return nil, err
	}
	return shared(b, onNode(req.Node), req.Handle, func() (map[string]string, error) { return p.Publish(ctx, req) })
}

// onNode names what excludes itself: a node's publishing and unpublishing.
func onNode(node string) string { return "publish or unpublish on " + node }

// Unpublish ends it; an empty node means every node.
func (b *Broker) Unpublish(ctx context.Context, handle, node string) error {
	p, err := role[backend.Publisher](b, "unpublish", handle)
	if err != nil {
		return err
	}
	unpublish := func() (struct{}, error) { return struct{}{}, p.Unpublish(ctx, handle, node) }
	if node == "" {
		_, err = locked(b, "unpublish everywhere", handle, unpublish)
	} else {
		_, err = shared(b, onNode(node), handle, unpublish)
	}
	return err
}

// Expand grows a volume and returns its size in bytes.
func (b *Broker) Expand(ctx context.Context, handle string, size volume.Range) (int64, error) {
	e, err := role[backend.Expander](b, "expand", handle)
	if err != nil {
		return 0, err
	}
	return shared(b, "expand", handle, func() (int64, error) { return e.Expand(ctx, handle, size) })
}

// Modify changes a volume's attributes. It may run beside Expand, which then asks
// the cloud for both at once.
func (b *Broker) Modify(ctx context.Context, handle string, parameters map[string]string) error {
	m, err := role[backend.Modifier](b, "modify", handle)
	if err != nil {
		return err
	}
	_, err = shared(b, "modify", handle, func() (struct{}, error) { return struct{}{}, m.Modify(ctx, handle, parameters) })
	return err
}

// Examine answers what ails a volume.
func (b *Broker) Examine(ctx context.Context, handle string) ([]volume.Ailment, error) {
	e, err := role[backend.Examiner](b, "examine", handle)
	if err != nil {
		return nil, err
	}
	return e.Examine(ctx, handle)
}

// CreateSnapshot takes a snapshot; calls for one name exclude each other.
func (b *Broker) CreateSnapshot(ctx context.Context, req volume.SnapshotRequest) (volume.Snapshot, error) {
	s, err := role[backend.Snapshotter](b, "create snapshot", req.Source)
	if err != nil {
		return volume.Snapshot{}, err
	}
	return locked(b, "create snapshot", "snapshot/"+req.Name, func() (volume.Snapshot, error) { return s.CreateSnapshot(ctx, req) })
}

// DeleteSnapshot removes a snapshot of a kind.
func (b *Broker) DeleteSnapshot(ctx context.Context, kind volume.Kind, id string) error {
	s, err := roleOf[backend.Snapshotter](b, "delete snapshot", kind)
	if err != nil {
		return err
	}
	_, err = locked(b, "delete snapshot", id, func() (struct{}, error) { return struct{}{}, s.DeleteSnapshot(ctx, id) })
	return err
}

// ListSnapshots describes a page of the snapshots of a kind.
func (b *Broker) ListSnapshots(ctx context.Context, kind volume.Kind, f volume.SnapshotFilter, page volume.Page) ([]volume.Snapshot, string, error) {
	s, err := roleOf[backend.Snapshotter](b, "list snapshots", kind)
	if err != nil {
		return nil, "", err
	}
	return s.ListSnapshots(ctx, f, page)
}

// Probe asks the kind's cloud whether it answers; nil for kinds without one.
func (b *Broker) Probe(ctx context.Context, kind volume.Kind) error {
	be, err := b.of("probe", kind)
	if err != nil {
		return err
	}
	if p, ok := be.(backend.Prober); ok {
		return p.Probe(ctx)
	}
	return nil
}

// of returns the backend of a kind.
func (b *Broker) of(op string, kind volume.Kind) (backend.Backend, error) {
	be, ok := b.backends[kind]
	if !ok {
		return nil, fault.New(fault.Unsupported, op, "", "no backend for %s volumes is configured; configured are %v", kind, slices.Sorted(maps.Keys(b.backends)))
	}
	if c, takes := be.(backend.Credentialed); takes && len(b.secrets) > 0 {
		own, err := c.With(b.secrets)
		return own, fault.Wrap(op, "", err)
	}
	return be, nil
}

// owner returns the backend of the kind that a handle names.
func (b *Broker) owner(op, handle string) (backend.Backend, error) {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return nil, fault.New(fault.NotFound, op, "", "%v", err)
	}
	return b.of(op, h.Kind)
}

// role returns the owner of a handle in an optional role.
func role[R any](b *Broker, op, handle string) (R, error) {
	be, err := b.owner(op, handle)
	return as[R](be, err, op)
}

func roleOf[R any](b *Broker, op string, kind volume.Kind) (R, error) {
	be, err := b.of(op, kind)
	return as[R](be, err, op)
}

func as[R any](be backend.Backend, err error, op string) (R, error) {
	r, ok := be.(R)
	if err == nil && !ok {
		err = fault.New(fault.Unsupported, op, "", "this kind of volume does not offer it")
	}
	return r, err
}

func locked[T any](b *Broker, op, key string, do func() (T, error)) (T, error) {
	return guarded(b.locks.TryLock, op, key, do)
}

func shared[T any](b *Broker, op, key string, do func() (T, error)) (T, error) {
	return guarded(b.locks.TryShare, op, key, do)
}

func guarded[T any](lock func(op, key string) (func(), error), op, key string, do func() (T, error)) (T, error) {
	release, err := lock(op, key)
	if err != nil {
		var none T
		return none, err
	}
	defer release()
	return do()
}
