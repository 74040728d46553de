package s3

import (
	"context"
	"maps"
	"slices"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// firstRegion is the one whose buckets have no location.
const firstRegion = "us-east-1"

// CreateBucket asks for a bucket with its tags. Where it exists and is this account's,
// the call is a success in us-east-1 and fault.Conflict (BucketAlreadyOwnedByYou)
// elsewhere, whatever its tags; another account's is fault.Conflict (BucketAlreadyExists).
func (c *Client) CreateBucket(ctx context.Context, spec BucketSpec) error {
	region := spec.Region
	if region == "" {
		region = c.Region()
	}
	in := &sdk.CreateBucketInput{
		Bucket: &spec.Name, ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{Tags: toTags(spec.Tags)},
	}
	if c.Lacks(OwnershipControls) {
		in.ObjectOwnership = ""
	}
	if region != firstRegion {
		in.CreateBucketConfiguration.LocationConstraint = types.BucketLocationConstraint(region)
	}
	c.learn(spec.Name, region)
	_, err := aws.Do(ctx, c.gate, mutate("CreateBucket", spec.Name), func(ctx context.Context) (*sdk.CreateBucketOutput, error) {
		return c.api.CreateBucket(ctx, in, c.within(spec.Name))
	})
	return err
}

// HasBucket asks whether this account has the bucket now, and learns its region. found
// is false where S3 does not show it at this moment, which proves nothing.
func (c *Client) HasBucket(ctx context.Context, bucket string) (found bool, err error) {
	for again := true; ; again = false {
		var region string
		_, err := ask(ctx, c, read("HeadBucket", bucket), func(ctx context.Context, owner *string) (*sdk.HeadBucketOutput, error) {
			out, err := c.api.HeadBucket(ctx, &sdk.HeadBucketInput{Bucket: &bucket, ExpectedBucketOwner: owner}, c.within(bucket))
			if region = regionOf(err); out != nil {
				region = sdkaws.ToString(out.BucketRegion)
			}
			return out, err
		})
		learned := c.learn(bucket, region)
		switch {
		case err == nil:
			c.absences.Saw(bucket)
			return true, nil
		case learned && again: // it was asked for in the wrong region
		case fault.Is(err, fault.NotFound):
			return false, nil
		default:
			return false, err
		}
	}
}

// BucketAbsent reports whether a bucket is proven not to exist: twice not found, an
// interval apart, or once where its age is known.
func (c *Client) BucketAbsent(ctx context.Context, bucket string) (bool, error) {
	return c.absences.Prove(ctx, bucket, func(ctx context.Context) error {
		found, err := c.HasBucket(ctx, bucket)
		if err == nil && !found {
			err = fault.New(fault.NotFound, "HeadBucket", bucket, "no such bucket")
		}
		return err
	})
}

// BucketTags reads the tags of a bucket.
func (c *Client) BucketTags(ctx context.Context, bucket string) (map[string]string, error) {
	out, err := ask(ctx, c, read("GetBucketTagging", bucket), func(ctx context.Context, owner *string) (*sdk.GetBucketTaggingOutput, error) {
		return c.api.GetBucketTagging(ctx, &sdk.GetBucketTaggingInput{Bucket: &bucket, ExpectedBucketOwner: owner}, c.within(bucket))
	})
	tags := map[string]string{}
	if fault.CodeOf(err) == "NoSuchTagSet" {
		return tags, nil
	}
	if err != nil {
		return nil, err
	}
	for _, t := range out.TagSet {
		tags[sdkaws.ToString(t.Key)] = sdkaws.ToString(t.Value)
	}
	return tags, nil
}

// SetBucketTags replaces the tags of a bucket.
func (c *Client) SetBucketTags(ctx context.Context, bucket string, tags map[string]string) error {
	_, err := ask(ctx, c, mutate("PutBucketTagging", bucket), func(ctx context.Context, owner *string) (*sdk.PutBucketTaggingOutput, error) {
		return c.api.PutBucketTagging(ctx, &sdk.PutBucketTaggingInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, Tagging: &types.Tagging{TagSet: toTags(tags)},
		}, c.within(bucket))
	})
	return err
}

// DeleteBucket removes an empty bucket; fault.InUse (BucketNotEmpty) where it is not.
func (c *Client) DeleteBucket(ctx context.Context, bucket string) error {
	_, err := ask(ctx, c, mutate("DeleteBucket", bucket), func(ctx context.Context, owner *string) (*sdk.DeleteBucketOutput, error) {
		return c.api.DeleteBucket(ctx, &sdk.DeleteBucketInput{Bucket: &bucket, ExpectedBucketOwner: owner}, c.within(bucket))
	})
	return err
}

// bucketPage is how many buckets a page has.
const bucketPage = 100

// BucketPage lists one page of the account's buckets.
func (c *Client) BucketPage(ctx context.Context, token string) ([]BucketInfo, string, error) {
	out, err := aws.Do(ctx, c.gate, read("ListBuckets", ""), func(ctx context.Context) (*sdk.ListBucketsOutput, error) {
		return c.api.ListBuckets(ctx, &sdk.ListBucketsInput{ContinuationToken: optional(token), MaxBuckets: sdkaws.Int32(bucketPage)})
	})
	if err != nil {
		return nil, "", err
	}
	list := make([]BucketInfo, 0, len(out.Buckets))
	for _, b := range out.Buckets {
		info := BucketInfo{Name: sdkaws.ToString(b.Name), Region: sdkaws.ToString(b.BucketRegion), Created: sdkaws.ToTime(b.CreationDate)}
		c.learn(info.Name, info.Region)
		list = append(list, info)
	}
	return list, sdkaws.ToString(out.ContinuationToken), nil
}

// toTags sorts by key, so that equal requests are equal on the wire too.
func toTags(tags map[string]string) []types.Tag {
	out := make([]types.Tag, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: sdkaws.String(k), Value: sdkaws.String(tags[k])})
	}
	return out
}
