package s3

import (
	"bytes"
	"context"
	"io"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// maxObject bounds what Object reads, in bytes.
const maxObject = 64 << 10

// PutObject writes a small object. only refuses with fault.Conflict where one of that
// key exists.
func (c *Client) PutObject(ctx context.Context, bucket, key string, data []byte, only bool) error {
	in := &sdk.PutObjectInput{Bucket: &bucket, Key: &key}
	if only {
		in.IfNoneMatch = sdkaws.String("*")
	}
	_, err := ask(ctx, c, mutate("PutObject", bucket+"/"+key), func(ctx context.Context, owner *string) (*sdk.PutObjectOutput, error) {
		once := *in
		once.ExpectedBucketOwner, once.Body = owner, bytes.NewReader(data)
		return c.api.PutObject(ctx, &once, c.within(bucket))
	})
	return err
}

// Object reads a small object; found is false where there is none, which S3 says truly:
// objects are strongly consistent.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
func (c *Client) Object(ctx context.Context, bucket, key string) (data []byte, found bool, err error) {
	data, err = ask(ctx, c, read("GetObject", bucket+"/"+key), func(ctx context.Context, owner *string) ([]byte, error) {
		out, err := c.api.GetObject(ctx, &sdk.GetObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: owner}, c.within(bucket))
		if err != nil {
			return nil, err
		}
		defer func() { _ = out.Body.Close() }() // it was only read
		return io.ReadAll(io.LimitReader(out.Body, maxObject))
	})
	if fault.CodeOf(err) == "NoSuchKey" {
		return nil, false, nil
	}
	return data, err == nil, err
}

// Keys lists the keys that begin with prefix, at most 1,000 and from token on.
func (c *Client) Keys(ctx context.Context, bucket, prefix, token string, most int32) (keys []string, next string, err error) {
	out, err := ask(ctx, c, read("ListObjectsV2", bucket), func(ctx context.Context, owner *string) (*sdk.ListObjectsV2Output, error) {
		return c.api.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{
			Bucket: &bucket, Prefix: optional(prefix), ContinuationToken: optional(token), MaxKeys: &most, ExpectedBucketOwner: owner,
		}, c.within(bucket))
	})
	if err != nil {
		return nil, "", err
	}
	for _, o := range out.Contents {
		keys = append(keys, sdkaws.ToString(o.Key))
	}
	return keys, sdkaws.ToString(out.NextContinuationToken), nil
}

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
			MaxKeys: sdkaws.Int32(maxPage), ExpectedBucketOwner: owner,
		}, c.within(bucket))
	})
	if err != nil {
		return VersionPage{}, err
	}
	page := VersionPage{NextKey: sdkaws.ToString(out.NextKeyMarker), NextID: sdkaws.ToString(out.NextVersionIdMarker), More: sdkaws.ToBool(out.IsTruncated)}
	for _, v := range out.Versions {
		page.Versions = append(page.Versions, Version{sdkaws.ToString(v.Key), sdkaws.ToString(v.VersionId)})
	}
	for _, m := range out.DeleteMarkers {
		page.Versions = append(page.Versions, Version{sdkaws.ToString(m.Key), sdkaws.ToString(m.VersionId)})
	}
	return page, nil
}

// maxPage is the most that one list, and one deletion, has.
const maxPage = 1000

// DeleteVersions deletes at most 1,000 versions and returns those that S3 refused.
// Governance is never bypassed. One that is gone already counts as deleted.
func (c *Client) DeleteVersions(ctx context.Context, bucket string, versions []Version) ([]Refusal, error) {
	objects := make([]types.ObjectIdentifier, 0, len(versions))
	for _, v := range versions {
		objects = append(objects, types.ObjectIdentifier{Key: sdkaws.String(v.Key), VersionId: optional(v.ID)})
	}
	out, err := ask(ctx, c, mutate("DeleteObjects", bucket), func(ctx context.Context, owner *string) (*sdk.DeleteObjectsOutput, error) {
		return c.api.DeleteObjects(ctx, &sdk.DeleteObjectsInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, Delete: &types.Delete{Objects: objects, Quiet: sdkaws.Bool(true)},
		}, c.within(bucket))
	})
	if err != nil {
		return nil, err
	}
	var refused []Refusal
	for _, e := range out.Errors {
		refused = append(refused, Refusal{
			Version: Version{sdkaws.ToString(e.Key), sdkaws.ToString(e.VersionId)}, Code: sdkaws.ToString(e.Code), Message: sdkaws.ToString(e.Message),
		})
	}
	return refused, nil
}

// Uploads lists at most 1,000 unfinished uploads of keys that begin with prefix.
func (c *Client) Uploads(ctx context.Context, bucket, prefix string) ([]Upload, error) {
	out, err := ask(ctx, c, read("ListMultipartUploads", bucket), func(ctx context.Context, owner *string) (*sdk.ListMultipartUploadsOutput, error) {
		return c.api.ListMultipartUploads(ctx, &sdk.ListMultipartUploadsInput{Bucket: &bucket, Prefix: optional(prefix), ExpectedBucketOwner: owner}, c.within(bucket))
	})
	if err != nil {
		return nil, err
	}
	var list []Upload
	for _, u := range out.Uploads {
		list = append(list, Upload{sdkaws.ToString(u.Key), sdkaws.ToString(u.UploadId)})
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
