package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"
)

// asking is a row that calls EFS.
func asking[In, Out any](name string, in In, fill func(*session, *In), call func(*session, *In) (*Out, error)) row {
	return row{name: "files: " + name, call: func(s *session) (any, error) {
		in := in
		if fill != nil {
			fill(s, &in)
		}
		return call(s, &in)
	}}
}

func (r row) keeping(name, field string) row {
	r.keep = map[string]string{name: field}
	return r
}

// fileRows are a file system's life.
func fileRows() []row {
	return append(append(systemRows(), targetRows()...), pointRows()...)
}

func systemRows() []row {
	type in = efs.CreateFileSystemInput
	make := func(name string, in in) row {
		return asking("make "+name, in, nil, func(s *session, in *efs.CreateFileSystemInput) (*efs.CreateFileSystemOutput, error) {
			return s.efs.CreateFileSystem(s.ctx, in)
		})
	}
	describe := func(name string, in efs.DescribeFileSystemsInput, id string) row {
		return asking(name, in, func(s *session, in *efs.DescribeFileSystemsInput) {
			if id != "" {
				in.FileSystemId = s.id(id)
			}
		}, func(s *session, in *efs.DescribeFileSystemsInput) (*efs.DescribeFileSystemsOutput, error) {
			return s.efs.DescribeFileSystems(s.ctx, in)
		})
	}
	named := []types.Tag{{Key: aws.String("Name"), Value: aws.String("one")}}
	return []row{
		make("one", in{CreationToken: aws.String("one"), Tags: named, PerformanceMode: "generalPurpose", ThroughputMode: "bursting"}).keeping("fs-a", "FileSystemId"),
		make("one again", in{CreationToken: aws.String("one"), Tags: named}),
		make("a fast one", in{CreationToken: aws.String("two"), PerformanceMode: "maxIO", ThroughputMode: "provisioned", ProvisionedThroughputInMibps: aws.Float64(64)}).keeping("fs-fast", "FileSystemId"),
		make("one of one zone", in{CreationToken: aws.String("three"), AvailabilityZoneName: aws.String(zone), Encrypted: aws.Bool(true)}).keeping("fs-zone", "FileSystemId"),
		describe("by id", efs.DescribeFileSystemsInput{}, "fs-a"),
		describe("by token", efs.DescribeFileSystemsInput{CreationToken: aws.String("two")}, ""),
		describe("by a token of none", efs.DescribeFileSystemsInput{CreationToken: aws.String("none")}, ""),
		describe("an unknown one", efs.DescribeFileSystemsInput{}, "fs-nowhere"),
		asking("tag", efs.TagResourceInput{Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("storage")}}}, func(s *session, in *efs.TagResourceInput) { in.ResourceId = s.id("fs-a") },
			func(s *session, in *efs.TagResourceInput) (*efs.TagResourceOutput, error) {
				return s.efs.TagResource(s.ctx, in)
			}),
		asking("its tags", efs.ListTagsForResourceInput{}, func(s *session, in *efs.ListTagsForResourceInput) { in.ResourceId = s.id("fs-a") },
			func(s *session, in *efs.ListTagsForResourceInput) (*efs.ListTagsForResourceOutput, error) {
				return s.efs.ListTagsForResource(s.ctx, in)
			}),
		asking("untag", efs.UntagResourceInput{TagKeys: []string{"team"}}, func(s *session, in *efs.UntagResourceInput) { in.ResourceId = s.id("fs-a") },
			func(s *session, in *efs.UntagResourceInput) (*efs.UntagResourceOutput, error) {
				return s.efs.UntagResource(s.ctx, in)
			}),
		asking("move what nobody reads", efs.PutLifecycleConfigurationInput{LifecyclePolicies: []types.LifecyclePolicy{{TransitionToIA: "AFTER_30_DAYS"}}},
			func(s *session, in *efs.PutLifecycleConfigurationInput) { in.FileSystemId = s.id("fs-a") },
			func(s *session, in *efs.PutLifecycleConfigurationInput) (*efs.PutLifecycleConfigurationOutput, error) {
				return s.efs.PutLifecycleConfiguration(s.ctx, in)
			}),
		asking("what is moved", efs.DescribeLifecycleConfigurationInput{}, func(s *session, in *efs.DescribeLifecycleConfigurationInput) { in.FileSystemId = s.id("fs-a") },
			func(s *session, in *efs.DescribeLifecycleConfigurationInput) (*efs.DescribeLifecycleConfigurationOutput, error) {
				return s.efs.DescribeLifecycleConfiguration(s.ctx, in)
			}),
		asking("no backup", efs.DescribeBackupPolicyInput{}, func(s *session, in *efs.DescribeBackupPolicyInput) { in.FileSystemId = s.id("fs-a") },
			func(s *session, in *efs.DescribeBackupPolicyInput) (*efs.DescribeBackupPolicyOutput, error) {
				return s.efs.DescribeBackupPolicy(s.ctx, in)
			}),
		asking("elastic", efs.UpdateFileSystemInput{ThroughputMode: "elastic"}, func(s *session, in *efs.UpdateFileSystemInput) { in.FileSystemId = s.id("fs-a") },
			func(s *session, in *efs.UpdateFileSystemInput) (*efs.UpdateFileSystemOutput, error) {
				return s.efs.UpdateFileSystem(s.ctx, in)
			}),
	}
}

