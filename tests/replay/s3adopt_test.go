package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// found makes a bucket that is nobody's volume, with an object of a user's, and names it, or the prefix in it, as what
// shall be adopted.
func (o *s3) found(ctx context.Context, prefix string) (bucket, key string, err error) {
	bucket, key = "found-"+o.name, prefix+"precious"
	if _, err := o.user.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		return "", "", err
	}
	o.parameters = map[string]string{"existingResourceId": "s3://" + bucket}
	if prefix != "" {
		o.parameters["existingResourceId"] += "/" + prefix
	}
	_, err = o.user.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("data")})
	return bucket, key, err
}

// adopting adopts what exists.
func (o *s3) adopting(ctx context.Context, prefix string) (request, error) {
	bucket, key, err := o.found(ctx, prefix)
	if err != nil {
		return request{}, err
	}
	req := o.creating()
	req.once = o.untouched(bucket, key)
	req.undo = o.removing(bucket)
	return req, nil
}

// forgetting deletes what was adopted.
func (o *s3) forgetting(ctx context.Context, prefix string) (request, error) {
	bucket, key, err := o.found(ctx, prefix)
	if err != nil {
		return request{}, err
	}
	if err := o.create(ctx); err != nil {
		return request{}, err
	}
	return request{
		send: func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
			return csi.NewControllerClient(conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: o.volume})
		},
		blank: func(proto.Message) {}, once: o.untouched(bucket, key), undo: o.removing(bucket),
	}, nil
}

// untouched checks that the user's object is there.
func (o *s3) untouched(bucket, key string) func(proto.Message, harness.Truth) error {
	return func(proto.Message, harness.Truth) error {
		out, err := o.list(bucket)
		if err != nil {
			return err
		}
		var keys []string
		for _, object := range out.Contents {
			keys = append(keys, *object.Key)
		}
		if !slices.Contains(keys, key) {
			return fmt.Errorf("the bucket holds %v", keys)
		}
		return nil
	}
}

// removing ends a bucket as its user does.
func (o *s3) removing(bucket string) func(context.Context, grpc.ClientConnInterface, proto.Message) error {
	return func(ctx context.Context, _ grpc.ClientConnInterface, _ proto.Message) error {
		out, err := o.list(bucket)
		if err != nil {
			return err
		}
		for _, object := range out.Contents {
			_, gone := o.user.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: object.Key})
			err = errors.Join(err, gone)
		}
		_, gone := o.user.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &bucket})
		return errors.Join(err, gone)
	}
}
