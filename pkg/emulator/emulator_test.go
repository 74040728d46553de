package emulator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
)

// cloud is an emulator whose clock stands still, with AWS's own clients, which do not retry.
type cloud struct {
	*emulator.Server
	ec2 *ec2.Client
	efs *efs.Client
	kms *kms.Client
	sts *sts.Client
	ctx context.Context
	t   *testing.T
}

func start(t *testing.T, o emulator.Options) *cloud {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock.Manual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	}
	server, err := emulator.Start(quiet(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cloud{Server: server, ctx: t.Context(), t: t}
	c.connect("test", "test", "")
	return c
}

// quiet is a context whose logger says nothing.
func quiet(t *testing.T) context.Context { return klog.NewContext(t.Context(), klog.Logger{}) }

func (c *cloud) connect(key, secret, token string) {
	config := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(c.Endpoint()), Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, token),
	}
	c.ec2, c.efs, c.kms, c.sts = ec2.NewFromConfig(config), efs.NewFromConfig(config), kms.NewFromConfig(config), sts.NewFromConfig(config)
}

// code is AWS's code of an error; empty for none, "no code" for others.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return "no code"
}

func (c *cloud) wantCode(err error, want string) {
	c.t.Helper()
	if got := code(err); got != want {
		c.t.Fatalf("error code %q, want %q (%v)", got, want, err)
	}
}

func (c *cloud) wantText(err error, wantCode, wantMessage string) {
	c.t.Helper()
	c.wantCode(err, wantCode)
	var api smithy.APIError
	if errors.As(err, &api); api.ErrorMessage() != wantMessage {
		c.t.Fatalf("error message %q, want %q", api.ErrorMessage(), wantMessage)
	}
}

func must[T any](v T, err error) func(*cloud) T {
	return func(c *cloud) T {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
		return v
	}
}

func (c *cloud) advance(d time.Duration) {
	c.t.Helper()
	if err := c.Advance(c.ctx, d); err != nil {
		c.t.Fatal(err)
	}
}

// until waits for what happens in its own time.
func (c *cloud) until(what string, done func() bool) {
	c.t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			c.t.Fatalf("still not so: %s", what)
		}
	}
}

// newVolume is a valid request; each change makes it another.
func newVolume(changes ...func(*ec2.CreateVolumeInput)) *ec2.CreateVolumeInput {
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(10), VolumeType: types.VolumeTypeGp3}
	for _, change := range changes {
		change(in)
	}
	return in
}

func (c *cloud) createVolume(changes ...func(*ec2.CreateVolumeInput)) string {
	c.t.Helper()
	return *must(c.ec2.CreateVolume(c.ctx, newVolume(changes...)))(c).VolumeId
}

func (c *cloud) volume(id string) types.Volume {
	c.t.Helper()
	return must(c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}}))(c).Volumes[0]
}

func (c *cloud) attach(volume, instance, device string) error {
	_, err := c.ec2.AttachVolume(c.ctx, &ec2.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: &device})
	return err
}

func (c *cloud) detach(volume, instance string) error {
	in := &ec2.DetachVolumeInput{VolumeId: &volume}
	if instance != "" {
		in.InstanceId = &instance
	}
	_, err := c.ec2.DetachVolume(c.ctx, in)
	return err
}

func (c *cloud) deleteVolume(id string) error {
	_, err := c.ec2.DeleteVolume(c.ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
	return err
}

// devices are what DescribeInstances shows of an instance: volume to status.
func (c *cloud) devices(instance string) map[string]string {
	c.t.Helper()
	out := must(c.ec2.DescribeInstances(c.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{instance}}))(c)
	devices := map[string]string{}
	for _, d := range out.Reservations[0].Instances[0].BlockDeviceMappings {
		devices[*d.Ebs.VolumeId] = string(d.Ebs.Status)
	}
	return devices
}

func TestServer_wholeLifeOfAVolume(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	instance := c.Instances()[0].ID
	created := must(c.ec2.CreateVolume(c.ctx, newVolume()))(c)
	id := *created.VolumeId
	if created.State != types.VolumeStateCreating || *created.Iops != 3000 || *created.Throughput != 125 {
		t.Errorf("created %+v", created)
	}
	c.wantText(c.attach(id, instance, "/dev/xvdba"), "IncorrectState", "Volume '"+id+"' is not 'available'.")
	c.advance(1200 * time.Millisecond)
	if v := c.volume(id); v.State != types.VolumeStateAvailable {
		t.Fatalf("state %s, want available", v.State)
	}
	if err := c.attach(id, instance, "/dev/xvdba"); err != nil {
		t.Fatal(err)
	}
	if v := c.volume(id); v.State != types.VolumeStateInUse || v.Attachments[0].State != types.VolumeAttachmentStateAttaching {
		t.Fatalf("after AttachVolume: %s, %+v", v.State, v.Attachments)
	}
	c.advance(time.Second)
	if got := c.devices(instance)[id]; got != "attached" {
		t.Fatalf("DescribeInstances says %q", got)
	}
	c.wantText(c.deleteVolume(id), "VolumeInUse", "Volume "+id+" is currently attached to "+instance)
	if err := c.detach(id, instance); err != nil {
		t.Fatal(err)
	}
	if got := c.devices(instance)[id]; got != "detaching" {
		t.Fatalf("DescribeInstances says %q", got)
	}
	c.advance(1200 * time.Millisecond)
	c.wantText(c.detach(id, instance), "IncorrectState", "Volume '"+id+"' is in the 'available' state.")
	if err := c.deleteVolume(id); err != nil {
		t.Fatal(err)
	}
	c.wantText(c.deleteVolume(id), "InvalidVolume.NotFound", "The volume '"+id+"' does not exist.")
	if s := c.State(); len(s.Volumes) != 0 {
		t.Errorf("left over: %+v", s.Volumes)
	}
	if got := c.Calls()["DeleteVolume"]; got != (emulator.Count{OK: 1, Error: 2}) {
		t.Errorf("counts of DeleteVolume: %+v", got)
	}
}
