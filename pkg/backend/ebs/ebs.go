package ebs

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// DefaultDriver is the driver name where the operator gives no other.
const DefaultDriver = "ebs.csi.diskbridge.io"

// Kind describes EBS to the front doors.
func Kind() backend.Kind {
	return backend.Kind{
		Name: volume.EBS, Driver: DefaultDriver, Attach: true, Grows: true, Zonal: true, PublishedNodes: true, Clones: true, NodeGrows: true,
		Parameters: Parameters(), SnapshotParameters: SnapshotParameters(), MutableParameters: MutableParameters(),
		ZoneKeys: map[string][]string{"ebs.csi.aws.com": {volume.EBSZoneKey}},
	}
}

// Options shape a Backend.
type Options struct {
	Owner     backend.Owner
	Encrypted bool   // encrypt volumes whose parameters do not say
	KMSKey    string // key for encrypted volumes whose parameters name none
	Zone      string // where volumes go that name no zone; empty: spread by name
	// StuckAfter is how long an attachment may take before it is ended and begun
	// afresh; 0 means 90 s, more than EC2 ever takes.
	StuckAfter time.Duration
}

// Backend makes, attaches and deletes EBS volumes. It is safe for concurrent use
// and keeps nothing that correctness needs.
type Backend struct {
	api     API
	opts    Options
	devices *deviceNames
	tokens  *tokenMemory
	waits   waits
	changes *changes
	// detaches is only looked at by PendingDetaches.
	detaches *detaches

	zones sync.Mutex
	known []ec2.Zone
}

var (
	_ backend.Backend     = (*Backend)(nil)
	_ backend.Publisher   = (*Backend)(nil)
	_ backend.Expander    = (*Backend)(nil)
	_ backend.Modifier    = (*Backend)(nil)
	_ backend.Snapshotter = (*Backend)(nil)
	_ backend.Prober      = (*Backend)(nil)
)

// New makes a Backend.
func New(api API, opts Options) *Backend {
	if opts.StuckAfter == 0 {
		opts.StuckAfter = 90 * time.Second
	}
	return &Backend{api: api, opts: opts, devices: newDeviceNames(), tokens: newTokenMemory(time.Now()), waits: newWaits(api.AbsenceInterval()), changes: newChanges(), detaches: newDetaches()}
}

// Probe asks EC2 for the zones once; later it answers from memory.
func (b *Backend) Probe(ctx context.Context) error {
	_, err := b.availableZones(ctx)
	return fault.Wrap("probe", "EC2", err)
}

func (b *Backend) availableZones(ctx context.Context) ([]ec2.Zone, error) {
	b.zones.Lock()
	known := b.known
	b.zones.Unlock()
	if len(known) > 0 {
		return known, nil
	}
	zones, err := b.api.Zones(ctx)
	if err != nil {
		return nil, err
	}
	b.zones.Lock()
	defer b.zones.Unlock()
	b.known = zones
	return zones, nil
}

// Supports accepts what nodes can do with a disk: one node reads and writes it, as a
// file system or as a raw device; several only read it, or share it as a raw device.
func (b *Backend) Supports(c volume.Capability) error {
	switch {
	case c.Mode == volume.MultiNodeMultiWriter && !c.Block:
		return fault.New(fault.Invalid, "check capability", "",
			"access mode %s needs a raw block volume: ext4, xfs and btrfs are destroyed by two writers", c.Mode)
	case c.Mode == volume.MultiNodeSingleWriter:
		return fault.New(fault.Invalid, "check capability", "", "access mode %s is not supported for EBS volumes", c.Mode)
	case c.Block:
		return nil
	}
	// Where no file system is named, the node's default decides; its flags must then
	// be those of one of the supported ones.
	candidates := []string{c.FSType}
	if c.FSType == "" {
		candidates = volume.FSTypes()
	}
	var wrong error
	for _, fsType := range candidates {
		_, err := volume.NewBlockPlan("vol-00000000", nil, c, fsType)
		if err == nil {
			return nil
		}
		if wrong == nil {
			wrong = err
		}
	}
	return fault.New(fault.Invalid, "check capability", "", "%v", wrong)
}

// Get describes one volume.
func (b *Backend) Get(ctx context.Context, handle string) (volume.Volume, error) {
	v, err := b.volume(ctx, "get volume", handle)
	if err != nil {
		return volume.Volume{}, err
	}
	return describe(v), nil
}

// List describes every volume of the region, not only ours: Kubernetes' attacher
// publishes again whatever it does not find here.
func (b *Backend) List(ctx context.Context, page volume.Page) ([]volume.Volume, string, error) {
	return backend.Paged(page, func(token string) ([]ec2.Volume, string, error) {
		return b.api.VolumePage(ctx, token)
	}, describe)
}

// volumeID checks that a handle names an EBS volume. A handle that cannot name any
// volume is fault.NotFound, one of another kind fault.Invalid.
func volumeID(op, handle string) (string, error) {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return "", fault.New(fault.NotFound, op, handle, "no EBS volume can have this handle: %v", err)
	}
	if h.Kind != volume.EBS {
		return "", fault.New(fault.Invalid, op, handle, "this is an %s handle; the EBS driver serves vol-…", h.Kind)
	}
	return h.Root, nil
}

var instanceID = regexp.MustCompile(`^i-[0-9a-f]{8}([0-9a-f]{9})?$`)

func describe(v ec2.Volume) volume.Volume {
	out := volume.Volume{
		Handle:   v.ID,
		Bytes:    v.SizeGiB * volume.GiB,
		Source:   volume.Source{Snapshot: v.Snapshot, Volume: v.Source},
		Topology: []volume.Topology{{Zone: v.Zone}}, MultiNode: v.MultiAttach,
	}
	for _, a := range v.Attachments {
		if a.State == ec2.Attached || a.State == ec2.Attaching {
			out.PublishedNodes = append(out.PublishedNodes, a.Instance)
		}
	}
	return out
}

// describeAttachments names the instances that hold a volume, for messages.
func describeAttachments(list []ec2.Attachment) string {
	text := ""
	for i, a := range list {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s (%s)", a.Instance, a.State)
	}
	return text
}
