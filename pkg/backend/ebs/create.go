package ebs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opCreate = "create volume"

// Create makes the volume that the name stands for. The name's tag is looked up
// first, since EC2 forgets client tokens after some hours; the token then keeps
// calls that race or whose answers were lost from making a second volume.
func (b *Backend) Create(ctx context.Context, req volume.CreateRequest) (volume.Volume, error) {
	spec, err := b.spec(ctx, req)
	if err != nil {
		return volume.Volume{}, err
	}
	v, found, err := b.named(ctx, req.Name)
	if err != nil {
		return volume.Volume{}, err
	}
	if !found {
		v, err = b.make(ctx, req.Name, spec)
	} else {
		v, err = b.available(ctx, v)
	}
	if err != nil {
		return volume.Volume{}, err
	}
	if why := unfit(v, req, spec); why != "" {
		return volume.Volume{}, fault.New(fault.Conflict, opCreate, req.Name, "%s exists under this name, but %s", v.ID, why)
	}
	out := describe(v)
	out.Context = volumeContext(req.Source)
	out.Source = req.Source
	return out, nil
}

// spec turns a request into what EC2 is asked for.
func (b *Backend) spec(ctx context.Context, req volume.CreateRequest) (ec2.VolumeSpec, error) {
	var spec ec2.VolumeSpec
	invalid := func(err error) (ec2.VolumeSpec, error) {
		return spec, fault.New(fault.Invalid, opCreate, req.Name, "%v", err)
	}
	for _, c := range req.Capabilities {
		if err := b.Supports(c); err != nil {
			return spec, err
		}
	}
	values, err := Parameters().Decode(req.Parameters)
	if err != nil {
		return invalid(err)
	}
	if req.Source.Volume != "" {
		return invalid(errors.New("cloning a volume is not supported yet; take a snapshot and restore it"))
	}
	layout, floor := layoutRaw, int64(0)
	if req.Source.Snapshot != "" {
		snap, err := b.snapshot(ctx, opCreate, req.Source.Snapshot)
		if err != nil {
			return spec, err
		}
		if snap.State == "pending" {
			return spec, fault.New(fault.Pending, opCreate, req.Name, "snapshot %s is still being copied by EC2; ask again when it is complete", snap.ID)
		}
		layout, floor = inheritedLayout(snap.Tags), snap.SizeGiB
	}
	spec.Type, spec.Snapshot, spec.Throughput = values[keyType], req.Source.Snapshot, int32(values.Int(keyThroughput)) //nolint:gosec // Decode bounds it
	if spec.Throughput > 0 && !typeLimits[spec.Type].throughput {
		return invalid(fmt.Errorf("type %s takes no parameter %s", spec.Type, keyThroughput))
	}
	if spec.SizeGiB, err = sizeGiB(opCreate, req.Name, req.Range, spec.Type, floor); err != nil {
		return spec, err
	}
	if spec.IOPS, err = iops(opCreate, req.Name, values, spec.SizeGiB); err != nil {
		return spec, err
	}
	if spec.Encrypted, spec.KMSKey, err = b.encryption(values); err != nil {
		return invalid(err)
	}
	if spec.Tags, err = b.tags(values, TagVolumeName, req.Name, layout); err != nil {
		return invalid(err)
	}
	place, err := b.place(ctx, req, values[keyZone])
	spec.Zone, spec.ZoneID = place.Zone, place.ZoneID
	return spec, err
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

// named finds the volume of ours that carries a name.
func (b *Backend) named(ctx context.Context, name string) (ec2.Volume, bool, error) {
	list, err := b.api.VolumesTagged(ctx, TagVolumeName, name)
	if err != nil {
		return ec2.Volume{}, false, fault.Wrap(opCreate, name, err)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(v ec2.Volume) bool {
		return !b.judge(TagVolumeName, v.Tags).delete || v.State == ec2.StateDeleting || b.tokens.isDeleted(v.ID)
	})
	switch len(list) {
	case 0:
		return ec2.Volume{}, false, nil
	case 1:
		return list[0], true, nil
	default:
		return ec2.Volume{}, false, fault.New(fault.Conflict, opCreate, name,
			"several volumes carry this name (%s, %s, …); remove the tag %s from those that are not meant", list[0].ID, list[1].ID, TagVolumeName)
	}
}

// maxGenerations bounds how many dead tokens one call leaves behind.
const maxGenerations = 8

// make calls CreateVolume and waits until the volume can be used. A token whose
// volume is gone is answered with that dead volume for as long as EC2 remembers it;
// then the next token is used.
func (b *Backend) make(ctx context.Context, name string, spec ec2.VolumeSpec) (ec2.Volume, error) {
	first := b.tokens.generation(name)
	for generation := first; ; generation++ {
		spec.Token = volume.Token(b.opts.Owner.Cluster, name, fmt.Sprint(generation))
		asked := time.Now()
		made, err := b.api.CreateVolume(ctx, spec)
		switch {
		case fault.Is(err, fault.Conflict):
			return b.afterMismatch(ctx, name, generation)
		case fault.Is(err, fault.Limit):
			return b.afterRefusal(ctx, name, err)
		case err != nil:
			return made, fault.Wrap(opCreate, name, err)
		}
		v, err := b.available(ctx, made)
		if !errors.Is(err, errVanished) {
			return v, err
		}
		b.tokens.burn(name, generation)
		// Clocks may differ by a little, so a volume counts as an earlier call's only
		// where it is clearly older than this call.
		if asked.Sub(made.Created) < 5*time.Second || generation-first == maxGenerations {
			return v, err
		}
	}
}

// afterRefusal looks for the volume before it believes a refusal: EC2 answers its
// limits also to the repetition of a call that succeeded.
func (b *Backend) afterRefusal(ctx context.Context, name string, refusal error) (ec2.Volume, error) {
	v, found, err := b.named(ctx, name)
	if err != nil || !found {
		return v, fault.Wrap(opCreate, name, refusal)
	}
	return b.available(ctx, v)
}

// afterMismatch handles a token that came with other settings before. Either a
// volume has this name, then it is compared; or its creation failed late, then a
// later call may use the next token.
func (b *Backend) afterMismatch(ctx context.Context, name string, generation int) (ec2.Volume, error) {
	v, found, err := b.named(ctx, name)
	switch {
	case err != nil:
		return v, err
	case found:
		return b.available(ctx, v)
	case b.tokens.mismatched(name, time.Now()) > b.api.AbsenceInterval():
		b.tokens.burn(name, generation)
	}
	return v, fault.New(fault.UnknownOutcome, opCreate, name,
		"an earlier request of this name had other settings and its volume is not to be seen; ask again")
}

var errVanished = errors.New("the volume was created and vanished")

// available waits until a volume can be used.
func (b *Backend) available(ctx context.Context, v ec2.Volume) (ec2.Volume, error) {
	if v.State == ec2.StateAvailable || v.State == ec2.StateInUse {
		return v, nil
	}
	asked, last := time.Now(), v
	err := batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, found, err := b.api.Volume(ctx, v.ID)
		switch {
		case fault.Is(err, fault.Unavailable):
			return false, nil
		case err != nil:
			return false, err
		case found:
			last = now
		case time.Since(asked) > b.api.AbsenceInterval():
			absent, err := b.api.VolumeAbsent(ctx, v.ID)
			if absent {
				return false, vanished(v)
			}
			return false, err
		}
		if last.State == ec2.StateError || last.State == ec2.StateDeleting {
			return false, fault.New(fault.Internal, opCreate, v.ID, "EC2 says that the volume is in state %q; delete it and ask again", last.State)
		}
		return last.State == ec2.StateAvailable || last.State == ec2.StateInUse, nil
	})
	if err != nil && ctx.Err() != nil {
		return last, fault.New(fault.Pending, opCreate, v.ID, "EC2 still says %q; ask again", last.State)
	}
	return last, fault.Wrap(opCreate, v.ID, err)
}

