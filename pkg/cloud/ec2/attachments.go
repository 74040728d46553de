package ec2

import (
	"context"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
)

// AttachVolume asks for an attachment under a device name.
func (c *Client) AttachVolume(ctx context.Context, volume, instance, device string) error {
	_, err := aws.Do(ctx, c.gate, mutate("AttachVolume", volume), func(ctx context.Context) (*sdk.AttachVolumeOutput, error) {
		return c.api.AttachVolume(ctx, &sdk.AttachVolumeInput{VolumeId: &volume, InstanceId: &instance, Device: &device}, quickly(unread[sdk.AttachVolumeOutput]))
	})
	return err
}

// DetachVolume asks for the end of an attachment. fault.InUse with code
// IncorrectState means that EC2 holds no attachment that could be detached. force
// takes the device away from a running system, which loses what it has not written.
func (c *Client) DetachVolume(ctx context.Context, volume, instance string, force bool) error {
	_, err := aws.Do(ctx, c.gate, mutate("DetachVolume", volume), func(ctx context.Context) (*sdk.DetachVolumeOutput, error) {
		return c.api.DetachVolume(ctx, &sdk.DetachVolumeInput{VolumeId: &volume, InstanceId: &instance, Force: onlyTrue(force)}, quickly(unread[sdk.DetachVolumeOutput]))
	})
	return err
}

// Instance reads one instance through the shared batch. found is false where EC2
// does not show it at this moment, which proves nothing.
func (c *Client) Instance(ctx context.Context, id string) (i Instance, found bool, err error) {
	return get(ctx, c.instances, "DescribeInstances", id, id)
}

// AskInstance is Instance in two steps: what it returns waits for the answer, so that another
// question can be asked at the same time.
func (c *Client) AskInstance(id string) func(context.Context) (Instance, bool, error) {
	wait := c.instances.Ask(id)
	return func(ctx context.Context) (Instance, bool, error) { return answer(ctx, wait, "DescribeInstances", id) }
}

// InstanceAbsent reports whether an instance is proven not to exist; see VolumeAbsent.
func (c *Client) InstanceAbsent(ctx context.Context, id string) (bool, error) {
	return c.absences.Prove(ctx, id, func(ctx context.Context) error {
		_, _, err := c.describeInstances(ctx, &sdk.DescribeInstancesInput{InstanceIds: []string{id}})
		return err
	})
}

func (c *Client) fetchInstances(ctx context.Context, ids []string) (map[string]Instance, error) {
	list, err := allPages(func(token string) ([]Instance, string, error) {
		return c.describeInstances(ctx, &sdk.DescribeInstancesInput{
			Filters: []types.Filter{filter("instance-id", ids...)}, MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token),
		})
	})
	out := make(map[string]Instance, len(list))
	for _, i := range list {
		out[i.ID] = i
	}
	return out, err
}

func (c *Client) describeInstances(ctx context.Context, in *sdk.DescribeInstancesInput) ([]Instance, string, error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeInstances", ""), func(ctx context.Context) (*sdk.DescribeInstancesOutput, error) {
		return c.api.DescribeInstances(ctx, in, quickly(readInstances))
	})
	if err != nil {
		return nil, "", err
	}
	var list []Instance
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			list = append(list, toInstance(i))
			c.absences.Saw(sdkaws.ToString(i.InstanceId))
		}
	}
	return list, sdkaws.ToString(out.NextToken), nil
}
