package s3

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// lookups is how many buckets of a page are looked at at one time.
const lookups = 8

// List describes our buckets and our prefixes in the buckets of every profile's account.
func (b *Backend) List(ctx context.Context, page volume.Page) ([]volume.Volume, string, error) {
	return backend.Paged(page, func(token string) ([]volume.Volume, string, error) { return b.page(ctx, token) },
		func(v volume.Volume) volume.Volume { return v })
}

// page lists the volumes in one page of a profile's buckets. Its token is
// "<profile's number>/<the server's token>".
func (b *Backend) page(ctx context.Context, token string) ([]volume.Volume, string, error) {
	number, rest, _ := strings.Cut(token, "/")
	i, err := strconv.Atoi(number)
	if token != "" && (err != nil || i < 0 || i >= len(b.opts.Profiles)) {
		return nil, "", fault.New(fault.Invalid, "list", "", "unknown token")
	}
	api, err := b.server("list", b.opts.Profiles[i])
	if err != nil {
		return nil, "", err
	}
	buckets, next, err := api.BucketPage(ctx, rest)
	if err != nil {
		return nil, "", err
	}
	found := make([][]volume.Volume, len(buckets))
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(lookups)
	for n, bucket := range buckets {
		group.Go(func() (err error) {
			found[n], err = b.volumesIn(grouped, api, b.opts.Profiles[i], bucket)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, "", err
	}
	switch {
	case next != "":
		next = strconv.Itoa(i) + "/" + next
	case i+1 < len(b.opts.Profiles):
		next = strconv.Itoa(i+1) + "/"
	}
	return slices.Concat(found...), next, nil
}

// volumesIn are the volumes that a bucket is or has. A bucket that is gone, or closed to
// us, has none that we could speak of.
func (b *Backend) volumesIn(ctx context.Context, api API, profile string, bucket s3.BucketInfo) ([]volume.Volume, error) {
	h := volume.Handle{Kind: volume.S3, Root: bucket.Name, Profile: profile}
	var out []volume.Volume
	tags, err := api.BucketTags(ctx, bucket.Name)
	if err == nil && tags[backend.TagCluster] == b.opts.Owner.Cluster {
		out = append(out, describe(h, tags[TagBytes]))
	}
	for next, more := "", err == nil; more; more = next != "" && err == nil {
		var keys []string
		if keys, next, err = api.Keys(ctx, bucket.Name, markers, next, 1000); err != nil {
			break
		}
		for _, key := range keys {
			m, found, readErr := anyMarker(ctx, api, bucket.Name, key)
			if readErr != nil {
				err = readErr
				break
			}
			if found && m.Cluster == b.opts.Owner.Cluster {
				h.Path = m.Prefix
				out = append(out, describe(h, strconv.FormatInt(m.Bytes, 10)))
			}
		}
	}
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Denied) {
		err = nil
	}
	return out, err
}
