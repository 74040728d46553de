package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsefs "github.com/aws/aws-sdk-go-v2/service/efs"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// user is somebody with the right to do everything.
func user(e *sandbox.Emulator) *awsefs.Client {
	return awsefs.NewFromConfig(aws.Config{Region: sandbox.Region, BaseEndpoint: &e.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
}

// found makes a file system that is nobody's volume, as what shall be adopted.
func (f *efs) found(ctx context.Context) error {
	made, err := f.user.CreateFileSystem(ctx, &awsefs.CreateFileSystemInput{CreationToken: &f.name})
	if err != nil {
		return err
	}
	f.volume = *made.FileSystemId
	f.parameters = map[string]string{"existingResourceId": f.volume}
	return nil
}

// removing ends a file system that the driver keeps, as its user does.
func (f *efs) removing(ctx context.Context, _ grpc.ClientConnInterface, _ proto.Message) error {
	_, err := f.user.DeleteFileSystem(ctx, &awsefs.DeleteFileSystemInput{FileSystemId: &f.volume})
	return err
}

// kept is a file system that was kept, with a tag of that value or without it.
func (f *efs) kept(truth harness.Truth, tag, want string) error {
	fs, err := only(truth, f.volume)
	if err == nil && (fs.Tags[tag] != want || len(fs.MountTargets) > 0) {
		err = fmt.Errorf("it has the tags %v and %d mount targets", fs.Tags, len(fs.MountTargets))
	}
	return err
}

func adoptFiles(ctx context.Context, f *efs) (request, error) {
	if err := f.found(ctx); err != nil {
		return request{}, err
	}
	req := f.creating()
	req.once = func(_ proto.Message, truth harness.Truth) error { return f.kept(truth, "CSIVolumeName", f.name) }
	req.undo = f.removing
	return req, nil
}

func forgetFiles(ctx context.Context, f *efs) (request, error) {
	err := f.found(ctx)
	if err = errors.Join(err, f.create(ctx)); err != nil {
		return request{}, err
	}
	req := f.deleting(func(truth harness.Truth) error { return f.kept(truth, "CSIVolumeName", "") })
	req.undo = f.removing
	return req, nil
}

// archiveFiles deletes a volume whose file system is kept without its mount target.
func archiveFiles(ctx context.Context, f *efs) (request, error) {
	f.parameters["onDelete"] = "archive"
	if err := f.create(ctx); err != nil {
		return request{}, err
	}
	req := f.deleting(func(truth harness.Truth) error { return f.kept(truth, "diskbridge.io/archived", "true") })
	req.undo = f.removing
	return req, nil
}
