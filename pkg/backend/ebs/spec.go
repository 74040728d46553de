package ebs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// order is what a request comes to: a volume to make, or one to adopt.
type order struct {
	spec     ec2.VolumeSpec
	asked    ec2.Change        // of the spec's type and performance, what the parameters say
	existing string            // id of the volume to adopt; then spec is empty
	context  map[string]string // what the node is told
}

// order turns a request into what EC2 is asked for. Where the source is proven gone,
// the error is fault.NotFound and the order says enough to recognise a volume that was
// made of it before, which still answers a repeated request.
func (b *Backend) order(ctx context.Context, req volume.CreateRequest) (o order, err error) {
	values, err := b.decode(req)
	if err != nil {
		return o, err
	}
	o.existing, o.context = values[keyExisting], volumeContext(req.Source, values)
	if err := standing(req, values, o.context); err != nil || o.existing != "" {
		return o, fault.Wrap(opCreate, req.Name, asInvalid(err))
	}
	spec := &o.spec
	spec.Type = values[keyType]
	o.asked.Type = spec.Type
	from, err := b.origin(ctx, req, spec, values)
	if err != nil {
		spec.Encrypted, _, _ = b.encryption(values) // with wrong parameters nothing was made
		return o, err
	}
	if spec.SizeGiB, err = sizeGiB(opCreate, req.Name, req.Range, spec.Type, from.sizeGiB); err != nil {
		return o, err
	}
	cutIOPS(values, spec.SizeGiB)
	saysIOPS := values[keyIOPS] != "" || values[keyIOPSPerGB] != ""
	o.asked.Throughput = int32(values.Int(keyThroughput)) //nolint:gosec // Decode bounds it
	for _, step := range []func() error{
		func() error { return b.performance(req.Name, values, from, spec) },
		func() error { return sharing(req, spec) },
		func() (err error) { spec.Encrypted, spec.KMSKey, err = b.encryption(values); return err },
		func() (err error) { from.layout, err = layoutTag(req, values, from.layout, o.context); return err },
		func() (err error) { spec.Tags, err = b.tags(values, TagVolumeName, req.Name, from.layout); return err },
		func() error { tagFormat(req, o.context, spec.Tags); return nil },
	} {
		if err := step(); err != nil {
			return o, fault.Wrap(opCreate, req.Name, asInvalid(err))
		}
	}
	if saysIOPS {
		o.asked.IOPS = spec.IOPS
	}
	place := volume.Topology{Zone: from.zone}
	if from.zone == "" {
		place, err = b.place(ctx, req, values[keyZone])
	}
	spec.Zone, spec.ZoneID = place.Zone, place.ZoneID
	return o, err
}

// asInvalid makes an error without a kind one of the request.
func asInvalid(err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &fault.Error{Op: "check parameters", Kind: fault.Invalid, Err: err}
}

// decode checks capabilities and parameters. Mutable parameters win over others.
func (b *Backend) decode(req volume.CreateRequest) (backend.Values, error) {
	for _, c := range req.Capabilities {
		if err := b.Supports(c); err != nil {
			return nil, err
		}
	}
	values, err := Parameters().Decode(req.Parameters)
	if err == nil && len(req.MutableParameters) > 0 {
		var changed backend.Values
		if changed, err = MutableParameters().Decode(req.MutableParameters); err == nil {
			override(values, changed)
		}
	}
	if err == nil {
		err = checkFSType(req.Capabilities, values[keyFSType])
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, opCreate, req.Name, "%v", err)
	}
	return values, nil
}

// checkFSType checks a parameter that is otherwise ignored: what is no file system is a mistake in the StorageClass.
func checkFSType(capabilities []volume.Capability, fsType string) error {
	mounts := slices.ContainsFunc(capabilities, func(c volume.Capability) bool { return !c.Block })
	if fsType == "" || !mounts || slices.Contains(volume.FSTypes(), strings.ToLower(fsType)) {
		return nil
	}
	return fmt.Errorf("parameter %q: file system %.32q is not supported; use one of %s", keyFSType, fsType, strings.Join(volume.FSTypes(), ", "))
}

// override puts mutable parameters over those of the StorageClass. What another type cannot have, or what says the same
// thing in another way, is dropped, as if the volume were modified after it was made.
func override(values, changed backend.Values) {
	l, otherType := typeLimits[changed[keyType]], changed[keyType] != ""
	if changed[keyIOPS] != "" || changed[keyIOPSPerGB] != "" || otherType && l.iopsPerGiB == 0 {
		delete(values, keyIOPS)
		delete(values, keyIOPSPerGB)
	}
	if otherType && !l.throughput {
		delete(values, keyThroughput)
	}
	tags := map[string]bool{}
	for key, text := range changed {
		if strings.HasPrefix(key, keyTag) {
			tags[tagKey(text)] = true
		}
	}
	maps.DeleteFunc(values, func(key, text string) bool { return strings.HasPrefix(key, keyTag) && tags[tagKey(text)] })
	maps.Copy(values, changed)
}

// tagKey is the key of a tagSpecification.
func tagKey(text string) string {
	key, _, _ := strings.Cut(text, "=")
	return key
}

// origin is what a new volume takes over from its source.
type origin struct {
	sizeGiB int64  // the new volume is not smaller
	layout  string // what stands on it
	zone    string // where it must be; empty: anywhere
	volume  ec2.Volume
}

