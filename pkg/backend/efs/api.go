package efs

import (
	"context"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
)

// API is what the backend needs of EFS; pkg/cloud/efs.Client is the real one.
type API interface {
	fileSystemAPI
	mountTargetAPI
	accessPointAPI
	Tag(ctx context.Context, id string, tags map[string]string) error
	Untag(ctx context.Context, id string, keys []string) error
	AbsenceInterval() time.Duration
}

type fileSystemAPI interface {
	CreateFileSystem(ctx context.Context, spec efs.FileSystemSpec) (efs.FileSystem, error)
	UpdateFileSystem(ctx context.Context, id string, t efs.Throughput) error
	DeleteFileSystem(ctx context.Context, id string) error
	FileSystem(ctx context.Context, id string) (efs.FileSystem, bool, error)
	FileSystemByToken(ctx context.Context, token string) (efs.FileSystem, bool, error)
	FileSystemPage(ctx context.Context, marker string) ([]efs.FileSystem, string, error)
	FileSystemAbsent(ctx context.Context, id string) (bool, error)
	Lifecycle(ctx context.Context, id string) (efs.Lifecycle, error)
	PutLifecycle(ctx context.Context, id string, l efs.Lifecycle) error
}

type mountTargetAPI interface {
	CreateMountTarget(ctx context.Context, fileSystem, subnet string, groups []string) (efs.MountTarget, error)
	DeleteMountTarget(ctx context.Context, id string) error
	MountTargets(ctx context.Context, fileSystem string) ([]efs.MountTarget, error)
	MountTargetGroups(ctx context.Context, id string) ([]string, error)
}

type accessPointAPI interface {
	CreateAccessPoint(ctx context.Context, a efs.AccessPoint) (efs.AccessPoint, error)
	DeleteAccessPoint(ctx context.Context, id string) error
	AccessPoint(ctx context.Context, id string) (efs.AccessPoint, bool, error)
	AccessPoints(ctx context.Context, fileSystem string) ([]efs.AccessPoint, error)
	AccessPointAbsent(ctx context.Context, id string) (bool, error)
}

// Network is what the backend needs of EC2; pkg/cloud/ec2.Client is the real one.
type Network interface {
	Instance(ctx context.Context, id string) (ec2.Instance, bool, error)
	InstanceAbsent(ctx context.Context, id string) (bool, error)
	Subnets(ctx context.Context, ids []string) ([]ec2.Subnet, error)
	SubnetsIn(ctx context.Context, vpc, zone string) ([]ec2.Subnet, error)
	SecurityGroups(ctx context.Context, ids []string) ([]ec2.SecurityGroup, error)
	DefaultSecurityGroup(ctx context.Context, vpc string) ([]ec2.SecurityGroup, error)
}

var (
	_ API     = (*efs.Client)(nil)
	_ Network = (*ec2.Client)(nil)
)
