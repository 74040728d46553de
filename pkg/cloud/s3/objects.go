package s3

import (
	"bytes"
	"context"
	"io"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

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
			EncodingType: types.EncodingTypeUrl,
		}, c.within(bucket))
	})
	if err != nil {
		return nil, "", err
	}
	for _, o := range out.Contents {
		keys = append(keys, decoded(out.EncodingType, o.Key))
	}
	return keys, sdkaws.ToString(out.NextContinuationToken), nil
}
