package s3

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// API is what the backend needs of S3; pkg/cloud/s3.Client is the real one.
type API interface {
	bucketAPI
	settingsAPI
	objectAPI
}

type bucketAPI interface {
	Region() string
	CreateBucket(ctx context.Context, spec s3.BucketSpec) error
	HasBucket(ctx context.Context, bucket string) (bool, error)
	BucketAbsent(ctx context.Context, bucket string) (bool, error)
	BucketTags(ctx context.Context, bucket string) (map[string]string, error)
	SetBucketTags(ctx context.Context, bucket string, tags map[string]string) error
	DeleteBucket(ctx context.Context, bucket string) error
	BucketPage(ctx context.Context, token string) ([]s3.BucketInfo, string, error)
}

type settingsAPI interface {
	BlockPublicAccess(ctx context.Context, bucket string) error
	EnforceOwner(ctx context.Context, bucket string) error
	Encrypt(ctx context.Context, bucket string, e s3.Encryption) error
	KeepVersions(ctx context.Context, bucket string) error
	ExpireUploads(ctx context.Context, bucket string, days int32) error
}

type objectAPI interface {
	PutObject(ctx context.Context, bucket, key string, data []byte, only bool) error
	Object(ctx context.Context, bucket, key string) (data []byte, found bool, err error)
	Keys(ctx context.Context, bucket, prefix, token string, most int32) (keys []string, next string, err error)
	VersionPage(ctx context.Context, bucket, prefix string, after s3.VersionPage) (s3.VersionPage, error)
	DeleteVersions(ctx context.Context, bucket string, versions []s3.Version) ([]s3.Refusal, error)
	Uploads(ctx context.Context, bucket, prefix string) ([]s3.Upload, error)
	AbortUpload(ctx context.Context, bucket string, u s3.Upload) error
}

var _ API = (*s3.Client)(nil)

// Servers opens the S3 server of an endpoint profile. credentials are a request's own,
// nil for the driver's. The profile is one of Options.Profiles.
type Servers func(profile string, credentials *volume.ObjectCredentials) (API, error)
