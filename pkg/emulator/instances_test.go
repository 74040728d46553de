package emulator_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

func (c *cloud) instance(id string) types.Instance {
	c.t.Helper()
	return must(c.ec2.DescribeInstances(c.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))(c).Reservations[0].Instances[0]
}

func TestDescribeInstances(t *testing.T) {
	c := start(t, emulator.Options{Instances: 3})
	all := c.Instances()
	if len(all) != 3 || all[0].Zone != "us-east-1a" || all[1].Zone != "us-east-1b" || all[2].Zone != "us-east-1a" {
		t.Errorf("instances %+v", all)
	}
	i := c.instance(all[1].ID)
	if i.State.Name != types.InstanceStateNameRunning || *i.Placement.AvailabilityZone != "us-east-1b" ||
		i.InstanceType != types.InstanceTypeM5Large || len(i.NetworkInterfaces) != 1 || *i.EbsOptimized || *i.RootDeviceName != "/dev/xvda" {
		t.Errorf("instance %+v", i)
	}
	out := must(c.ec2.DescribeInstances(c.ctx, &ec2.DescribeInstancesInput{
		Filters: []types.Filter{filter("instance-id", all[0].ID, "i-0123456789abcdef0"), filter("instance-state-name", "running")},
	}))(c)
	if len(out.Reservations) != 1 {
		t.Errorf("%d reservations, want one: an unknown id in a filter is merely absent", len(out.Reservations))
	}
	_, err := c.ec2.DescribeInstances(c.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
	c.wantText(err, "InvalidInstanceID.NotFound", "The instance ID 'i-0123456789abcdef0' does not exist")
	_, err = c.ec2.DescribeInstances(c.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{"x"}})
	c.wantCode(err, "InvalidInstanceID.Malformed")
}

func TestDescribeInstanceTypes(t *testing.T) {
	c := start(t, emulator.Options{})
	out := must(c.ec2.DescribeInstanceTypes(c.ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.large"}}))(c)
	i := out.InstanceTypes[0]
	if i.Hypervisor != types.InstanceTypeHypervisorNitro || *i.EbsInfo.MaximumEbsAttachments != 28 ||
		i.EbsInfo.AttachmentLimitType != types.AttachmentLimitTypeShared || i.EbsInfo.NvmeSupport != types.EbsNvmeSupportRequired ||
		*i.NetworkInfo.MaximumNetworkInterfaces != 3 {
		t.Errorf("m5.large is %+v, %+v", i, i.EbsInfo)
	}
	// Older than Nitro, but current: AWS's own list says so.
	out = must(c.ec2.DescribeInstanceTypes(c.ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"t2.micro"}}))(c)
	i = out.InstanceTypes[0]
	if i.Hypervisor != types.InstanceTypeHypervisorXen || !*i.CurrentGeneration || len(i.ProcessorInfo.SupportedArchitectures) != 2 {
		t.Errorf("t2.micro is %+v, %+v", i, i.ProcessorInfo)
	}
	_, err := c.ec2.DescribeInstanceTypes(c.ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.nonsense"}})
	c.wantCode(err, "InvalidInstanceType")
}

func TestRunInstances_lifecycle(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	in := &ec2.RunInstancesInput{
		ImageId: aws.String("ami-1"), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: aws.String("one"),
		Placement: &types.Placement{AvailabilityZone: aws.String("us-east-1c")},
		BlockDeviceMappings: []types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvdba"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(5)}},
			{DeviceName: aws.String("/dev/xvdbb"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(6), DeleteOnTermination: aws.Bool(false)}},
		},
	}
	id := *must(c.ec2.RunInstances(c.ctx, in))(c).Instances[0].InstanceId
	if again := *must(c.ec2.RunInstances(c.ctx, in))(c).Instances[0].InstanceId; again != id {
		t.Errorf("the same token started %s beside %s", again, id)
	}
	c.advance(2 * time.Second)
	if i := c.instance(id); i.State.Name != types.InstanceStateNameRunning || len(i.BlockDeviceMappings) != 2 {
		t.Fatalf("instance %s with %+v", i.State.Name, i.BlockDeviceMappings)
	}
	stopped := must(c.ec2.StopInstances(c.ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}}))(c).StoppingInstances[0]
	if stopped.CurrentState.Name != types.InstanceStateNameStopping || stopped.PreviousState.Name != types.InstanceStateNameRunning {
		t.Errorf("stop: %+v", stopped)
	}
	_, err := c.ec2.StartInstances(c.ctx, &ec2.StartInstancesInput{InstanceIds: []string{id}})
	c.wantCode(err, "IncorrectInstanceState")
	c.advance(2 * time.Second)
	must(c.ec2.StartInstances(c.ctx, &ec2.StartInstancesInput{InstanceIds: []string{id}}))(c)
	c.advance(2 * time.Second)
	must(c.ec2.TerminateInstances(c.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))(c)
	c.advance(2 * time.Second)
	if i := c.instance(id); i.State.Name != types.InstanceStateNameTerminated || len(i.BlockDeviceMappings) != 0 {
		t.Errorf("instance %s with %+v", i.State.Name, i.BlockDeviceMappings)
	}
	if left := c.State().Volumes; len(left) != 1 || left[0].SizeGiB != 6 || left[0].State != "available" {
		t.Errorf("volumes %+v, want the one that outlives its instance", left)
	}
	c.wantCode(c.attach(c.State().Volumes[0].ID, id, "/dev/xvdba"), "IncorrectState")
	c.advance(2 * time.Hour)
	_, err = c.ec2.DescribeInstances(c.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	c.wantCode(err, "InvalidInstanceID.NotFound")
}
