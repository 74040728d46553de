package emulator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

func (c *cloud) fileSystem(token string, change func(*efs.CreateFileSystemInput)) (*efs.CreateFileSystemOutput, error) {
	in := &efs.CreateFileSystemInput{CreationToken: &token, Encrypted: aws.Bool(true), Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String(token)}}}
	if change != nil {
		change(in)
	}
	return c.efs.CreateFileSystem(c.ctx, in)
}

// subnets are the default VPC's, by zone.
func (c *cloud) subnets() map[string]string {
	out := must(c.ec2.DescribeSubnets(c.ctx, &ec2.DescribeSubnetsInput{
		Filters: []ec2types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}},
	}))(c)
	ids := map[string]string{}
	for _, s := range out.Subnets {
		ids[*s.AvailabilityZone] = *s.SubnetId
	}
	return ids
}

func (c *cloud) target(fs, subnet string, groups ...string) (*efs.CreateMountTargetOutput, error) {
	return c.efs.CreateMountTarget(c.ctx, &efs.CreateMountTargetInput{FileSystemId: &fs, SubnetId: &subnet, SecurityGroups: groups})
}

func TestCreateFileSystem_rules(t *testing.T) {
	c := start(t, emulator.Options{})
	key := must(c.kms.CreateKey(c.ctx, &kms.CreateKeyInput{}))(c).KeyMetadata.Arn
	must(c.kms.DisableKey(c.ctx, &kms.DisableKeyInput{KeyId: key}))(c)
	denied := must(c.kms.CreateKey(c.ctx, &kms.CreateKeyInput{Policy: aws.String(`{"Statement":[{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*"}]}`)}))(c).KeyMetadata.Arn
	type in = efs.CreateFileSystemInput
	for name, row := range map[string]struct {
		change func(*in)
		code   string
	}{
		"plain":                     {func(*in) {}, ""},
		"maxIO":                     {func(in *in) { in.PerformanceMode = "maxIO" }, ""},
		"provisioned":               {func(in *in) { in.ThroughputMode, in.ProvisionedThroughputInMibps = "provisioned", aws.Float64(64) }, ""},
		"One Zone":                  {func(in *in) { in.AvailabilityZoneName = aws.String("us-east-1a") }, ""},
		"no token":                  {func(in *in) { in.CreationToken = aws.String("") }, "BadRequest"},
		"unknown zone":              {func(in *in) { in.AvailabilityZoneName = aws.String("us-east-1z") }, "UnsupportedAvailabilityZone"},
		"maxIO and elastic":         {func(in *in) { in.PerformanceMode, in.ThroughputMode = "maxIO", "elastic" }, "BadRequest"},
		"maxIO in one zone":         {func(in *in) { in.PerformanceMode, in.AvailabilityZoneName = "maxIO", aws.String("us-east-1a") }, "BadRequest"},
		"provisioned, no number":    {func(in *in) { in.ThroughputMode = "provisioned" }, "BadRequest"},
		"provisioned, too much":     {func(in *in) { in.ThroughputMode, in.ProvisionedThroughputInMibps = "provisioned", aws.Float64(4000) }, "BadRequest"},
		"a number, not provisioned": {func(in *in) { in.ProvisionedThroughputInMibps = aws.Float64(64) }, "BadRequest"},
		"a key, not encrypted":      {func(in *in) { in.Encrypted, in.KmsKeyId = aws.Bool(false), aws.String("alias/aws/ebs") }, "BadRequest"},
		"an unknown key":            {func(in *in) { in.KmsKeyId = aws.String("alias/none") }, "BadRequest"},
		"a disabled key":            {func(in *in) { in.KmsKeyId = key }, "BadRequest"},
		"a key that refuses":        {func(in *in) { in.KmsKeyId = denied }, "AccessDeniedException"},
		"an unknown mode":           {func(in *in) { in.PerformanceMode = "fast" }, "BadRequest"},
		"AWS's own tag":             {func(in *in) { in.Tags = []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}} }, "BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.fileSystem(name, row.change)
			(&cloud{t: t}).wantCode(err, row.code)
		})
	}
	if n := len(c.State().FileSystems); n != 4 {
		t.Errorf("%d file systems were made, want 4", n)
	}
}

