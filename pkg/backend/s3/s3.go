package s3

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// DefaultDriver is the driver name where the operator gives no other.
const DefaultDriver = "s3.csi.diskbridge.io"

// Tags of ours that only buckets have.
const (
	TagBytes    = "diskbridge.io/size-bytes" // what was asked for; S3 itself has no sizes
	TagOnDelete = "diskbridge.io/on-delete"  // delete or retain
	TagRequest  = "diskbridge.io/request"    // stands for the settings that were asked for
	TagComplete = "diskbridge.io/complete"   // "true" once the bucket has all of them
)

// Kind describes S3 to the front doors.
func Kind() backend.Kind {
	return backend.Kind{Name: volume.S3, Driver: DefaultDriver, Parameters: Parameters(), OptIn: true} // each node needs a mounter, and s3fs
}

// Options shape a Backend.
type Options struct {
	Owner    backend.Owner
	KMSKey   string   // key for KMS-encrypted buckets whose parameters name none
	Profiles []string // names of the endpoint profiles, "" for AWS
	Servers  Servers
}

// Backend makes and deletes buckets, and prefixes in them. It is safe for concurrent
// use and keeps nothing that correctness needs.
type Backend struct {
	opts        Options
	credentials *volume.ObjectCredentials // of a request; nil: the driver's
	probed      *atomic.Bool
	below       *below
}

var (
	_ backend.Backend      = (*Backend)(nil)
	_ backend.Credentialed = (*Backend)(nil)
	_ backend.Prober       = (*Backend)(nil)
)

// New makes a Backend.
func New(opts Options) *Backend {
	return &Backend{opts: opts, probed: &atomic.Bool{}, below: &below{prefixes: map[string]string{}}}
}

// With is the backend that uses the credentials of a request's secrets.
func (b *Backend) With(secrets map[string]string) (backend.Backend, error) {
	c, err := volume.ParseObjectCredentials(secrets)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read credentials", "", "%v", err)
	}
	own := *b
	own.credentials = c
	return &own, nil
}

// server opens the server of a profile.
func (b *Backend) server(op, profile string) (API, error) {
	if !slices.Contains(b.opts.Profiles, profile) {
		return nil, fault.New(fault.Invalid, op, "", "unknown endpoint profile %q; %s", profile, b.known())
	}
	api, err := b.opts.Servers(profile, b.credentials)
	return api, fault.Wrap(op, profile, err)
}

// known says which profiles there are.
func (b *Backend) known() string {
	named := slices.DeleteFunc(slices.Clone(b.opts.Profiles), func(s string) bool { return s == "" })
	if len(named) == 0 {
		return "the driver has none: give it --s3-profiles"
	}
	return "the driver has " + strings.Join(named, ", ")
}

// Probe lists buckets once; later it answers from memory. One server that answers is
// enough: those of other profiles must not take it away.
func (b *Backend) Probe(ctx context.Context) error {
	if b.probed.Load() {
		return nil
	}
	var failed []error
	for _, profile := range b.opts.Profiles {
		api, err := b.server("probe", profile)
		if err == nil {
			_, _, err = api.BucketPage(ctx, "")
		}
		if err == nil {
			b.probed.Store(true)
			return nil
		}
		failed = append(failed, fault.Wrap("probe", "S3 "+profile, err))
	}
	return errors.Join(failed...)
}

// Supports accepts every access mode, as a mounted file system.
func (b *Backend) Supports(c volume.Capability) error {
	if _, err := volume.NewObjectPlan(volume.PlanRequest{Handle: "s3://any", Capability: c}); err != nil {
		return fault.New(fault.Invalid, "check capability", "", "%v", err)
	}
	return nil
}

// Get describes one volume, also one that is not ours.
func (b *Backend) Get(ctx context.Context, handle string) (volume.Volume, error) {
	const op = "get volume"
	h, api, err := b.parse(op, handle)
	if err != nil {
		return volume.Volume{}, err
	}
	if err := mustExist(ctx, op, api, h.Root); err != nil {
		return volume.Volume{}, err
	}
	if h.Path == "" {
		tags, err := api.BucketTags(ctx, h.Root)
		return describe(h, tags[TagBytes]), fault.Wrap(op, h.Root, err)
	}
	m, marked, err := readMarker(ctx, api, h.Root, h.Path)
	if err != nil || marked {
		return describe(h, strconv.FormatInt(m.Bytes, 10)), fault.Wrap(op, h.String(), err)
	}
	keys, _, err := api.Keys(ctx, h.Root, h.Path, "", 1)
	switch {
	case err != nil:
		return volume.Volume{}, fault.Wrap(op, h.String(), err)
	case len(keys) == 0:
		return volume.Volume{}, fault.New(fault.NotFound, op, h.String(), "nothing lies under the prefix %s of bucket %s", h.Path, h.Root)
	}
	return describe(h, ""), nil
}

func describe(h volume.Handle, bytes string) volume.Volume {
	n, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil || n < 0 {
		n = 0 // nobody said, or somebody else changed it
	}
	return volume.Volume{Handle: h.String(), Bytes: n, MultiNode: true}
}

// parse reads a handle of this kind and opens its server. One that cannot name any
// volume is fault.NotFound, one of another kind fault.Invalid.
func (b *Backend) parse(op, handle string) (volume.Handle, API, error) {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return h, nil, fault.New(fault.NotFound, op, handle, "no S3 volume can have this handle: %v", err)
	}
	if h.Kind != volume.S3 {
		return h, nil, fault.New(fault.Invalid, op, handle, "this is an %s handle; the S3 driver serves s3://…", h.Kind)
	}
	api, err := b.server(op, h.Profile)
	return h, api, err
}

// mustExist checks that a bucket is there; fault.NotFound only with proof.
func mustExist(ctx context.Context, op string, api API, bucket string) error {
	found, err := api.HasBucket(ctx, bucket)
	if err != nil || found {
		return fault.Wrap(op, bucket, err)
	}
	gone, err := api.BucketAbsent(ctx, bucket)
	switch {
	case err != nil:
		return fault.Wrap(op, bucket, err)
	case gone:
		return fault.New(fault.NotFound, op, bucket, "the bucket does not exist")
	}
	return nil // it is there after all
}

// standsIn reports whether we serve under another driver's name.
func (b *Backend) standsIn() bool { return b.opts.Owner.Driver != DefaultDriver }