func targetRows() []row {
	type in = efs.CreateMountTargetInput
	reach := func(name, fs, subnet string) row {
		return asking("reach "+name, in{}, func(s *session, in *in) { in.FileSystemId, in.SubnetId = s.id(fs), s.id(subnet) },
			func(s *session, in *efs.CreateMountTargetInput) (*efs.CreateMountTargetOutput, error) {
				return s.efs.CreateMountTarget(s.ctx, in)
			})
	}
	remove := func(name, id string) row {
		return asking("delete "+name, efs.DeleteFileSystemInput{}, func(s *session, in *efs.DeleteFileSystemInput) { in.FileSystemId = s.id(id) },
			func(s *session, in *efs.DeleteFileSystemInput) (*efs.DeleteFileSystemOutput, error) {
				return s.efs.DeleteFileSystem(s.ctx, in)
			})
	}
	subnet := func(name, zone string) row {
		return row{name: "subnets: of " + zone, keep: map[string]string{name: "Subnets[*].SubnetId"}, call: func(s *session) (any, error) {
			return s.ec2.DescribeSubnets(s.ctx, &ec2.DescribeSubnetsInput{Filters: append(filter("default-for-az", "true"), filter("availability-zone", zone)...)})
		}}
	}
	return []row{
		subnet("subnet-near", zone), subnet("subnet-far", farZone),
		reach("it from a zone", "fs-a", "subnet-near").keeping("fsmt-a", "MountTargetId"),
		reach("it from the zone again", "fs-a", "subnet-near"),
		reach("it from another zone", "fs-a", "subnet-far").keeping("fsmt-far", "MountTargetId"),
		reach("it from no subnet", "fs-a", "subnet-nowhere"),
		reach("an unknown one", "fs-nowhere", "subnet-near"),
		asking("mount targets", efs.DescribeMountTargetsInput{}, func(s *session, in *efs.DescribeMountTargetsInput) { in.FileSystemId = s.id("fs-a") },
			func(s *session, in *efs.DescribeMountTargetsInput) (*efs.DescribeMountTargetsOutput, error) {
				return s.efs.DescribeMountTargets(s.ctx, in)
			}),
		asking("its groups", efs.DescribeMountTargetSecurityGroupsInput{}, func(s *session, in *efs.DescribeMountTargetSecurityGroupsInput) { in.MountTargetId = s.id("fsmt-a") },
			func(s *session, in *efs.DescribeMountTargetSecurityGroupsInput) (*efs.DescribeMountTargetSecurityGroupsOutput, error) {
				return s.efs.DescribeMountTargetSecurityGroups(s.ctx, in)
			}),
		remove("it while it is reached", "fs-a"),
		asking("reach it no more", efs.DeleteMountTargetInput{}, func(s *session, in *efs.DeleteMountTargetInput) { in.MountTargetId = s.id("fsmt-a") },
			func(s *session, in *efs.DeleteMountTargetInput) (*efs.DeleteMountTargetOutput, error) {
				return s.efs.DeleteMountTarget(s.ctx, in)
			}),
		asking("reach it no more, again", efs.DeleteMountTargetInput{}, func(s *session, in *efs.DeleteMountTargetInput) { in.MountTargetId = s.id("fsmt-a") },
			func(s *session, in *efs.DeleteMountTargetInput) (*efs.DeleteMountTargetOutput, error) {
				return s.efs.DeleteMountTarget(s.ctx, in)
			}),
		remove("the fast one", "fs-fast"), remove("the fast one again", "fs-fast"),
	}
}

func pointRows() []row {
	type in = efs.CreateAccessPointInput
	enter := func(name, fs string, change func(*in)) row {
		return asking("enter "+name, in{ClientToken: aws.String("one"), PosixUser: &types.PosixUser{Uid: aws.Int64(1), Gid: aws.Int64(2)}, RootDirectory: &types.RootDirectory{
			Path: aws.String("/a"), CreationInfo: &types.CreationInfo{OwnerUid: aws.Int64(1), OwnerGid: aws.Int64(2), Permissions: aws.String("0770")},
		}}, func(s *session, in *in) {
			in.FileSystemId = s.id(fs)
			if change != nil {
				change(in)
			}
		}, func(s *session, in *efs.CreateAccessPointInput) (*efs.CreateAccessPointOutput, error) {
			return s.efs.CreateAccessPoint(s.ctx, in)
		})
	}
	return []row{
		enter("a directory", "fs-zone", nil).keeping("fsap-a", "AccessPointId"),
		enter("an unknown one", "fs-nowhere", func(in *in) { in.ClientToken = aws.String("two") }),
		asking("access point", efs.DescribeAccessPointsInput{}, func(s *session, in *efs.DescribeAccessPointsInput) { in.AccessPointId = s.id("fsap-a") },
			func(s *session, in *efs.DescribeAccessPointsInput) (*efs.DescribeAccessPointsOutput, error) {
				return s.efs.DescribeAccessPoints(s.ctx, in)
			}),
		asking("an access point of none", efs.DescribeAccessPointsInput{}, func(s *session, in *efs.DescribeAccessPointsInput) { in.AccessPointId = s.id("fsap-nowhere") },
			func(s *session, in *efs.DescribeAccessPointsInput) (*efs.DescribeAccessPointsOutput, error) {
				return s.efs.DescribeAccessPoints(s.ctx, in)
			}),
		asking("enter no more", efs.DeleteAccessPointInput{}, func(s *session, in *efs.DeleteAccessPointInput) { in.AccessPointId = s.id("fsap-a") },
			func(s *session, in *efs.DeleteAccessPointInput) (*efs.DeleteAccessPointOutput, error) {
				return s.efs.DeleteAccessPoint(s.ctx, in)
			}),
	}
}