// origin reads the source of a new volume.
func (b *Backend) origin(ctx context.Context, req volume.CreateRequest, spec *ec2.VolumeSpec, values backend.Values) (origin, error) {
	switch {
	case req.Source.Snapshot != "":
		spec.Snapshot = req.Source.Snapshot
		snap, err := b.snapshot(ctx, opCreate, req.Source.Snapshot)
		if err != nil {
			return origin{}, err
		}
		if snap.State == "pending" {
			return origin{}, fault.New(fault.Pending, opCreate, req.Name, "snapshot %s is still being copied by EC2; ask again when it is complete", snap.ID)
		}
		spec.InitRate = int32(values.Int(keyInitRate)) //nolint:gosec // Decode bounds it
		return origin{sizeGiB: snap.SizeGiB, layout: inheritedLayout(snap.Tags)}, nil
	case req.Source.Volume != "":
		spec.Source = req.Source.Volume
		v, err := b.volume(ctx, opCreate, req.Source.Volume)
		if err != nil {
			return origin{}, err
		}
		if explicit := values[keyZone]; !reachable(v, req.Topology) || explicit != "" && explicit != v.Zone {
			return origin{}, fault.New(fault.Limit, opCreate, req.Name,
				"a clone of %s must be in its zone %s, which is outside the requested topology (%s)", v.ID, v.Zone, zoneNames(req.Topology.Candidates()))
		}
		spec.Source = v.ID
		return origin{sizeGiB: v.SizeGiB, layout: inheritedLayout(v.Tags), zone: v.Zone, volume: v}, nil
	default:
		return origin{layout: layoutRaw}, nil
	}
}

// performance chooses iops and throughput. A clone of the same type has its
// source's where nothing is asked for: EC2 would take its own defaults.
func (b *Backend) performance(name string, values backend.Values, from origin, spec *ec2.VolumeSpec) error {
	spec.Throughput = int32(values.Int(keyThroughput)) //nolint:gosec // Decode bounds it
	if spec.Throughput > 0 && !typeLimits[spec.Type].throughput {
		return fmt.Errorf("type %s takes no parameter %s", spec.Type, keyThroughput)
	}
	if from.volume.Type == spec.Type && typeLimits[spec.Type].iopsPerGiB > 0 {
		if values[keyIOPS] == "" && values[keyIOPSPerGB] == "" {
			values[keyIOPS] = fmt.Sprint(from.volume.IOPS)
		}
		if spec.Throughput == 0 {
			spec.Throughput = from.volume.Throughput
		}
	}
	var err error
	spec.IOPS, err = iops(opCreate, name, values, spec.SizeGiB)
	return err
}

// sharing turns multi-attach on where several nodes are to use the volume.
func sharing(req volume.CreateRequest, spec *ec2.VolumeSpec) error {
	writable := false
	for _, c := range req.Capabilities {
		spec.MultiAttach = spec.MultiAttach || c.Mode.MultiNode()
		writable = writable || !c.Mode.ReadOnly()
	}
	switch {
	case spec.MultiAttach && spec.Type != "io2":
		return fmt.Errorf("several nodes can only share a volume of type io2, not %s; set the parameter %s to io2", spec.Type, keyType)
	case !writable && req.Source == (volume.Source{}):
		return errors.New("a volume that is only read needs a source: a snapshot or a volume to clone")
	}
	return nil
}

// encryption combines parameters and the driver's defaults.
func (b *Backend) encryption(v backend.Values) (encrypted bool, key string, err error) {
	key = v[keyKMSKey]
	if v[keyEncrypted] != "" {
		encrypted = v.Bool(keyEncrypted)
		if !encrypted && key != "" {
			return false, "", fmt.Errorf("parameters %s=false and %s contradict each other", keyEncrypted, keyKMSKey)
		}
	} else {
		encrypted = b.opts.Encrypted || key != ""
	}
	if encrypted && key == "" {
		key = b.opts.KMSKey
	}
	return encrypted, key, nil
}

// place chooses the zone: the explicit one, else the best of the topology, else the
// driver's own, else one by the name, so that a repeated request lands in the same.
func (b *Backend) place(ctx context.Context, req volume.CreateRequest, explicit string) (volume.Topology, error) {
	candidates := req.Topology.Candidates()
	switch {
	case explicit != "" && len(candidates) > 0 && !slices.ContainsFunc(candidates, func(t volume.Topology) bool { return t.Zone == explicit }):
		return volume.Topology{}, fault.New(fault.Invalid, opCreate, req.Name,
			"parameter %s=%s is outside the requested topology (%s)", keyZone, explicit, zoneNames(candidates))
	case explicit != "":
		return volume.Topology{Zone: explicit}, nil
	case len(candidates) > 0 && candidates[0].Zone != "":
		return volume.Topology{Zone: candidates[0].Zone}, nil
	case len(candidates) > 0:
		return candidates[0], nil
	case b.opts.Zone != "":
		return volume.Topology{Zone: b.opts.Zone}, nil
	}
	zones, err := b.availableZones(ctx)
	if err != nil {
		return volume.Topology{}, fault.Wrap(opCreate, req.Name, err)
	}
	if len(zones) == 0 {
		return volume.Topology{}, fault.New(fault.Invalid, opCreate, req.Name, "the region shows no available zone; give a topology")
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(req.Name))                                                 // a hash never fails
	return volume.Topology{Zone: zones[int(h.Sum32()%uint32(len(zones)))].Name}, nil //nolint:gosec // a handful of zones
}

func zoneNames(list []volume.Topology) string {
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.Zone + t.ZoneID
	}
	return strings.Join(names, ", ")
}
