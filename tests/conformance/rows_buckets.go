package main

import (
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// bucketOf is the name of the bucket that the rows are about.
const bucketOf = "conformance-bucket"

// bucketing is a row that calls S3.
func bucketing[In, Out any](name string, in In, call func(*session, *In) (*Out, error)) row {
	return row{name: "buckets: " + name, call: func(s *session) (any, error) { return call(s, &in) }}
}

// bucketRows are a bucket's life: the calls that the driver makes, and what shows their outcome.
func bucketRows() []row {
	var all []row
	for _, part := range [][]row{madeRows(), settingRows(), objectRows(), versionRows(), uploadRows(), emptiedRows()} {
		all = append(all, part...)
	}
	return all
}

func madeRows() []row {
	name, tags := aws.String(bucketOf), []types.Tag{{Key: aws.String("team"), Value: aws.String("storage")}}
	const owned = types.ObjectOwnershipBucketOwnerEnforced
	make := func(name string, in s3.CreateBucketInput) row {
		return bucketing("make "+name, in, func(s *session, in *s3.CreateBucketInput) (*s3.CreateBucketOutput, error) {
			return s.s3.CreateBucket(s.ctx, in)
		})
	}
	head := func(name, bucket string, owner *string) row {
		return bucketing("look at "+name, s3.HeadBucketInput{Bucket: &bucket, ExpectedBucketOwner: owner}, func(s *session, in *s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
			return s.s3.HeadBucket(s.ctx, in)
		})
	}
	read := func(name, bucket string) row {
		return bucketing("tags "+name, s3.GetBucketTaggingInput{Bucket: &bucket}, func(s *session, in *s3.GetBucketTaggingInput) (*s3.GetBucketTaggingOutput, error) {
			return s.s3.GetBucketTagging(s.ctx, in)
		})
	}
	return []row{
		make("one", s3.CreateBucketInput{Bucket: name, ObjectOwnership: owned}),
		make("one again", s3.CreateBucketInput{Bucket: name, ObjectOwnership: owned}),
		make("a plain one", s3.CreateBucketInput{Bucket: aws.String("plain-bucket")}),
		make("one with tags", s3.CreateBucketInput{Bucket: aws.String("tagged-bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{Tags: tags}}),
		make("one elsewhere", s3.CreateBucketInput{Bucket: aws.String("far-bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}}),
		make("one of no region", s3.CreateBucketInput{Bucket: aws.String("lost-bucket"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "nowhere"}}),
		make("one of a wrong name", s3.CreateBucketInput{Bucket: aws.String("Wrong_Name")}),
		head("it", bucketOf, nil), head("it as its owner", bucketOf, aws.String(account)), head("it as another's", bucketOf, aws.String("123456789012")), head("a missing one", "missing-bucket", nil),
		bucketing("list", s3.ListBucketsInput{MaxBuckets: aws.Int32(100)}, func(s *session, in *s3.ListBucketsInput) (*s3.ListBucketsOutput, error) {
			return s.s3.ListBuckets(s.ctx, in)
		}),
		read("of its making", "tagged-bucket"), read("of a plain one", "plain-bucket"), read("of a missing one", "missing-bucket"),
		bucketing("tag", s3.PutBucketTaggingInput{Bucket: name, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("diskbridge.io/complete"), Value: aws.String("true")}}}},
			func(s *session, in *s3.PutBucketTaggingInput) (*s3.PutBucketTaggingOutput, error) {
				return s.s3.PutBucketTagging(s.ctx, in)
			}),
		read("that replaced them", bucketOf),
	}
}

// settingRows set what a bucket is, and read it back.
func settingRows() []row {
	name, on := aws.String(bucketOf), aws.Bool(true)
	rules := []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: aws.String("alias/one")}, BucketKeyEnabled: on}}
	expire := []types.LifecycleRule{{ID: aws.String("uploads"), Status: "Enabled", Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
		AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(7)}}}
	owned := &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced}}}
	return []row{
		bucketing("close to the public", s3.PutPublicAccessBlockInput{Bucket: name, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: on, BlockPublicPolicy: on, IgnorePublicAcls: on, RestrictPublicBuckets: on,
		}}, func(s *session, in *s3.PutPublicAccessBlockInput) (*s3.PutPublicAccessBlockOutput, error) {
			return s.s3.PutPublicAccessBlock(s.ctx, in)
		}),
		bucketing("how it is closed", s3.GetPublicAccessBlockInput{Bucket: name}, func(s *session, in *s3.GetPublicAccessBlockInput) (*s3.GetPublicAccessBlockOutput, error) {
			return s.s3.GetPublicAccessBlock(s.ctx, in)
		}),
		bucketing("own its objects", s3.PutBucketOwnershipControlsInput{Bucket: name, OwnershipControls: owned}, func(s *session, in *s3.PutBucketOwnershipControlsInput) (*s3.PutBucketOwnershipControlsOutput, error) {
			return s.s3.PutBucketOwnershipControls(s.ctx, in)
		}),
		bucketing("who owns its objects", s3.GetBucketOwnershipControlsInput{Bucket: name}, func(s *session, in *s3.GetBucketOwnershipControlsInput) (*s3.GetBucketOwnershipControlsOutput, error) {
			return s.s3.GetBucketOwnershipControls(s.ctx, in)
		}),
		bucketing("encrypt", s3.PutBucketEncryptionInput{Bucket: name, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: rules}},
			func(s *session, in *s3.PutBucketEncryptionInput) (*s3.PutBucketEncryptionOutput, error) {
				return s.s3.PutBucketEncryption(s.ctx, in)
			}),
		bucketing("how it is encrypted", s3.GetBucketEncryptionInput{Bucket: name}, func(s *session, in *s3.GetBucketEncryptionInput) (*s3.GetBucketEncryptionOutput, error) {
			return s.s3.GetBucketEncryption(s.ctx, in)
		}),
		bucketing("expire uploads", s3.PutBucketLifecycleConfigurationInput{Bucket: name, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: expire}},
			func(s *session, in *s3.PutBucketLifecycleConfigurationInput) (*s3.PutBucketLifecycleConfigurationOutput, error) {
				return s.s3.PutBucketLifecycleConfiguration(s.ctx, in)
			}),
		bucketing("what expires", s3.GetBucketLifecycleConfigurationInput{Bucket: name}, func(s *session, in *s3.GetBucketLifecycleConfigurationInput) (*s3.GetBucketLifecycleConfigurationOutput, error) {
			return s.s3.GetBucketLifecycleConfiguration(s.ctx, in)
		}),
		bucketing("what expires in a plain one", s3.GetBucketLifecycleConfigurationInput{Bucket: aws.String("plain-bucket")}, func(s *session, in *s3.GetBucketLifecycleConfigurationInput) (*s3.GetBucketLifecycleConfigurationOutput, error) {
			return s.s3.GetBucketLifecycleConfiguration(s.ctx, in)
		}),
		bucketing("close a missing one", s3.PutPublicAccessBlockInput{Bucket: aws.String("missing-bucket"), PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{BlockPublicAcls: on}},
			func(s *session, in *s3.PutPublicAccessBlockInput) (*s3.PutPublicAccessBlockOutput, error) {
				return s.s3.PutPublicAccessBlock(s.ctx, in)
			}),
	}
}

