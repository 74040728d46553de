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

const (
	// pageSize is what every described page asks for.
	pageSize = 100
	// listFrom is how many single reads cost more than walking through the list: EFS has
	// no filters, so a batch is either read one by one or found among all file systems.
	listFrom = 4
)

// CreateFileSystem asks for a file system. Where one with the token exists, whatever
// its settings, the error is fault.Conflict and the FileSystem has its ID.
func (c *Client) CreateFileSystem(ctx context.Context, spec FileSystemSpec) (FileSystem, error) {
	in := &sdk.CreateFileSystemInput{
		CreationToken: &spec.Token, PerformanceMode: types.PerformanceMode(spec.PerformanceMode),
		ThroughputMode: types.ThroughputMode(spec.Throughput.Mode), ProvisionedThroughputInMibps: mibs(spec.Throughput),
		Encrypted: &spec.Encrypted, KmsKeyId: optional(spec.KMSKey), AvailabilityZoneName: optional(spec.Zone),
		Backup: spec.Backup, Tags: toTags(spec.Tags),
	}
	out, err := aws.Do(ctx, c.gate, mutate("CreateFileSystem", ""), func(ctx context.Context) (*sdk.CreateFileSystemOutput, error) {
		out, err := c.api.CreateFileSystem(ctx, in)
		var exists *types.FileSystemAlreadyExists
		if errors.As(err, &exists) {
			out = &sdk.CreateFileSystemOutput{FileSystemId: exists.FileSystemId}
		}
		return out, err
	})
	if err != nil {
		var made FileSystem
		if out != nil {
			made.ID = sdkaws.ToString(out.FileSystemId)
		}
		return made, err
	}
	return toFileSystem(types.FileSystemDescription{
		FileSystemId: out.FileSystemId, CreationToken: out.CreationToken, LifeCycleState: out.LifeCycleState, CreationTime: out.CreationTime,
		PerformanceMode: out.PerformanceMode, ThroughputMode: out.ThroughputMode, ProvisionedThroughputInMibps: out.ProvisionedThroughputInMibps,
		Encrypted: out.Encrypted, KmsKeyId: out.KmsKeyId, AvailabilityZoneName: out.AvailabilityZoneName, SizeInBytes: out.SizeInBytes, Tags: out.Tags,
	}), nil
}

func mibs(t Throughput) *float64 {
	if t.MiBs == 0 {
		return nil
	}
	return &t.MiBs
}

// FileSystem reads one file system through the shared batch. found is false where EFS
// does not show it at this moment, which proves nothing.
func (c *Client) FileSystem(ctx context.Context, id string) (f FileSystem, found bool, err error) {
	return get(ctx, c.systems, "DescribeFileSystems", id)
}

// FileSystemByToken reads the file system with a creation token.
func (c *Client) FileSystemByToken(ctx context.Context, token string) (f FileSystem, found bool, err error) {
	return get(ctx, c.tokens, "DescribeFileSystems", token)
}

// FileSystemPage lists one page of every file system in the region.
func (c *Client) FileSystemPage(ctx context.Context, marker string) ([]FileSystem, string, error) {
	return c.describe(ctx, &sdk.DescribeFileSystemsInput{MaxItems: sdkaws.Int32(pageSize), Marker: optional(marker)})
}

// FileSystemAbsent reports whether a file system is proven not to exist: twice not
// found by id, an interval apart, or once where its age is known. false without an
// error means that it exists.
func (c *Client) FileSystemAbsent(ctx context.Context, id string) (bool, error) {
	return c.absences.Prove(ctx, id, func(ctx context.Context) error {
		_, _, err := c.describe(ctx, &sdk.DescribeFileSystemsInput{FileSystemId: &id})
		return err
	})
}

func (c *Client) fetchSystems(ctx context.Context, ids []string) (map[string]FileSystem, error) {
	return c.fetch(ctx, ids, func(f FileSystem) string { return f.ID },
		func(id string) *sdk.DescribeFileSystemsInput { return &sdk.DescribeFileSystemsInput{FileSystemId: &id} })
}

func (c *Client) fetchTokens(ctx context.Context, tokens []string) (map[string]FileSystem, error) {
	return c.fetch(ctx, tokens, func(f FileSystem) string { return f.Token },
		func(token string) *sdk.DescribeFileSystemsInput {
			return &sdk.DescribeFileSystemsInput{CreationToken: &token}
		})
}

// fetch reads a few file systems one by one, and many by walking through all. One that
// is not there is merely absent.
func (c *Client) fetch(ctx context.Context, keys []string, key func(FileSystem) string, one func(string) *sdk.DescribeFileSystemsInput) (map[string]FileSystem, error) {
	found := make(map[string]FileSystem, len(keys))
	if len(keys) >= listFrom {
		for marker := ""; ; {
			list, next, err := c.FileSystemPage(ctx, marker)
			if err != nil {
				return nil, err
			}
			for _, f := range list {
				found[key(f)] = f
			}
			if marker = next; marker == "" {
				return found, nil
			}
		}
	}
	for _, k := range keys {
		list, _, err := c.describe(ctx, one(k))
		if err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid) {
			return nil, err
		}
		for _, f := range list {
			found[key(f)] = f
		}
	}
	return found, nil
}

