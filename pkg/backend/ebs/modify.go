package ebs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

const opModify = "modify"

// Modify gives a volume the shape and tags of a VolumeAttributesClass. What is so
// already is not asked for: each modification counts against EC2's four in 24 hours.
func (b *Backend) Modify(ctx context.Context, handle string, parameters map[string]string) error {
	values, err := MutableParameters().Decode(parameters)
	if err != nil {
		return fault.New(fault.Invalid, opModify, handle, "%v", err)
	}
	v, err := b.volume(ctx, opModify, handle)
	if err != nil {
		return err
	}
	want, err := shapeChange(v, values)
	if err != nil {
		return fault.Wrap(opModify, v.ID, asInvalid(err))
	}
	retag, err := b.tagChange(v, values)
	if err != nil {
		return fault.New(fault.Invalid, opModify, v.ID, "%v", err)
	}
	if want != (ec2.Change{}) {
		if _, err := b.change(ctx, opModify, v, want); err != nil {
			return err
		}
	}
	return b.retag(ctx, v.ID, retag)
}

// shapeChange is what of the wanted shape the volume does not have yet.
func shapeChange(v ec2.Volume, values backend.Values) (ec2.Change, error) {
	kind := values[keyType]
	if kind == "" {
		kind = v.Type
	}
	asked := maps.Clone(values)
	asked[keyType] = kind
	cutIOPS(asked, v.SizeGiB)
	var want ec2.Change
	if values[keyIOPS] != "" || values[keyIOPSPerGB] != "" {
		var err error
		if want.IOPS, err = iops(opModify, v.ID, asked, v.SizeGiB); err != nil {
			return want, err
		}
	}
	want.Throughput = int32(values.Int(keyThroughput)) //nolint:gosec // Decode bounds it
	if want.Throughput > 0 && !typeLimits[kind].throughput {
		return want, fmt.Errorf("type %s takes no parameter %s", kind, keyThroughput)
	}
	if kind != v.Type {
		want.Type = kind
		return want, nil // iops and throughput of the old type mean nothing for the new
	}
	if want.IOPS == v.IOPS {
		want.IOPS = 0
	}
	if want.Throughput == v.Throughput {
		want.Throughput = 0
	}
	return want, nil
}

// tagChange is what of the wanted tags the volume does not have yet.
type tagChange struct {
	set  map[string]string
	gone []string
}

func (b *Backend) tagChange(v ec2.Volume, values backend.Values) (tagChange, error) {
	set, err := b.opts.Owner.UserTags(values)
	if err != nil {
		return tagChange{}, err
	}
	maps.Copy(set, b.ratioTags(values))
	maps.DeleteFunc(set, func(k, value string) bool { is, has := v.Tags[k]; return has && is == value })
	var gone []string
	for key, tag := range values {
		if !strings.HasPrefix(key, keyTagGone) {
			continue
		}
		if err := b.opts.Owner.CheckTag(tag, ""); err != nil {
			return tagChange{}, fmt.Errorf("parameter %q: %w", key, err)
		}
		if _, has := v.Tags[tag]; has {
			gone = append(gone, tag)
		}
	}
	if ratio := b.opts.Owner.Driver + tagRatio; values[keyIOPS] != "" && v.Tags[ratio] != "" {
		gone = append(gone, ratio) // or growth would bring the old ratio back
	}
	slices.Sort(gone)
	return tagChange{set: set, gone: slices.Compact(gone)}, nil
}

// retag makes a tag change, with no call where nothing differs.
func (b *Backend) retag(ctx context.Context, id string, c tagChange) error {
	if len(c.gone) > 0 {
		drop := func(ctx context.Context) error { return b.api.DeleteTags(ctx, id, c.gone) }
		if _, err := untilKnown(ctx, opModify, drop, b.aVolume(id)); err != nil {
			return fault.Wrap(opModify, id, err)
		}
	}
	if len(c.set) > 0 {
		return b.setTags(ctx, opModify, id, c.set)
	}
	return nil
}
