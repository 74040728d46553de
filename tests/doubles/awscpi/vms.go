package awscpi

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// patience is how long the double waits for EC2.
const patience = 2 * time.Minute

// createVM starts an instance with an ephemeral disk at /dev/sdb that is deleted with it.
func (c *cloud) createVM(ctx context.Context, properties map[string]any) (any, error) {
	kind, _ := properties["instance_type"].(string)
	out, err := c.api.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: aws.String("ami-00000000000000001"), InstanceType: types.InstanceType(kind), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{
			VolumeSize: aws.Int32(1), DeleteOnTermination: aws.Bool(true)}}},
	})
	if err != nil {
		return nil, &failure{"Bosh::Clouds::VMCreationFailed", err.Error(), true}
	}
	id := *out.Instances[0].InstanceId
	err = c.wait(ctx, id, types.InstanceStateNameRunning)
	return []any{id, map[string]any{}}, err
}

// deleteVM terminates and waits; persistent disks, which are attached without DeleteOnTermination, stay.
func (c *cloud) deleteVM(ctx context.Context, id string) error {
	_, err := c.api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	if isCode(err, "InvalidInstanceID.NotFound") {
		return &failure{"Bosh::Clouds::VMNotFound", "VM " + id + " not found", false}
	}
	if err != nil {
		return err
	}
	return c.wait(ctx, id, types.InstanceStateNameTerminated)
}

func (c *cloud) wait(ctx context.Context, id string, want types.InstanceStateName) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		i, err := c.instance(ctx, id)
		if err == nil && i.State.Name == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting for %s to be %s", id, want)
		case <-tick.C:
		}
	}
}

func (c *cloud) instance(ctx context.Context, id string) (types.Instance, error) {
	out, err := c.api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return types.Instance{}, err
	}
	return out.Reservations[0].Instances[0], nil
}

func (c *cloud) hasVM(ctx context.Context, id string) (bool, error) {
	i, err := c.instance(ctx, id)
	if isCode(err, "InvalidInstanceID.NotFound") {
		return false, nil
	}
	return err == nil && i.State.Name != types.InstanceStateNameTerminated, err
}

// setVMMetadata tags the VM and every EBS volume on it, whosesoever it is.
func (c *cloud) setVMMetadata(ctx context.Context, id string, metadata map[string]any) error {
	i, err := c.instance(ctx, id)
	if err != nil {
		return err
	}
	if err := c.tag(ctx, id, metadata); err != nil {
		return err
	}
	for _, m := range i.BlockDeviceMappings {
		if err := c.tag(ctx, *m.Ebs.VolumeId, metadata); err != nil {
			return err
		}
	}
	return nil
}

func (c *cloud) tag(ctx context.Context, id string, metadata map[string]any) error {
	var tags []types.Tag
	for key, value := range metadata {
		if value != nil {
			tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(fmt.Sprint(value))})
		}
	}
	_, err := c.api.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tags})
	return err
}
