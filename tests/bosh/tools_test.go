package bosh

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// sdk is EC2 as an operator's own tools see it.
func (s *site) sdk() *ec2.Client {
	return ec2.NewFromConfig(aws.Config{
		Region: sandbox.Region, BaseEndpoint: &s.emulator.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
}

// hold sets tags as other programs do.
func (s *site) hold(id string, tags map[string]string) {
	s.t.Helper()
	if len(tags) == 0 {
		return
	}
	var list []types.Tag
	for k, v := range tags {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	_, err := s.sdk().CreateTags(s.t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: list})
	s.must(err)
}

// shell runs a tool and returns what it says.
func shell(ctx context.Context, t *testing.T, words ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "env", append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C"}, words...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
	return string(out)
}

// foreign makes a volume as other programs do.
func (s *site) foreign(tags map[string]string) string {
	s.t.Helper()
	out, err := s.sdk().CreateVolume(s.t.Context(), &ec2.CreateVolumeInput{Size: aws.Int32(1), VolumeType: types.VolumeTypeGp3, AvailabilityZone: aws.String("us-east-1a")})
	s.must(err)
	s.hold(*out.VolumeId, tags)
	return *out.VolumeId
}

// attach attaches a volume as other programs do.
func (s *site) attach(id, vm, device string) {
	s.t.Helper()
	_, err := s.sdk().AttachVolume(s.t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &vm, Device: &device})
	s.must(err)
}
