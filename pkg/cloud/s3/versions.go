package s3

import (
	"context"
	"net/url"
	"strings"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// VersionPage lists every version and delete marker whose key begins with prefix, at
// most 1,000, after those of the page before. A server without versions lists its objects.
func (c *Client) VersionPage(ctx context.Context, bucket, prefix string, after VersionPage) (VersionPage, error) {
	if c.Lacks(Versions) {
		keys, next, err := c.Keys(ctx, bucket, prefix, after.NextKey, maxPage)
		page := VersionPage{NextKey: next, More: next != ""}
		for _, key := range keys {
			page.Versions = append(page.Versions, Version{Key: key})
		}
		return page, err
	}
	out, err := ask(ctx, c, read("ListObjectVersions", bucket), func(ctx context.Context, owner *string) (*sdk.ListObjectVersionsOutput, error) {
		return c.api.ListObjectVersions(ctx, &sdk.ListObjectVersionsInput{
			Bucket: &bucket, Prefix: optional(prefix), KeyMarker: optional(after.NextKey), VersionIdMarker: optional(after.NextID),
			MaxKeys: sdkaws.Int32(maxPage), ExpectedBucketOwner: owner, EncodingType: types.EncodingTypeUrl,
		}, c.within(bucket))
	})
	if err != nil {
		return VersionPage{}, err
	}
	page := VersionPage{NextKey: decoded(out.EncodingType, out.NextKeyMarker), NextID: sdkaws.ToString(out.NextVersionIdMarker), More: sdkaws.ToBool(out.IsTruncated)}
	for _, v := range out.Versions {
		page.Versions = append(page.Versions, Version{decoded(out.EncodingType, v.Key), sdkaws.ToString(v.VersionId)})
	}
	for _, m := range out.DeleteMarkers {
		page.Versions = append(page.Versions, Version{decoded(out.EncodingType, m.Key), sdkaws.ToString(m.VersionId)})
	}
	return page, nil
}

// maxPage is the most that one list, and one deletion, has.
const maxPage = 1000

// DeleteVersions deletes at most 1,000 versions and returns those that S3 refused.
// Governance is never bypassed. One that is gone already counts as deleted.
func (c *Client) DeleteVersions(ctx context.Context, bucket string, versions []Version) ([]Refusal, error) {
	var refused []Refusal
	objects := make([]types.ObjectIdentifier, 0, len(versions))
	for _, v := range versions {
		if !strings.ContainsFunc(v.Key, unwritable) {
			objects = append(objects, types.ObjectIdentifier{Key: sdkaws.String(v.Key), VersionId: optional(v.ID)})
			continue
		}
		err := c.deleteVersion(ctx, bucket, v)
		switch {
		case fault.Is(err, fault.Denied):
			refused = append(refused, Refusal{Version: v, Code: fault.CodeOf(err), Message: err.Error()})
		case err != nil:
			return nil, err
		}
	}
	if len(objects) == 0 {
		return refused, nil
	}
	out, err := ask(ctx, c, mutate("DeleteObjects", bucket), func(ctx context.Context, owner *string) (*sdk.DeleteObjectsOutput, error) {
		return c.api.DeleteObjects(ctx, &sdk.DeleteObjectsInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, Delete: &types.Delete{Objects: objects, Quiet: sdkaws.Bool(true)},
		}, c.within(bucket))
	})
	if err != nil {
		return nil, err
	}
	for _, e := range out.Errors {
		refused = append(refused, Refusal{
			Version: Version{sdkaws.ToString(e.Key), sdkaws.ToString(e.VersionId)}, Code: sdkaws.ToString(e.Code), Message: sdkaws.ToString(e.Message),
		})
	}
	return refused, nil
}

// deleteVersion deletes what a list of deletions cannot name.
func (c *Client) deleteVersion(ctx context.Context, bucket string, v Version) error {
	_, err := ask(ctx, c, mutate("DeleteObject", bucket+"/"+v.Key), func(ctx context.Context, owner *string) (*sdk.DeleteObjectOutput, error) {
		return c.api.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: &bucket, Key: &v.Key, VersionId: optional(v.ID), ExpectedBucketOwner: owner}, c.within(bucket))
	})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// unwritable reports whether XML has no way to write a character: the SDK would write another in its place.
// https://www.w3.org/TR/xml/#charsets
func unwritable(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

// decoded is a key of a list, which is asked for as URLs have it: XML cannot write every key. A server that does not know that
// does not say that it did so.
func decoded(as types.EncodingType, key *string) string {
	text := sdkaws.ToString(key)
	if as != types.EncodingTypeUrl {
		return text
	}
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// Uploads lists at most 1,000 unfinished uploads of keys that begin with prefix.
func (c *Client) Uploads(ctx context.Context, bucket, prefix string) ([]Upload, error) {
	out, err := ask(ctx, c, read("ListMultipartUploads", bucket), func(ctx context.Context, owner *string) (*sdk.ListMultipartUploadsOutput, error) {
		return c.api.ListMultipartUploads(ctx, &sdk.ListMultipartUploadsInput{
			Bucket: &bucket, Prefix: optional(prefix), ExpectedBucketOwner: owner, EncodingType: types.EncodingTypeUrl,
		}, c.within(bucket))
	})
	if err != nil {
		return nil, err
	}
	var list []Upload
	for _, u := range out.Uploads {
		list = append(list, Upload{decoded(out.EncodingType, u.Key), sdkaws.ToString(u.UploadId)})
	}
	return list, nil
}

// AbortUpload drops an unfinished upload; nil where it is gone.
func (c *Client) AbortUpload(ctx context.Context, bucket string, u Upload) error {
	_, err := ask(ctx, c, aws.Call{Op: "AbortMultipartUpload", Subject: bucket + "/" + u.Key, Mutates: true, Codes: codes},
		func(ctx context.Context, owner *string) (*sdk.AbortMultipartUploadOutput, error) {
			return c.api.AbortMultipartUpload(ctx, &sdk.AbortMultipartUploadInput{Bucket: &bucket, Key: &u.Key, UploadId: &u.ID, ExpectedBucketOwner: owner}, c.within(bucket))
		})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