// vanished explains a volume that EC2 accepted and took back, which it does where
// the KMS key cannot be used (no error is ever answered).
func vanished(v ec2.Volume) error {
	f := fault.New(fault.Denied, "CreateVolume", v.ID, "EC2 accepted the volume and then took it back")
	if v.Encrypted {
		f.Message += fmt.Sprintf("; the usual reason is that KMS key %s cannot be used: enable it, and grant the driver's role"+
			" kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext and kms:ReEncrypt* on it", v.KMSKey)
	}
	f.Err = errVanished
	return f
}

// unfit says why an existing volume is not what the request asks for, or "".
func unfit(v ec2.Volume, req volume.CreateRequest, spec ec2.VolumeSpec) string {
	switch {
	case !req.Range.Fits(v.SizeGiB * volume.GiB):
		return fmt.Sprintf("its %d GiB do not satisfy required_bytes %d and limit_bytes %d", v.SizeGiB, req.Range.RequiredBytes, req.Range.LimitBytes)
	case v.Snapshot != spec.Snapshot:
		return fmt.Sprintf("it was made from snapshot %q, not %q", v.Snapshot, spec.Snapshot)
	case spec.Encrypted && !v.Encrypted:
		return "it is not encrypted"
	case !reachable(v, req.Topology):
		return fmt.Sprintf("it is in zone %s, outside the requested topology (%s)", v.Zone, zoneNames(req.Topology.Candidates()))
	}
	return ""
}

func reachable(v ec2.Volume, r volume.Requirement) bool {
	if len(r.Requisite) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Candidates(), func(t volume.Topology) bool {
		return t.Zone == v.Zone || t.Zone == "" && (t.ZoneID == v.ZoneID || v.ZoneID == "")
	})
}
