package ebs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	o, sourceGone := b.order(ctx, req)
	if sourceGone != nil && !fault.Is(sourceGone, fault.NotFound) {
		return volume.Volume{}, sourceGone
	}
	if o.existing != "" {
		return b.adopt(ctx, req, o)
	}
	v, found, err := b.named(ctx, req.Name)
	if err != nil {
		return volume.Volume{}, err
	}
	switch {
	case found:
		if v, err = b.usable(ctx, req.Name, v); errors.Is(err, errDeleted) && sourceGone == nil {
			v, err = b.make(ctx, req.Name, o.spec)
		}
	case sourceGone != nil:
		err = sourceGone
	default:
		v, err = b.make(ctx, req.Name, o.spec)
	}
	if err != nil {
		return volume.Volume{}, err
	}
	why := unfit(v, req, o.spec)
	if why == "" {
		why, err = b.otherShape(ctx, v, o)
	}
	if err != nil {
		return volume.Volume{}, err
	}
	if why != "" {
		return volume.Volume{}, fault.New(fault.Conflict, opCreate, req.Name, "%s exists under this name, but %s", v.ID, why)
	}
	out := describe(v)
	out.Context = o.context
	out.Source = req.Source
	return out, nil
}

// named finds the volume of ours that carries a name.
func (b *Backend) named(ctx context.Context, name string) (ec2.Volume, bool, error) {
	list, err := b.api.VolumesTagged(ctx, TagVolumeName, name)
	if err != nil {
		return ec2.Volume{}, false, fault.Wrap(opCreate, name, err)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(v ec2.Volume) bool {
		return v.Tags[TagCluster] != b.opts.Owner.Cluster && !b.judge(TagVolumeName, v.Tags).Delete || v.State == ec2.StateDeleting || b.tokens.isDeleted(v.ID)
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

// maxGenerations bounds how many dead tokens one call leaves behind, and maxFailed how many volumes it begins that EC2 ends
// in "error".
const (
	maxGenerations = 8
	maxFailed      = 3
)

// make calls CreateVolume and waits until the volume can be used. A token whose
// volume is gone is answered with that dead volume for as long as EC2 remembers it;
// then the next token is used.
func (b *Backend) make(ctx context.Context, name string, spec ec2.VolumeSpec) (ec2.Volume, error) {
	first, failed, vanishedBefore := b.tokens.generation(name), 0, false
	for generation := first; ; generation++ {
		spec.Token = volume.Token(b.opts.Owner.Cluster, name, fmt.Sprint(generation))
		asked := time.Now()
		made, err := b.call(ctx, spec)
		switch {
		case fault.Is(err, fault.Conflict):
			return b.afterMismatch(ctx, name, generation)
		case err != nil:
			return b.afterRefusal(ctx, name, spec, err)
		case b.tokens.isDeleted(made.ID): // though EC2 may still show it as it was
			b.tokens.burn(name, generation)
			continue
		}
		v, err := b.usable(ctx, name, made)
		if errors.Is(err, errFailed) && errors.Is(err, errDeleted) {
			failed++
		}
		deleted, vanished := errors.Is(err, errDeleted), errors.Is(err, errVanished)
		if !deleted && !vanished {
			return v, open(v.ID, err)
		}
		b.tokens.burn(name, generation)
		if failed == maxFailed {
			return v, fault.New(fault.Internal, opCreate, name, "EC2 ended %d new volumes in state %q; they were deleted. See the AWS Health Dashboard, or choose another zone or type", failed, ec2.StateError)
		}
		// Clocks may differ by a little, so a volume that vanished counts as an earlier call's only where it is clearly
		// older than this call. A younger one may have been deleted by a process that was killed a moment ago: the next token shows which.
		young := vanished && asked.Sub(made.Created) < 5*time.Second
		if young && vanishedBefore || generation-first == maxGenerations {
			return v, err
		}
		vanishedBefore = vanishedBefore || young
	}
}

// call asks EC2 for a new volume or a clone.
func (b *Backend) call(ctx context.Context, spec ec2.VolumeSpec) (made ec2.Volume, err error) {
	ask, source := b.api.CreateVolume, []thing{}
	switch {
	case spec.Source != "":
		ask, source = b.api.CopyVolume, []thing{b.aVolume(spec.Source)}
	case spec.Snapshot != "":
		source = []thing{b.aSnapshot(spec.Snapshot)}
	}
	_, err = untilKnown(ctx, opCreate, func(ctx context.Context) (err error) {
		made, err = ask(ctx, spec)
		return err
	}, source...)
	return made, err
}

// afterRefusal looks for the volume before it believes a refusal: EC2 answers its limits, and what a role is denied, also to
// the repetition of a call that succeeded and whose answer was lost. A final error would let the claim go, and leave it.
func (b *Backend) afterRefusal(ctx context.Context, name string, spec ec2.VolumeSpec, refusal error) (ec2.Volume, error) {
	refusal = fault.Wrap(opCreate, name, refusal)
	switch {
	case fault.Is(refusal, fault.UnknownOutcome):
		b.tokens.lost(name, time.Now())
		return ec2.Volume{}, refusal
	case fault.Is(refusal, fault.Pending), fault.Is(refusal, fault.Unavailable),
		spec.Tags[TagVolumeName] != name: // BOSH's have no name that finds them
		return ec2.Volume{}, refusal
	}
	v, found, err := b.named(ctx, name)
	if wait := time.Until(b.tokens.settled(name, b.api.AbsenceInterval())); err == nil && !found && wait > 0 {
		if batch.Pause(ctx, wait) != nil {
			return v, fault.New(fault.Pending, opCreate, name, "an earlier call may have made it and EC2 may not show it yet; retry: %v", refusal)
		}
		v, found, err = b.named(ctx, name)
	}
	switch {
	case err != nil:
		return v, err
	case !found:
		return v, refusal
	}
	return b.usable(ctx, name, v)
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
		return b.usable(ctx, name, v)
	case b.tokens.mismatched(name, time.Now()) > b.api.AbsenceInterval():
		b.tokens.burn(name, generation)
	}
	return v, fault.New(fault.UnknownOutcome, opCreate, name,
		"an earlier request of this name had other settings and its volume is not to be seen; ask again")
}

// unfit says why an existing volume is not what the request asks for, or "".
func unfit(v ec2.Volume, req volume.CreateRequest, spec ec2.VolumeSpec) string {
	switch {
	case !req.Range.Fits(v.SizeGiB * volume.GiB):
		return fmt.Sprintf("its %d GiB do not satisfy required_bytes %d and limit_bytes %d", v.SizeGiB, req.Range.RequiredBytes, req.Range.LimitBytes)
	case v.Snapshot != spec.Snapshot:
		return fmt.Sprintf("it was made from snapshot %q, not %q", v.Snapshot, spec.Snapshot)
	case v.Source != spec.Source:
		return fmt.Sprintf("it was cloned from volume %q, not %q", v.Source, spec.Source)
	case differ(v.Tags[TagLayout], spec.Tags[TagLayout]):
		return fmt.Sprintf("its layout is %s, not %s", v.Tags[TagLayout], spec.Tags[TagLayout])
	case differ(v.Tags[TagFormat], spec.Tags[TagFormat]):
		return fmt.Sprintf("it is to be formatted with %s, not with %s", v.Tags[TagFormat], spec.Tags[TagFormat])
	case spec.MultiAttach && !v.MultiAttach:
		return "it cannot be attached to several nodes"
	case spec.Encrypted && !v.Encrypted:
		return "it is not encrypted"
	case !reachable(v, req.Topology):
		return fmt.Sprintf("it is in zone %s, outside the requested topology (%s)", v.Zone, zoneNames(req.Topology.Candidates()))
	}
	return ""
}

// otherShape says what of a volume's type and performance is not what the request asks for, or "". A volume that was
// modified since it was made may have any; DescribeVolumesModifications may tell so later than DescribeVolumes.
func (b *Backend) otherShape(ctx context.Context, v ec2.Volume, o order) (why string, err error) {
	want := o.asked
	if v.SizeGiB != o.spec.SizeGiB { // then iops per GiB are others
		want.IOPS = 0
	}
	if covers(shapeOf(v), want) {
		return "", nil
	}
	looked, modified := time.Now(), false
	err = batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		_, modified, err = b.api.Modification(ctx, v.ID)
		return modified || time.Since(looked) > b.api.AbsenceInterval(), err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return "", notVisibleYet(opCreate, v.ID)
	case err != nil || modified:
		return "", fault.Wrap(opCreate, v.ID, err)
	}
	return fmt.Sprintf("it has %s, not %s", describeShape(shapeOf(v)), describeShape(want)), nil
}

// describeShape names what is said of a shape.
func describeShape(c ec2.Change) string {
	text := "type " + c.Type
	if c.IOPS > 0 {
		text += fmt.Sprintf(", %d iops", c.IOPS)
	}
	if c.Throughput > 0 {
		text += fmt.Sprintf(", %d MiB/s", c.Throughput)
	}
	return text
}

// differ compares where both are known.
func differ(is, want string) bool { return is != "" && want != "" && is != want }

func reachable(v ec2.Volume, r volume.Requirement) bool {
	candidates := r.Candidates()
	if len(r.Requisite) == 0 || len(candidates) == 0 { // anywhere
		return true
	}
	return slices.ContainsFunc(candidates, func(t volume.Topology) bool {
		return t.Zone == v.Zone || t.Zone == "" && (t.ZoneID == v.ZoneID || v.ZoneID == "")
	})
}
