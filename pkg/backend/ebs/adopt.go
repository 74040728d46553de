package ebs

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opAdopt = "adopt volume"

// adopt answers a request with a volume that exists already. Its tags say that it is
// used by us and never ours to delete; nothing else of it changes.
func (b *Backend) adopt(ctx context.Context, req volume.CreateRequest, o order) (volume.Volume, error) {
	v, err := b.volume(ctx, opAdopt, o.existing)
	if err != nil {
		return volume.Volume{}, err
	}
	if err := b.mayAdopt(v, req); err != nil {
		return volume.Volume{}, err
	}
	if v.Tags[TagCluster] == "" {
		err := b.setTags(ctx, opAdopt, v.ID, map[string]string{
			TagAdopted: "external", TagCluster: b.opts.Owner.Cluster, TagVolumeName: req.Name,
		})
		if err != nil {
			return volume.Volume{}, err
		}
	}
	out := describe(v)
	out.Context, out.Source = o.context, req.Source
	return out, nil
}

// mayAdopt checks that nobody else uses the volume and that it is what was asked for.
func (b *Backend) mayAdopt(v ec2.Volume, req volume.CreateRequest) error {
	ours := v.Tags[TagAdopted] == "external" && v.Tags[TagCluster] == b.opts.Owner.Cluster && v.Tags[TagVolumeName] == req.Name
	switch holder := b.heldByOther(v.Tags); {
	case holder != "":
		return fault.New(fault.InUse, opAdopt, v.ID, "the volume is held by %s; release it there first", holder)
	case !ours && (v.Tags[TagCluster] != "" || v.Tags[TagVolumeName] != ""):
		return fault.New(fault.Conflict, opAdopt, v.ID, "the volume is already used as %q in cluster %q", v.Tags[TagVolumeName], v.Tags[TagCluster])
	case req.Source != (volume.Source{}):
		return fault.New(fault.Invalid, opAdopt, v.ID, "a volume that exists cannot be filled from a source; leave %s or the source out", keyExisting)
	}
	if why := unfit(v, req, ec2.VolumeSpec{Snapshot: v.Snapshot, Source: v.Source}); why != "" {
		return fault.New(fault.Conflict, opAdopt, v.ID, "%s", why)
	}
	return nil
}

// disown forgets our own adoption; the volume itself stays as it is. That it was adopted
// once stays on it, so that a repeated deletion is answered as the first one.
func (b *Backend) disown(ctx context.Context, v ec2.Volume) error {
	if v.Tags[TagAdopted] != "external" || v.Tags[TagCluster] != b.opts.Owner.Cluster {
		return nil
	}
	return fault.Wrap(opDelete, v.ID, b.api.DeleteTags(ctx, v.ID, []string{TagCluster, TagVolumeName}))
}