func TestFileSystem_life(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	made := must(c.fileSystem("token", nil))(c)
	if made.LifeCycleState != types.LifeCycleStateCreating || made.KmsKeyId == nil || *made.Name != "token" {
		t.Errorf("made %+v", made)
	}
	_, err := c.fileSystem("token", func(in *efs.CreateFileSystemInput) { in.PerformanceMode = "maxIO" })
	var exists *types.FileSystemAlreadyExists
	if !errors.As(err, &exists) || *exists.FileSystemId != *made.FileSystemId {
		t.Errorf("the same token: %v", err)
	}
	zones := c.subnets()
	_, err = c.target(*made.FileSystemId, zones["us-east-1a"])
	c.wantCode(err, "IncorrectFileSystemLifeCycleState")
	c.advance(2 * time.Second)
	first := must(c.target(*made.FileSystemId, zones["us-east-1a"]))(c)
	if first.LifeCycleState != types.LifeCycleStateCreating || first.IpAddress == nil || *first.AvailabilityZoneId != "use1-az1" {
		t.Errorf("mount target %+v", first)
	}
	_, err = c.target(*made.FileSystemId, zones["us-east-1a"])
	c.wantCode(err, "MountTargetConflict")
	_, err = c.efs.DeleteFileSystem(c.ctx, &efs.DeleteFileSystemInput{FileSystemId: made.FileSystemId})
	c.wantCode(err, "FileSystemInUse")
	interfaces := must(c.ec2.DescribeNetworkInterfaces(c.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*first.NetworkInterfaceId}}))(c)
	if *interfaces.NetworkInterfaces[0].PrivateIpAddress != *first.IpAddress {
		t.Errorf("the interface is at %s, the target at %s", *interfaces.NetworkInterfaces[0].PrivateIpAddress, *first.IpAddress)
	}
	must(c.efs.DeleteMountTarget(c.ctx, &efs.DeleteMountTargetInput{MountTargetId: first.MountTargetId}))(c)
	c.advance(5 * time.Second)
	must(c.efs.DeleteFileSystem(c.ctx, &efs.DeleteFileSystemInput{FileSystemId: made.FileSystemId}))(c)
	c.advance(2 * time.Second)
	_, err = c.efs.DescribeFileSystems(c.ctx, &efs.DescribeFileSystemsInput{FileSystemId: made.FileSystemId})
	c.wantCode(err, "FileSystemNotFound")
	must(c.fileSystem("token", nil))(c) // the token is free again
}