// put writes an object; only where it says so it must be new.
func put(name, bucket, key, text string, only *string) row {
	return row{name: "buckets: write " + name, call: func(s *session) (any, error) {
		return s.s3.PutObject(s.ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(text), IfNoneMatch: only})
	}}
}

func objectRows() []row {
	get := func(name, bucket, key string) row {
		return row{name: "buckets: read " + name, call: func(s *session) (any, error) {
			out, err := s.s3.GetObject(s.ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
			if err != nil {
				return nil, err
			}
			defer func() { _ = out.Body.Close() }() // it was only read
			text, err := io.ReadAll(out.Body)
			return struct {
				Text, ETag    string
				ContentLength int64
			}{string(text), aws.ToString(out.ETag), aws.ToInt64(out.ContentLength)}, err
		}}
	}
	list := func(name string, in s3.ListObjectsV2Input) row {
		return bucketing("list "+name, in, func(s *session, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
			return s.s3.ListObjectsV2(s.ctx, in)
		})
	}
	name := aws.String(bucketOf)
	return []row{
		put("a marker", bucketOf, ".diskbridge/volumes/1", "{}", aws.String("*")),
		put("the marker again", bucketOf, ".diskbridge/volumes/1", "{x}", aws.String("*")),
		put("a folder", bucketOf, "prod/", "", nil),
		put("an object", bucketOf, "prod/a b+c", "hello", nil),
		put("a neighbour", bucketOf, "prod-2/a", "hello", nil),
		put("into a missing one", "missing-bucket", "a", "hello", nil),
		get("the marker", bucketOf, ".diskbridge/volumes/1"), get("an object", bucketOf, "prod/a b+c"), get("a missing object", bucketOf, "prod/none"), get("in a missing one", "missing-bucket", "a"),
		list("below a prefix", s3.ListObjectsV2Input{Bucket: name, Prefix: aws.String("prod/"), MaxKeys: aws.Int32(10)}),
		list("one of all", s3.ListObjectsV2Input{Bucket: name, MaxKeys: aws.Int32(1)}),
		list("nothing", s3.ListObjectsV2Input{Bucket: name, Prefix: aws.String("none/"), MaxKeys: aws.Int32(1)}),
		list("a missing one", s3.ListObjectsV2Input{Bucket: aws.String("missing-bucket"), MaxKeys: aws.Int32(1)}),
	}
}

// versionRows keep what is overwritten, and delete it for good.
func versionRows() []row {
	name := aws.String(bucketOf)
	versions := func(what string, prefix string) row {
		return bucketing("versions "+what, s3.ListObjectVersionsInput{Bucket: name, Prefix: &prefix, MaxKeys: aws.Int32(1000)}, func(s *session, in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
			return s.s3.ListObjectVersions(s.ctx, in)
		})
	}
	remove := func(what string, quiet bool, objects ...[2]string) row {
		return row{name: "buckets: delete " + what, call: func(s *session) (any, error) {
			var list []types.ObjectIdentifier
			for _, o := range objects {
				id := types.ObjectIdentifier{Key: &o[0]}
				if o[1] != "" {
					id.VersionId = s.id(o[1])
				}
				list = append(list, id)
			}
			return s.s3.DeleteObjects(s.ctx, &s3.DeleteObjectsInput{Bucket: name, Delete: &types.Delete{Objects: list, Quiet: &quiet}})
		}}
	}
	return []row{
		versions("before they are kept", "prod/"),
		bucketing("keep versions", s3.PutBucketVersioningInput{Bucket: name, VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled"}},
			func(s *session, in *s3.PutBucketVersioningInput) (*s3.PutBucketVersioningOutput, error) {
				return s.s3.PutBucketVersioning(s.ctx, in)
			}),
		bucketing("are versions kept", s3.GetBucketVersioningInput{Bucket: name}, func(s *session, in *s3.GetBucketVersioningInput) (*s3.GetBucketVersioningOutput, error) {
			return s.s3.GetBucketVersioning(s.ctx, in)
		}),
		put("a first version", bucketOf, "kept/a", "1", nil).keeping("v-1", "VersionId"),
		put("a second version", bucketOf, "kept/a", "2", nil).keeping("v-2", "VersionId"),
		remove("by its name", false, [2]string{"kept/a", ""}).keeping("v-3", "Deleted[*].DeleteMarkerVersionId"),
		versions("of it", "kept/"),
		remove("versions and a marker", true, [2]string{"kept/a", "v-1"}, [2]string{"kept/a", "v-2"}, [2]string{"kept/a", "v-3"}),
		remove("them again", true, [2]string{"kept/a", "v-1"}),
		versions("that are no more", "kept/"),
	}
}

func uploadRows() []row {
	name, key := aws.String(bucketOf), aws.String("prod/large")
	uploads := func(what string) row {
		return bucketing("uploads "+what, s3.ListMultipartUploadsInput{Bucket: name, Prefix: aws.String("prod/")}, func(s *session, in *s3.ListMultipartUploadsInput) (*s3.ListMultipartUploadsOutput, error) {
			return s.s3.ListMultipartUploads(s.ctx, in)
		})
	}
	abort := func(what, id string) row {
		return row{name: "buckets: drop " + what, call: func(s *session) (any, error) {
			return s.s3.AbortMultipartUpload(s.ctx, &s3.AbortMultipartUploadInput{Bucket: name, Key: key, UploadId: s.id(id)})
		}}
	}
	return []row{
		bucketing("begin an upload", s3.CreateMultipartUploadInput{Bucket: name, Key: key}, func(s *session, in *s3.CreateMultipartUploadInput) (*s3.CreateMultipartUploadOutput, error) {
			return s.s3.CreateMultipartUpload(s.ctx, in)
		}).keeping("up-1", "UploadId"),
		uploads("that nobody finished"), abort("it", "up-1"), abort("it again", "up-1"), uploads("that are no more"),
	}
}

// emptiedRows delete buckets, in the wrong order first.
func emptiedRows() []row {
	remove := func(name, bucket string) row {
		return bucketing("end "+name, s3.DeleteBucketInput{Bucket: &bucket}, func(s *session, in *s3.DeleteBucketInput) (*s3.DeleteBucketOutput, error) {
			return s.s3.DeleteBucket(s.ctx, in)
		})
	}
	return []row{remove("one that is not empty", bucketOf), remove("a plain one", "plain-bucket"), remove("the plain one again", "plain-bucket")}
}
