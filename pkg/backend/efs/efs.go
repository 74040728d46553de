package efs

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// DefaultDriver is the driver name where the operator gives no other.
const DefaultDriver = "efs.csi.diskbridge.io"

// Tags of ours that only EFS resources have.
const (
	TagBytes    = "diskbridge.io/size-bytes" // what was asked for; EFS itself has no sizes
	TagOnDelete = "diskbridge.io/on-delete"  // delete, retain or archive
	TagArchived = "diskbridge.io/archived"   // "true": its volume was deleted and it was kept
)

// Kind describes EFS to the front doors.
func Kind() backend.Kind {
	return backend.Kind{
		Name: volume.EFS, Driver: DefaultDriver, Attach: true, Grows: true, Examined: true, Zonal: true, // One Zone file systems are
		Parameters: Parameters(), MutableParameters: MutableParameters(),
	}
}

// Options shape a Backend.
type Options struct {
	Owner  backend.Owner
	KMSKey string // key for encrypted file systems whose parameters name none
}

// Backend makes and deletes EFS volumes and their mount targets. It is safe for
// concurrent use and keeps nothing that correctness needs.
type Backend struct {
	api     API
	network Network
	opts    Options
	waits   waits
	flights *flights
	reached *reached
	probed  atomic.Bool
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Publisher = (*Backend)(nil)
	_ backend.Expander  = (*Backend)(nil)
	_ backend.Modifier  = (*Backend)(nil)
	_ backend.Prober    = (*Backend)(nil)
	_ backend.Examiner  = (*Backend)(nil)
)

// New makes a Backend.
func New(api API, network Network, opts Options) *Backend {
	return &Backend{api: api, network: network, opts: opts, waits: newWaits(), flights: newFlights(), reached: newReached()}
}

// waits are the rhythms in which EFS is asked how far it is.
type waits struct{ system, target, ended *batch.Rhythm }

func newWaits() waits {
	t := batch.NewTempo()
	return waits{system: t.Rhythm(time.Second), target: t.Rhythm(2 * time.Second), ended: t.Rhythm(time.Second)}
}

// Probe asks EFS for something once; later it answers from memory.
func (b *Backend) Probe(ctx context.Context) error {
	if b.probed.Load() {
		return nil
	}
	if _, _, err := b.api.FileSystemPage(ctx, ""); err != nil {
		return fault.Wrap("probe", "EFS", err)
	}
	b.probed.Store(true)
	return nil
}

// Supports accepts every access mode, as a mounted file system.
func (b *Backend) Supports(c volume.Capability) error {
	_, err := planned(c)
	return err
}

// planned is what a node would do with a file system.
func planned(c volume.Capability) (volume.NFSPlan, error) {
	p, err := volume.NewNFSPlan(volume.PlanRequest{
		Handle: "fs-00000000", Capability: c, Publish: map[string]string{volume.PublishAddress: "127.0.0.1"},
	})
	if err != nil {
		return p, fault.New(fault.Invalid, "check capability", "", "%v", err)
	}
	return p, nil
}

// Get describes one volume.
func (b *Backend) Get(ctx context.Context, handle string) (volume.Volume, error) {
	const op = "get volume"
	h, err := parse(op, handle)
	if err != nil {
		return volume.Volume{}, err
	}
	f, err := b.system(ctx, op, h.Root)
	if err != nil {
		return volume.Volume{}, err
	}
	out := describe(f)
	out.Handle = h.String()
	switch {
	case h.AccessPoint != "":
		a, err := b.point(ctx, op, h)
		if err != nil {
			return volume.Volume{}, err
		}
		out.Bytes = bytesOf(a.Tags)
	case h.Path != "":
		out.Bytes = 0 // nobody remembers the size of a directory
	}
	return out, nil
}

// List describes the file systems of the region, not only ours.
func (b *Backend) List(ctx context.Context, page volume.Page) ([]volume.Volume, string, error) {
	return backend.Paged(page, func(token string) ([]efs.FileSystem, string, error) {
		return b.api.FileSystemPage(ctx, token)
	}, describe)
}

func describe(f efs.FileSystem) volume.Volume {
	out := volume.Volume{Handle: f.ID, Bytes: bytesOf(f.Tags), MultiNode: true}
	if f.Zone != "" {
		out.Topology = []volume.Topology{{Zone: f.Zone}}
	}
	return out
}

// bytesOf is the size that a volume was asked for, 0 where nobody said.
func bytesOf(tags map[string]string) int64 {
	n, err := strconv.ParseInt(tags[TagBytes], 10, 64)
	if err != nil || n < 0 {
		return 0 // a tag that someone else changed
	}
	return n
}

// parse reads a handle of this kind. One that cannot name any volume is
// fault.NotFound, one of another kind fault.Invalid.
func parse(op, handle string) (volume.Handle, error) {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return h, fault.New(fault.NotFound, op, handle, "no EFS volume can have this handle: %v", err)
	}
	if h.Kind != volume.EFS {
		return h, fault.New(fault.Invalid, op, handle, "this is an %s handle; the EFS driver serves fs-…", h.Kind)
	}
	return h, nil
}

// system reads a file system that must exist; fault.NotFound only with proof.
func (b *Backend) system(ctx context.Context, op, id string) (efs.FileSystem, error) {
	return mustExist(ctx, op, "file system", id, b.api.FileSystem, b.api.FileSystemAbsent)
}

// point reads the access point of a handle, which must exist in the handle's file system; fault.NotFound only with proof.
func (b *Backend) point(ctx context.Context, op string, h volume.Handle) (efs.AccessPoint, error) {
	a, err := mustExist(ctx, op, "access point", h.AccessPoint, b.api.AccessPoint, b.api.AccessPointAbsent)
	if err == nil && a.FileSystem != h.Root {
		return efs.AccessPoint{}, fault.New(fault.NotFound, op, h.String(), "there is no such volume: access point %s is one of file system %s", a.ID, a.FileSystem)
	}
	return a, err
}

// mustExist reads a resource and proves its absence where AWS does not show it.
func mustExist[T any](ctx context.Context, op, what, id string, read func(context.Context, string) (T, bool, error), absent func(context.Context, string) (bool, error)) (T, error) {
	v, found, err := read(ctx, id)
	if err != nil || found {
		return v, fault.Wrap(op, id, err)
	}
	gone, err := absent(ctx, id)
	switch {
	case err != nil:
		return v, fault.Wrap(op, id, err)
	case gone:
		return v, fault.New(fault.NotFound, op, id, "the %s does not exist", what)
	default:
		return v, fault.New(fault.Pending, op, id, "AWS does not show the %s everywhere yet; ask again", what)
	}
}

// standsIn reports whether we serve under another driver's name.
func (b *Backend) standsIn() bool { return b.opts.Owner.Driver != DefaultDriver }

// claim is the command that would make a resource ours.
func (b *Backend) claim(id string) string {
	return "aws efs tag-resource --resource-id " + id + " --tags Key=" + backend.TagCluster + ",Value=" + b.opts.Owner.Cluster
}