func TestCreateMountTarget_rules(t *testing.T) {
	c := start(t, emulator.Options{})
	zones := c.subnets()
	fs := *must(c.fileSystem("regional", nil))(c).FileSystemId
	oneZone := *must(c.fileSystem("one zone", func(in *efs.CreateFileSystemInput) { in.AvailabilityZoneName = aws.String("us-east-1b") }))(c).FileSystemId
	vpc := must(c.ec2.CreateVpc(c.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16")}))(c).Vpc.VpcId
	elsewhere := *must(c.ec2.CreateSubnet(c.ctx, &ec2.CreateSubnetInput{VpcId: vpc, CidrBlock: aws.String("10.9.0.0/28"), AvailabilityZone: aws.String("us-east-1b")}))(c).Subnet.SubnetId
	group := *must(c.ec2.CreateSecurityGroup(c.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("nfs"), Description: aws.String("nfs")}))(c).GroupId
	must(c.target(fs, zones["us-east-1a"], group))(c)
	for _, tc := range []struct {
		name, fs, subnet string
		groups           []string
		code             string
	}{
		{"another VPC", fs, elsewhere, nil, "MountTargetConflict"},
		{"a missing subnet", fs, "subnet-00000000", nil, "SubnetNotFound"},
		{"a missing file system", "fs-00000000", zones["us-east-1b"], nil, "FileSystemNotFound"},
		{"another zone than the file system's", oneZone, zones["us-east-1a"], nil, "AvailabilityZonesMismatch"},
		{"a missing group", fs, zones["us-east-1b"], []string{"sg-00000000"}, "SecurityGroupNotFound"},
		{"a group of another VPC", oneZone, elsewhere, []string{group}, "SecurityGroupNotFound"},
		{"six groups", fs, zones["us-east-1b"], []string{group, group, group, group, group, group}, "SecurityGroupLimitExceeded"},
		{"a second zone", fs, zones["us-east-1b"], nil, ""},
	} {
		_, err := c.target(tc.fs, tc.subnet, tc.groups...)
		if code(err) != tc.code {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.code)
		}
	}
	targets := must(c.efs.DescribeMountTargets(c.ctx, &efs.DescribeMountTargetsInput{FileSystemId: &fs, MaxItems: aws.Int32(1)}))(c)
	if len(targets.MountTargets) != 1 || targets.NextMarker == nil {
		t.Fatalf("first page %+v", targets)
	}
	rest := must(c.efs.DescribeMountTargets(c.ctx, &efs.DescribeMountTargetsInput{FileSystemId: &fs, Marker: targets.NextMarker}))(c)
	if len(rest.MountTargets) != 1 || rest.NextMarker != nil {
		t.Errorf("second page %+v", rest)
	}
	groups := must(c.efs.DescribeMountTargetSecurityGroups(c.ctx, &efs.DescribeMountTargetSecurityGroupsInput{MountTargetId: targets.MountTargets[0].MountTargetId}))(c)
	if len(groups.SecurityGroups) != 1 {
		t.Errorf("groups %v", groups.SecurityGroups)
	}
}

func TestUpdateFileSystem_onceADay(t *testing.T) {
	c := start(t, emulator.Options{})
	fs := must(c.fileSystem("t", nil))(c).FileSystemId
	update := func(mode types.ThroughputMode, mibs *float64) error {
		_, err := c.efs.UpdateFileSystem(c.ctx, &efs.UpdateFileSystemInput{FileSystemId: fs, ThroughputMode: mode, ProvisionedThroughputInMibps: mibs})
		return err
	}
	c.wantCode(update("provisioned", aws.Float64(100)), "")
	c.wantCode(update("", aws.Float64(200)), "")
	c.wantCode(update("elastic", nil), "TooManyRequests")
	c.advance(25 * time.Hour)
	c.wantCode(update("elastic", nil), "")
	c.wantCode(update("turbo", nil), "BadRequest")
}

