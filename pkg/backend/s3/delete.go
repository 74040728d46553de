package s3

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opDelete = "delete volume"

// markers is where the markers of a bucket's prefixes lie.
const markers = volume.ObjectMarkers + "volumes/"

// Delete removes a bucket or a prefix that is ours, with all that is in it. It may take
// many calls: one that ends early is fault.Pending and the next goes on.
func (b *Backend) Delete(ctx context.Context, handle string) (kept string, err error) {
	h, api, err := b.parse(opDelete, handle)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			return "", nil
		}
		return "", err
	}
	if err := mustExist(ctx, opDelete, api, h.Root); err != nil {
		if fault.Is(err, fault.NotFound) {
			return "", nil
		}
		return "", err
	}
	if h.Path != "" {
		kept, err = b.deletePrefix(ctx, api, h)
	} else {
		kept, err = b.deleteBucket(ctx, api, h)
	}
	if fault.Is(err, fault.NotFound) { // somebody was faster
		return "", nil
	}
	return kept, fault.Wrap(opDelete, h.String(), err)
}

func (b *Backend) deleteBucket(ctx context.Context, api API, h volume.Handle) (kept string, err error) {
	bucket := h.Root
	tags, err := api.BucketTags(ctx, bucket)
	if err != nil {
		return "", err
	}
	switch j := b.judge(tags); {
	case j.Keep != "":
		return j.Keep, b.disown(ctx, api, bucket, tags)
	case j.Refuse != "":
		return "", fault.New(fault.InUse, opDelete, bucket, "not deleted: %s. If it is meant, add the tag to those that the bucket has: "+
			"aws s3api put-bucket-tagging --bucket %s --tagging 'TagSet=[{Key=%s,Value=%s}]'", j.Refuse, bucket, backend.TagCluster, b.opts.Owner.Cluster)
	}
	if tags[TagOnDelete] == fateRetain {
		return "its parameter " + keyOnDelete + " is " + fateRetain, nil
	}
	inside, _, err := api.Keys(ctx, bucket, markers, "", 1)
	switch {
	case err != nil:
		return "", err
	case len(inside) > 0:
		return "", fault.New(fault.InUse, opDelete, bucket, "not deleted: volumes that are prefixes lie in the bucket; delete them first")
	}
	if err := empty(ctx, api, bucket, ""); err != nil {
		return "", err
	}
	err = api.DeleteBucket(ctx, bucket)
	if fault.CodeOf(err) == "BucketNotEmpty" {
		return "", fault.New(fault.Pending, opDelete, bucket, "everything in the bucket was deleted, and something is there again; the next call deletes it, once nobody writes any more")
	}
	return "", err
}

// disown forgets our own adoption; the bucket itself stays as it is. That it was adopted
// once stays on it, so that a repeated deletion is answered as the first one.
func (b *Backend) disown(ctx context.Context, api API, bucket string, tags map[string]string) error {
	if tags[backend.TagAdopted] != "external" || tags[backend.TagCluster] != b.opts.Owner.Cluster {
		return nil
	}
	left := maps.Clone(tags)
	delete(left, backend.TagCluster)
	delete(left, backend.TagVolumeName)
	return api.SetBucketTags(ctx, bucket, left)
}

func (b *Backend) deletePrefix(ctx context.Context, api API, h volume.Handle) (kept string, err error) {
	m, marked, err := readMarker(ctx, api, h.Root, h.Path)
	if err != nil {
		return "", err
	}
	if !marked {
		return b.withoutMarker(ctx, api, h)
	}
	switch {
	case m.Cluster != b.opts.Owner.Cluster:
		return "", fault.New(fault.InUse, opDelete, h.String(), "not deleted: the prefix belongs to cluster %q, we are %q. If it is meant, change the cluster in the object s3://%s/%s",
			m.Cluster, b.opts.Owner.Cluster, h.Root, volume.ObjectMarker(h.Path))
	case m.Adopted:
		return wasAdopted, forget(ctx, api, h, m)
	case m.OnDelete != fateDelete:
		return "its parameter " + keyOnDelete + " is " + m.OnDelete, nil
	}
	below, err := b.volumeBelow(ctx, api, h)
	switch {
	case err != nil:
		return "", err
	case below != "":
		return "", fault.New(fault.InUse, opDelete, h.String(), "not deleted: the volume %s lies inside; delete it first", below)
	}
	if err := empty(ctx, api, h.Root, h.Path); err != nil {
		return "", err
	}
	return "", unmark(ctx, api, h)
}

// wasAdopted is why an adopted prefix stays.
const wasAdopted = "it was adopted as external and stays"

// forget ends the adoption of a prefix. That it was adopted once is kept beside the
// markers, so that a repeated deletion is answered as the first one.
func forget(ctx context.Context, api API, h volume.Handle, m marker) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := api.PutObject(ctx, h.Root, volume.ObjectForgotten(h.Path), data, false); err != nil {
		return err
	}
	return unmark(ctx, api, h)
}

// withoutMarker is the answer for a prefix that nobody marked: it is not ours. Where we
// had adopted it, or where nothing lies under it, it is deleted already.
func (b *Backend) withoutMarker(ctx context.Context, api API, h volume.Handle) (kept string, err error) {
	keys, _, err := api.Keys(ctx, h.Root, h.Path, "", 1)
	if err != nil || len(keys) == 0 {
		return "", err
	}
	m, found, err := anyMarker(ctx, api, h.Root, volume.ObjectForgotten(h.Path))
	if err != nil {
		return "", err
	}
	if found && m.Cluster == b.opts.Owner.Cluster && m.Prefix == h.Path {
		return wasAdopted, nil
	}
	return "", fault.New(fault.InUse, opDelete, h.String(), "not deleted: no marker says that we made the prefix. Set the volume's reclaim policy to Retain; "+
		"if the objects shall go: aws s3 rm --recursive s3://%s/%s", h.Root, h.Path)
}

// unmark deletes a marker with all its versions: the last step, so that an interrupted
// deletion is still known as ours.
func unmark(ctx context.Context, api API, h volume.Handle) error {
	return empty(ctx, api, h.Root, volume.ObjectMarker(h.Path))
}
