package efs

import (
	"context"
	"errors"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// CreateAccessPoint asks for an access point with a's Token, FileSystem, Path, owner
// and Tags. Where one with the token exists, whatever its settings, the error is
// fault.Conflict and the AccessPoint has its ID.
func (c *Client) CreateAccessPoint(ctx context.Context, a AccessPoint) (AccessPoint, error) {
	in := &sdk.CreateAccessPointInput{
		ClientToken: &a.Token, FileSystemId: &a.FileSystem, Tags: toTags(a.Tags), PosixUser: &types.PosixUser{Uid: &a.UID, Gid: &a.GID},
		RootDirectory: &types.RootDirectory{Path: &a.Path, CreationInfo: &types.CreationInfo{OwnerUid: &a.UID, OwnerGid: &a.GID, Permissions: &a.Perms}},
	}
	out, err := aws.Do(ctx, c.gate, mutate("CreateAccessPoint", a.FileSystem), func(ctx context.Context) (*sdk.CreateAccessPointOutput, error) {
		out, err := c.api.CreateAccessPoint(ctx, in)
		var exists *types.AccessPointAlreadyExists
		if errors.As(err, &exists) {
			out = &sdk.CreateAccessPointOutput{AccessPointId: exists.AccessPointId}
		}
		return out, err
	})
	made := a
	made.ID = ""
	if out != nil {
		made.ID, made.State = sdkaws.ToString(out.AccessPointId), string(out.LifeCycleState)
	}
	return made, err
}

// AccessPoint reads one access point. found is false where EFS does not show it at
// this moment, which proves nothing.
func (c *Client) AccessPoint(ctx context.Context, id string) (a AccessPoint, found bool, err error) {
	list, err := c.describePoints(ctx, &sdk.DescribeAccessPointsInput{AccessPointId: &id})
	if fault.Is(err, fault.NotFound) {
		return a, false, nil
	}
	if err != nil || len(list) == 0 {
		return a, false, err
	}
	return list[0], true, nil
}

// AccessPoints reads all access points of a file system; one that EFS does not show has none.
func (c *Client) AccessPoints(ctx context.Context, fileSystem string) ([]AccessPoint, error) {
	list, err := c.describePoints(ctx, &sdk.DescribeAccessPointsInput{FileSystemId: &fileSystem, MaxResults: sdkaws.Int32(pageSize)})
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return list, err
}

// AccessPointAbsent reports whether an access point is proven not to exist; see FileSystemAbsent.
func (c *Client) AccessPointAbsent(ctx context.Context, id string) (bool, error) {
	return c.absences.Prove(ctx, id, func(ctx context.Context) error {
		_, err := c.describePoints(ctx, &sdk.DescribeAccessPointsInput{AccessPointId: &id})
		return err
	})
}

func (c *Client) describePoints(ctx context.Context, in *sdk.DescribeAccessPointsInput) ([]AccessPoint, error) {
	var all []AccessPoint
	for {
		out, err := aws.Do(ctx, c.gate, read("DescribeAccessPoints", sdkaws.ToString(in.AccessPointId)), func(ctx context.Context) (*sdk.DescribeAccessPointsOutput, error) {
			return c.api.DescribeAccessPoints(ctx, in)
		})
		if err != nil {
			return nil, err
		}
		for _, a := range out.AccessPoints {
			all = append(all, toPoint(a))
			c.absences.Saw(sdkaws.ToString(a.AccessPointId))
		}
		if in.NextToken = out.NextToken; sdkaws.ToString(in.NextToken) == "" {
			return all, nil
		}
	}
}

// DeleteAccessPoint removes an access point; what is in its directory stays.
func (c *Client) DeleteAccessPoint(ctx context.Context, id string) error {
	_, err := aws.Do(ctx, c.gate, mutate("DeleteAccessPoint", id), func(ctx context.Context) (*sdk.DeleteAccessPointOutput, error) {
		return c.api.DeleteAccessPoint(ctx, &sdk.DeleteAccessPointInput{AccessPointId: &id})
	})
	return err
}

func toPoint(a types.AccessPointDescription) AccessPoint {
	out := AccessPoint{
		ID: sdkaws.ToString(a.AccessPointId), FileSystem: sdkaws.ToString(a.FileSystemId), Token: sdkaws.ToString(a.ClientToken),
		State: string(a.LifeCycleState), Tags: fromTags(a.Tags),
	}
	if a.PosixUser != nil {
		out.UID, out.GID = sdkaws.ToInt64(a.PosixUser.Uid), sdkaws.ToInt64(a.PosixUser.Gid)
	}
	if a.RootDirectory != nil {
		out.Path = sdkaws.ToString(a.RootDirectory.Path)
		if a.RootDirectory.CreationInfo != nil {
			out.Perms = sdkaws.ToString(a.RootDirectory.CreationInfo.Permissions)
		}
	}
	return out
}
