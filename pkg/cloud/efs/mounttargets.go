package efs

import (
	"context"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// CreateMountTarget asks for a mount target. EFS takes no token for it: a second one
// in the zone is fault.Conflict. Without groups EFS takes the VPC's default one.
func (c *Client) CreateMountTarget(ctx context.Context, fileSystem, subnet string, groups []string) (MountTarget, error) {
	out, err := aws.Do(ctx, c.gate, mutate("CreateMountTarget", fileSystem), func(ctx context.Context) (*sdk.CreateMountTargetOutput, error) {
		return c.api.CreateMountTarget(ctx, &sdk.CreateMountTargetInput{FileSystemId: &fileSystem, SubnetId: &subnet, SecurityGroups: groups})
	})
	if err != nil {
		return MountTarget{}, err
	}
	return toTarget(types.MountTargetDescription{
		MountTargetId: out.MountTargetId, FileSystemId: out.FileSystemId, LifeCycleState: out.LifeCycleState, SubnetId: out.SubnetId,
		AvailabilityZoneName: out.AvailabilityZoneName, VpcId: out.VpcId, IpAddress: out.IpAddress, Ipv6Address: out.Ipv6Address,
	}), nil
}

// MountTargets reads the mount targets of a file system; callers that ask at the same
// time share the call. A file system that EFS does not show has none.
func (c *Client) MountTargets(ctx context.Context, fileSystem string) ([]MountTarget, error) {
	list, _, err := get(ctx, c.targets, "DescribeMountTargets", fileSystem)
	return list, err
}

func (c *Client) fetchTargets(ctx context.Context, fileSystems []string) (map[string][]MountTarget, error) {
	found := make(map[string][]MountTarget, len(fileSystems))
	for _, id := range fileSystems {
		list, err := c.targetsOf(ctx, id)
		if err != nil {
			return nil, err
		}
		found[id] = list
	}
	return found, nil
}

func (c *Client) targetsOf(ctx context.Context, fileSystem string) ([]MountTarget, error) {
	var all []MountTarget
	for marker := ""; ; {
		out, err := aws.Do(ctx, c.gate, read("DescribeMountTargets", fileSystem), func(ctx context.Context) (*sdk.DescribeMountTargetsOutput, error) {
			return c.api.DescribeMountTargets(ctx, &sdk.DescribeMountTargetsInput{
				FileSystemId: &fileSystem, MaxItems: sdkaws.Int32(pageSize), Marker: optional(marker),
			})
		})
		if fault.Is(err, fault.NotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, m := range out.MountTargets {
			all = append(all, toTarget(m))
		}
		if marker = sdkaws.ToString(out.NextMarker); marker == "" {
			return all, nil
		}
	}
}

// DeleteMountTarget begins to delete a mount target; mounts through it break.
func (c *Client) DeleteMountTarget(ctx context.Context, id string) error {
	_, err := aws.Do(ctx, c.gate, mutate("DeleteMountTarget", id), func(ctx context.Context) (*sdk.DeleteMountTargetOutput, error) {
		return c.api.DeleteMountTarget(ctx, &sdk.DeleteMountTargetInput{MountTargetId: &id})
	})
	return err
}

// MountTargetGroups reads a mount target's security groups.
func (c *Client) MountTargetGroups(ctx context.Context, id string) ([]string, error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeMountTargetSecurityGroups", id), func(ctx context.Context) (*sdk.DescribeMountTargetSecurityGroupsOutput, error) {
		return c.api.DescribeMountTargetSecurityGroups(ctx, &sdk.DescribeMountTargetSecurityGroupsInput{MountTargetId: &id})
	})
	if err != nil {
		return nil, err
	}
	return out.SecurityGroups, nil
}

func toTarget(m types.MountTargetDescription) MountTarget {
	out := MountTarget{
		ID: sdkaws.ToString(m.MountTargetId), FileSystem: sdkaws.ToString(m.FileSystemId), State: string(m.LifeCycleState),
		Zone: sdkaws.ToString(m.AvailabilityZoneName), VPC: sdkaws.ToString(m.VpcId), Subnet: sdkaws.ToString(m.SubnetId),
		IP: sdkaws.ToString(m.IpAddress),
	}
	if out.IP == "" {
		out.IP = sdkaws.ToString(m.Ipv6Address)
	}
	return out
}