func TestAccessPointsTagsAndPolicies(t *testing.T) {
	c := start(t, emulator.Options{})
	fs := must(c.fileSystem("t", nil))(c).FileSystemId
	point := func(token, path string) (*efs.CreateAccessPointOutput, error) {
		return c.efs.CreateAccessPoint(c.ctx, &efs.CreateAccessPointInput{
			ClientToken: &token, FileSystemId: fs, PosixUser: &types.PosixUser{Uid: aws.Int64(1), Gid: aws.Int64(2)},
			RootDirectory: &types.RootDirectory{Path: &path, CreationInfo: &types.CreationInfo{OwnerUid: aws.Int64(1), OwnerGid: aws.Int64(2), Permissions: aws.String("0770")}},
		})
	}
	a := must(point("one", "/a"))(c)
	_, err := point("one", "/b")
	var exists *types.AccessPointAlreadyExists
	if !errors.As(err, &exists) || *exists.AccessPointId != *a.AccessPointId {
		t.Errorf("the same token: %v", err)
	}
	_, err = point("two", "relative")
	c.wantCode(err, "BadRequest")
	listed := must(c.efs.DescribeAccessPoints(c.ctx, &efs.DescribeAccessPointsInput{FileSystemId: fs}))(c)
	if len(listed.AccessPoints) != 1 || *listed.AccessPoints[0].PosixUser.Gid != 2 || *listed.AccessPoints[0].RootDirectory.CreationInfo.Permissions != "0770" {
		t.Errorf("access points %+v", listed.AccessPoints)
	}
	for _, id := range []*string{fs, a.AccessPointId} {
		must(c.efs.TagResource(c.ctx, &efs.TagResourceInput{ResourceId: id, Tags: []types.Tag{{Key: aws.String("k1"), Value: aws.String("v")}, {Key: aws.String("k2"), Value: aws.String("v")}}}))(c)
		must(c.efs.UntagResource(c.ctx, &efs.UntagResourceInput{ResourceId: id, TagKeys: []string{"k1", "Name"}}))(c)
		if tags := must(c.efs.ListTagsForResource(c.ctx, &efs.ListTagsForResourceInput{ResourceId: id}))(c).Tags; len(tags) != 1 || *tags[0].Key != "k2" {
			t.Errorf("tags of %s: %v", *id, tags)
		}
	}
	_, err = c.efs.DescribeBackupPolicy(c.ctx, &efs.DescribeBackupPolicyInput{FileSystemId: fs})
	c.wantCode(err, "PolicyNotFound")
	must(c.efs.PutBackupPolicy(c.ctx, &efs.PutBackupPolicyInput{FileSystemId: fs, BackupPolicy: &types.BackupPolicy{Status: types.StatusEnabled}}))(c)
	if got := must(c.efs.DescribeBackupPolicy(c.ctx, &efs.DescribeBackupPolicyInput{FileSystemId: fs}))(c).BackupPolicy.Status; got != types.StatusEnabled {
		t.Errorf("backup %s", got)
	}
	must(c.efs.PutLifecycleConfiguration(c.ctx, &efs.PutLifecycleConfigurationInput{FileSystemId: fs, LifecyclePolicies: []types.LifecyclePolicy{{TransitionToIA: "AFTER_7_DAYS"}}}))(c)
	if got := must(c.efs.DescribeLifecycleConfiguration(c.ctx, &efs.DescribeLifecycleConfigurationInput{FileSystemId: fs}))(c).LifecyclePolicies; len(got) != 1 || got[0].TransitionToIA != "AFTER_7_DAYS" {
		t.Errorf("lifecycle %v", got)
	}
	must(c.efs.DeleteFileSystem(c.ctx, &efs.DeleteFileSystemInput{FileSystemId: fs}))(c)
	if left := c.State(); len(left.FileSystems)+len(left.AccessPoints) != 0 {
		t.Errorf("left %+v %+v", left.FileSystems, left.AccessPoints)
	}
}

func TestEFS_faultsThrottlesAndErrors(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Throttled})
	throttled := 0
	for range 100 {
		if _, err := c.efs.DescribeFileSystems(c.ctx, &efs.DescribeFileSystemsInput{}); code(err) == "ThrottlingException" {
			throttled++
		}
	}
	if throttled != 50 || c.Calls()["efs:DescribeFileSystems"].Throttled != 50 {
		t.Errorf("%d of 100 calls were throttled", throttled)
	}
	if err := c.AddFaults(emulator.Fault{Operation: "efs:CreateFileSystem", Nth: 1, Effect: "refuse", Code: "FileSystemLimitExceeded"}); err != nil {
		t.Fatal(err)
	}
	_, err := c.fileSystem("t", nil)
	c.wantCode(err, "FileSystemLimitExceeded")
	c.connect("test", "wrong", "")
	_, err = c.fileSystem("t", nil)
	c.wantCode(err, "InvalidSignatureException")
}
