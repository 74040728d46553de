package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// s3Operations are the operations of S3 volumes that change something in S3.
func s3Operations() []operation {
	return []operation{
		{name: "create a bucket", prepare: objects(func(_ context.Context, o *s3) (request, error) { return o.creating(), nil })},
		{name: "delete a bucket", prepare: objects(deleteObjects)},
		{name: "create a prefix", prepare: objects(func(ctx context.Context, o *s3) (request, error) { return o.creating(), o.within(ctx) })},
		{name: "delete a prefix", prepare: objects(func(ctx context.Context, o *s3) (request, error) {
			if err := o.within(ctx); err != nil {
				return request{}, err
			}
			return deleteObjects(ctx, o)
		})},
		{name: "adopt a bucket", prepare: objects(func(ctx context.Context, o *s3) (request, error) { return o.adopting(ctx, "") })},
		{name: "forget a bucket", prepare: objects(func(ctx context.Context, o *s3) (request, error) { return o.forgetting(ctx, "") })},
		{name: "adopt a prefix", prepare: objects(func(ctx context.Context, o *s3) (request, error) { return o.adopting(ctx, "prod/") })},
		{name: "forget a prefix", prepare: objects(func(ctx context.Context, o *s3) (request, error) { return o.forgetting(ctx, "prod/") })},
	}
}

// s3 is one volume's life until the operation. A prefix is made in the bucket of another volume, given.
type s3 struct {
	controller csi.ControllerClient
	user       *awss3.Client
	list       func(bucket string) (*awss3.ListObjectsV2Output, error)
	name       string
	parameters map[string]string
	volume     string // handle; empty until it is made
	given      string // handle; empty where there is none
}

func objects(of func(context.Context, *s3) (request, error)) func(context.Context, grpc.ClientConnInterface, *sandbox.Emulator, string) (request, error) {
	return func(ctx context.Context, conn grpc.ClientConnInterface, e *sandbox.Emulator, unique string) (request, error) {
		user := awss3.NewFromConfig(aws.Config{
			Region: sandbox.Region, BaseEndpoint: &e.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		})
		list := func(bucket string) (*awss3.ListObjectsV2Output, error) { // also when the preparation is over
			return user.ListObjectsV2(context.WithoutCancel(ctx), &awss3.ListObjectsV2Input{Bucket: &bucket})
		}
		return of(ctx, &s3{
			controller: csi.NewControllerClient(conn), user: user, list: list, name: "pvc-" + unique,
			parameters: map[string]string{"versioning": "true"},
		})
	}
}

func (o *s3) createRequest() *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: o.name, CapacityRange: &csi.CapacityRange{RequiredBytes: gib}, VolumeCapabilities: []*csi.VolumeCapability{sharedCapability()},
		Parameters: o.parameters,
	}
}

func (o *s3) create(ctx context.Context) error {
	v, err := o.controller.CreateVolume(ctx, o.createRequest())
	o.volume = v.GetVolume().GetVolumeId()
	return err
}

// within makes a bucket to make a prefix in.
func (o *s3) within(ctx context.Context) error {
	name := o.name
	o.name = "given-" + name
	if err := o.create(ctx); err != nil {
		return err
	}
	o.given, o.volume, o.name = o.volume, "", name
	o.parameters = map[string]string{"bucket": strings.TrimPrefix(o.given, "s3://")}
	return nil
}

// keys are the objects of the bucket that the volume is, or lies in.
func (o *s3) keys() ([]string, error) {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(o.volume, "s3://"), "/")
	out, err := o.list(bucket)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, object := range out.Contents {
		keys = append(keys, *object.Key)
	}
	return keys, nil
}

func (o *s3) undo(ctx context.Context, conn grpc.ClientConnInterface, _ proto.Message) error {
	for _, id := range []string{o.volume, o.given} {
		if id == "" {
			continue
		}
		if _, err := csi.NewControllerClient(conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
			return err
		}
	}
	return nil
}

func (o *s3) creating() request {
	req := request{undo: o.undo}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).CreateVolume(ctx, o.createRequest())
	}
	req.blank = func(answer proto.Message) {
		v := answer.(*csi.CreateVolumeResponse).Volume
		v.VolumeId = ""
	}
	req.once = func(answer proto.Message, truth harness.Truth) error {
		o.volume = answer.(*csi.CreateVolumeResponse).GetVolume().GetVolumeId()
		keys, err := o.keys()
		switch {
		case err != nil:
			return err
		case len(truth.Buckets) != 1:
			return fmt.Errorf("there are %d buckets", len(truth.Buckets))
		case o.given == "" && len(keys) > 0, o.given != "" && (len(keys) != 2 || !slices.Contains(keys, o.name+"/")):
			return fmt.Errorf("the bucket holds %v", keys)
		}
		return nil
	}
	return req
}

// deleteObjects deletes a volume in which a user wrote, beside one that only looks like it.
func deleteObjects(ctx context.Context, o *s3) (request, error) {
	if err := o.create(ctx); err != nil {
		return request{}, err
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(o.volume, "s3://"), "/")
	neighbour := strings.TrimSuffix(prefix, "/") + "-2/a"
	keys := []string{prefix + "a", prefix + "a", prefix + "b/c"}
	if prefix != "" {
		keys = append(keys, neighbour)
	}
	for _, key := range keys {
		if _, err := o.user.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("data")}); err != nil {
			return request{}, err
		}
	}
	upload := prefix + "upload"
	if _, err := o.user.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: &upload}); err != nil {
		return request{}, err
	}
	req := request{undo: o.undo, blank: func(proto.Message) {}}
	req.send = func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error) {
		return csi.NewControllerClient(conn).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: o.volume})
	}
	req.once = func(_ proto.Message, truth harness.Truth) error {
		if o.given == "" {
			if len(truth.Buckets) > 0 {
				return fmt.Errorf("the bucket is still there")
			}
			return nil
		}
		if left, err := o.keys(); err != nil || !slices.Equal(left, []string{neighbour}) {
			return fmt.Errorf("the bucket holds %v, not only the neighbour's %s: %w", left, neighbour, err)
		}
		return nil
	}
	return req, nil
}