func (c *Client) describe(ctx context.Context, in *sdk.DescribeFileSystemsInput) ([]FileSystem, string, error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeFileSystems", sdkaws.ToString(in.FileSystemId)), func(ctx context.Context) (*sdk.DescribeFileSystemsOutput, error) {
		return c.api.DescribeFileSystems(ctx, in)
	})
	if err != nil {
		return nil, "", err
	}
	list := make([]FileSystem, 0, len(out.FileSystems))
	for _, f := range out.FileSystems {
		list = append(list, toFileSystem(f))
		c.absences.Saw(sdkaws.ToString(f.FileSystemId))
	}
	return list, sdkaws.ToString(out.NextMarker), nil
}

// UpdateFileSystem changes the throughput. EFS allows a lower one, or another mode,
// once in 24 hours: fault.Unavailable.
func (c *Client) UpdateFileSystem(ctx context.Context, id string, t Throughput) error {
	_, err := aws.Do(ctx, c.gate, mutate("UpdateFileSystem", id), func(ctx context.Context) (*sdk.UpdateFileSystemOutput, error) {
		return c.api.UpdateFileSystem(ctx, &sdk.UpdateFileSystemInput{
			FileSystemId: &id, ThroughputMode: types.ThroughputMode(t.Mode), ProvisionedThroughputInMibps: mibs(t),
		})
	})
	return err
}

// DeleteFileSystem begins to delete a file system, with its access points. fault.InUse
// means that it still has mount targets.
func (c *Client) DeleteFileSystem(ctx context.Context, id string) error {
	_, err := aws.Do(ctx, c.gate, mutate("DeleteFileSystem", id), func(ctx context.Context) (*sdk.DeleteFileSystemOutput, error) {
		return c.api.DeleteFileSystem(ctx, &sdk.DeleteFileSystemInput{FileSystemId: &id})
	})
	return err
}

// Lifecycle reads when a file system's files move between storage classes.
func (c *Client) Lifecycle(ctx context.Context, id string) (Lifecycle, error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeLifecycleConfiguration", id), func(ctx context.Context) (*sdk.DescribeLifecycleConfigurationOutput, error) {
		return c.api.DescribeLifecycleConfiguration(ctx, &sdk.DescribeLifecycleConfigurationInput{FileSystemId: &id})
	})
	if err != nil {
		return Lifecycle{}, err
	}
	var l Lifecycle
	for _, p := range out.LifecyclePolicies {
		l.ToIA += string(p.TransitionToIA)
		l.ToArchive += string(p.TransitionToArchive)
		l.ToPrimary += string(p.TransitionToPrimaryStorageClass)
	}
	return l, nil
}

// PutLifecycle says when a file system's files move between storage classes.
func (c *Client) PutLifecycle(ctx context.Context, id string, l Lifecycle) error {
	policies := []types.LifecyclePolicy{}
	if l.ToIA != "" {
		policies = append(policies, types.LifecyclePolicy{TransitionToIA: types.TransitionToIARules(l.ToIA)})
	}
	if l.ToArchive != "" {
		policies = append(policies, types.LifecyclePolicy{TransitionToArchive: types.TransitionToArchiveRules(l.ToArchive)})
	}
	if l.ToPrimary != "" {
		policies = append(policies, types.LifecyclePolicy{TransitionToPrimaryStorageClass: types.TransitionToPrimaryStorageClassRules(l.ToPrimary)})
	}
	_, err := aws.Do(ctx, c.gate, mutate("PutLifecycleConfiguration", id), func(ctx context.Context) (*sdk.PutLifecycleConfigurationOutput, error) {
		return c.api.PutLifecycleConfiguration(ctx, &sdk.PutLifecycleConfigurationInput{FileSystemId: &id, LifecyclePolicies: policies})
	})
	return err
}

func toFileSystem(f types.FileSystemDescription) FileSystem {
	out := FileSystem{
		ID: sdkaws.ToString(f.FileSystemId), Token: sdkaws.ToString(f.CreationToken), State: string(f.LifeCycleState), Created: sdkaws.ToTime(f.CreationTime),
		PerformanceMode: string(f.PerformanceMode), Throughput: Throughput{Mode: string(f.ThroughputMode), MiBs: sdkaws.ToFloat64(f.ProvisionedThroughputInMibps)},
		Encrypted: sdkaws.ToBool(f.Encrypted), KMSKey: sdkaws.ToString(f.KmsKeyId), Zone: sdkaws.ToString(f.AvailabilityZoneName),
		MountTargets: int(f.NumberOfMountTargets), Tags: fromTags(f.Tags),
	}
	if f.SizeInBytes != nil {
		out.Bytes = f.SizeInBytes.Value
	}
	return out
}
