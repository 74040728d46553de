package s3

import (
	"context"
	"maps"
	"strconv"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Create makes a bucket, or a prefix in a given one, or answers with what exists.
func (b *Backend) Create(ctx context.Context, req volume.CreateRequest) (volume.Volume, error) {
	o, err := b.order(req)
	if err != nil {
		return volume.Volume{}, err
	}
	api, err := b.server(opCreate, o.handle.Profile)
	if err != nil {
		return volume.Volume{}, err
	}
	var bytes int64
	switch {
	case o.made:
		bytes, err = b.createBucket(ctx, api, o)
	case o.existing && o.handle.Path == "":
		bytes, err = b.adoptBucket(ctx, api, o)
	default:
		bytes, err = b.createPrefix(ctx, api, o)
	}
	if err != nil {
		return volume.Volume{}, fault.Wrap(opCreate, req.Name, err)
	}
	return volume.Volume{Handle: o.handle.String(), Bytes: bytes, Context: o.context(b.credentials != nil), MultiNode: true}, nil
}

// createBucket makes a bucket, tagged as ours from its first moment, and then gives it
// its settings. What an earlier call left half done is completed.
func (b *Backend) createBucket(ctx context.Context, api API, o *order) (int64, error) {
	bucket := o.handle.Root
	err := api.CreateBucket(ctx, s3.BucketSpec{Name: bucket, Region: o.region, Tags: o.tags})
	switch code := fault.CodeOf(err); {
	case err == nil || code == "BucketAlreadyOwnedByYou": // in us-east-1 both are a success
	case code == "BucketAlreadyExists":
		return 0, fault.New(fault.Conflict, opCreate, bucket, "the name of the bucket is taken by another account; choose another %s", keyNamePrefix)
	default:
		return 0, err
	}
	tags, err := api.BucketTags(ctx, bucket)
	if err != nil {
		return 0, err
	}
	if len(tags) == 0 {
		if tags, err = b.claimEmpty(ctx, api, o); err != nil {
			return 0, err
		}
	}
	bytes, err := b.judgeExisting(o, tags)
	if err != nil || tags[TagComplete] == "true" {
		return bytes, err
	}
	return bytes, b.configure(ctx, api, o, tags)
}

// claimEmpty tags a bucket that has no tags: a server that does not tag with the
// creating call, and a crash after it. Its name is one that only this volume has, in our
// own account; that nothing is in it shows that nobody else uses it.
func (b *Backend) claimEmpty(ctx context.Context, api API, o *order) (map[string]string, error) {
	bucket := o.handle.Root
	page, err := api.VersionPage(ctx, bucket, "", s3.VersionPage{})
	if err != nil {
		return nil, err
	}
	if len(page.Versions) > 0 {
		return nil, fault.New(fault.Conflict, opCreate, bucket, "a bucket of this name exists, has no tags of ours and holds objects; it is left as it is")
	}
	return o.tags, api.SetBucketTags(ctx, bucket, o.tags)
}

// judgeExisting checks that a bucket is the one that the request means.
func (b *Backend) judgeExisting(o *order, tags map[string]string) (int64, error) {
	bucket := o.handle.Root
	bytes, err := strconv.ParseInt(tags[TagBytes], 10, 64)
	if err != nil {
		bytes = o.bytes
	}
	switch {
	case !b.judge(tags).Delete || tags[backend.TagVolumeName] != o.name:
		return 0, fault.New(fault.Conflict, opCreate, bucket, "the bucket exists and is not this volume's: it carries the name %q of cluster %q", tags[backend.TagVolumeName], tags[backend.TagCluster])
	case tags[TagRequest] != o.request:
		return 0, fault.New(fault.Conflict, opCreate, bucket, "the bucket exists and was made with other parameters; delete that volume first, or choose another name")
	}
	if why := o.fits(bytes); why != "" {
		return 0, fault.New(fault.Conflict, opCreate, bucket, "the volume exists, but %s", why)
	}
	return bytes, nil
}

// configure gives a bucket its settings, and notes when it has all of them.
func (b *Backend) configure(ctx context.Context, api API, o *order, tags map[string]string) error {
	bucket := o.handle.Root
	for _, step := range []func() error{
		func() error { return api.BlockPublicAccess(ctx, bucket) },
		func() error { return api.EnforceOwner(ctx, bucket) },
		func() error { return api.Encrypt(ctx, bucket, o.encryption) },
		func() error {
			if !o.values.Bool(keyVersioning) {
				return nil
			}
			return api.KeepVersions(ctx, bucket)
		},
		func() error {
			if o.days == 0 {
				return nil
			}
			return api.ExpireUploads(ctx, bucket, o.days)
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	complete := maps.Clone(tags)
	complete[TagComplete] = "true"
	return api.SetBucketTags(ctx, bucket, complete)
}

// adoptBucket answers with a bucket that exists already. Its tags say that it is used by
// us and never ours to delete; nothing else of it changes.
func (b *Backend) adoptBucket(ctx context.Context, api API, o *order) (int64, error) {
	bucket := o.handle.Root
	if err := mustExist(ctx, opCreate, api, bucket); err != nil {
		return 0, err
	}
	tags, err := api.BucketTags(ctx, bucket)
	if err != nil {
		return 0, err
	}
	used := tags[backend.TagCluster] + tags[backend.TagVolumeName]
	ours := tags[backend.TagAdopted] == "external" && tags[backend.TagCluster] == b.opts.Owner.Cluster && tags[backend.TagVolumeName] == o.name
	switch {
	case ours:
		return o.bytes, nil
	case tags[backend.TagHolder] != "":
		return 0, fault.New(fault.InUse, opCreate, bucket, "the bucket is held by %s; release it there first", tags[backend.TagHolder])
	case used != "":
		return 0, fault.New(fault.Conflict, opCreate, bucket, "the bucket is already used as %q in cluster %q", tags[backend.TagVolumeName], tags[backend.TagCluster])
	}
	tags[backend.TagAdopted], tags[backend.TagCluster], tags[backend.TagVolumeName] = "external", b.opts.Owner.Cluster, o.name
	return o.bytes, api.SetBucketTags(ctx, bucket, tags)
}

// judge decides by tags whether a bucket may be deleted by us.
func (b *Backend) judge(tags map[string]string) backend.Verdict {
	return b.opts.Owner.Judge(backend.TagVolumeName, tags, b.standsIn())
}
