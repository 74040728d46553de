package s3

import (
	"context"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// put changes a setting of a bucket that other servers may not have.
func put[T any](ctx context.Context, c *Client, part, op, bucket string, request func(ctx context.Context, owner *string) (T, error)) error {
	if c.Lacks(part) {
		return nil
	}
	_, err := ask(ctx, c, aws.Call{Op: op, Subject: bucket, Mutates: true, Codes: codes}, request)
	if fault.Is(err, fault.Unsupported) && c.endpoint.Name != "" {
		err = fault.Explain(err, "the server of endpoint profile "+c.endpoint.Name+" does not have it; if that is known and wanted, list "+part+" under lacks in the profile")
	}
	return err
}

// BlockPublicAccess lets no policy and no ACL open the bucket to everybody.
func (c *Client) BlockPublicAccess(ctx context.Context, bucket string) error {
	on := sdkaws.Bool(true)
	return put(ctx, c, PublicAccessBlock, "PutPublicAccessBlock", bucket, func(ctx context.Context, owner *string) (*sdk.PutPublicAccessBlockOutput, error) {
		return c.api.PutPublicAccessBlock(ctx, &sdk.PutPublicAccessBlockInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
				BlockPublicAcls: on, BlockPublicPolicy: on, IgnorePublicAcls: on, RestrictPublicBuckets: on,
			},
		}, c.within(bucket))
	})
}

// EnforceOwner makes every object the bucket owner's and switches ACLs off.
func (c *Client) EnforceOwner(ctx context.Context, bucket string) error {
	return put(ctx, c, OwnershipControls, "PutBucketOwnershipControls", bucket, func(ctx context.Context, owner *string) (*sdk.PutBucketOwnershipControlsOutput, error) {
		return c.api.PutBucketOwnershipControls(ctx, &sdk.PutBucketOwnershipControlsInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, OwnershipControls: &types.OwnershipControls{
				Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced}},
			},
		}, c.within(bucket))
	})
}

// Encrypt sets how objects are encrypted that say nothing themselves.
func (c *Client) Encrypt(ctx context.Context, bucket string, e Encryption) error {
	by := &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAes256}
	if e.KMS {
		by.SSEAlgorithm, by.KMSMasterKeyID = types.ServerSideEncryptionAwsKms, optional(e.Key)
	}
	return put(ctx, c, DefaultEncryption, "PutBucketEncryption", bucket, func(ctx context.Context, owner *string) (*sdk.PutBucketEncryptionOutput, error) {
		return c.api.PutBucketEncryption(ctx, &sdk.PutBucketEncryptionInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
				Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: by, BucketKeyEnabled: sdkaws.Bool(e.BucketKey)}},
			},
		}, c.within(bucket))
	})
}

// KeepVersions keeps what is overwritten or deleted.
func (c *Client) KeepVersions(ctx context.Context, bucket string) error {
	return put(ctx, c, Versions, "PutBucketVersioning", bucket, func(ctx context.Context, owner *string) (*sdk.PutBucketVersioningOutput, error) {
		return c.api.PutBucketVersioning(ctx, &sdk.PutBucketVersioningInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		}, c.within(bucket))
	})
}

// ExpireUploads drops uploads that nobody finished within so many days.
func (c *Client) ExpireUploads(ctx context.Context, bucket string, days int32) error {
	return put(ctx, c, Lifecycle, "PutBucketLifecycleConfiguration", bucket, func(ctx context.Context, owner *string) (*sdk.PutBucketLifecycleConfigurationOutput, error) {
		return c.api.PutBucketLifecycleConfiguration(ctx, &sdk.PutBucketLifecycleConfigurationInput{
			Bucket: &bucket, ExpectedBucketOwner: owner, LifecycleConfiguration: &types.BucketLifecycleConfiguration{
				Rules: []types.LifecycleRule{{
					ID: sdkaws.String("diskbridge-unfinished-uploads"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: sdkaws.String("")},
					AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: &days},
				}},
			},
		}, c.within(bucket))
	})
}
