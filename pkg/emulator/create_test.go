package emulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

type create = ec2.CreateVolumeInput

func TestCreateVolume_rules(t *testing.T) {
	c := start(t, emulator.Options{})
	for name, row := range map[string]struct {
		change     func(*create)
		code, text string // an empty text is not looked at
	}{
		"unknown zone":        {func(in *create) { in.AvailabilityZone = aws.String("us-east-1z") }, "InvalidZone.NotFound", "The zone 'us-east-1z' does not exist."},
		"zone by id":          {func(in *create) { in.AvailabilityZone, in.AvailabilityZoneId = nil, aws.String("use1-az2") }, "", ""},
		"no size":             {func(in *create) { in.Size = nil }, "MissingParameter", ""},
		"unknown type":        {func(in *create) { in.VolumeType = "gp9" }, "UnknownVolumeType", ""},
		"too large":           {func(in *create) { in.Size = aws.Int32(65537) }, "InvalidParameterValue", "Volume of 65537GiB is too large for volume type gp3; maximum is 65536GiB"},
		"too small":           {func(in *create) { in.VolumeType, in.Size = "st1", aws.Int32(124) }, "InvalidParameterValue", ""},
		"iops too high":       {func(in *create) { in.Size, in.Iops = aws.Int32(1000), aws.Int32(80001) }, "InvalidParameterValue", "Volume iops of 80001 is too high; maximum is 80000"},
		"iops too low":        {func(in *create) { in.Iops = aws.Int32(2999) }, "InvalidParameterValue", ""},
		"iops ratio":          {func(in *create) { in.Iops = aws.Int32(5001) }, "InvalidParameterValue", "Iops to volume size ratio of 500.100000 is too high; maximum is 500 iops per GiB"},
		"iops of gp2":         {func(in *create) { in.VolumeType, in.Iops = "gp2", aws.Int32(3000) }, "InvalidParameterCombination", ""},
		"io2 without iops":    {func(in *create) { in.VolumeType = "io2" }, "InvalidParameterCombination", "The parameter iops must be specified for io2 volumes."},
		"throughput of io1":   {func(in *create) { in.VolumeType, in.Iops, in.Throughput = "io1", aws.Int32(100), aws.Int32(125) }, "InvalidParameterCombination", ""},
		"throughput too high": {func(in *create) { in.Throughput = aws.Int32(2001) }, "InvalidParameterValue", ""},
		"throughput ratio":    {func(in *create) { in.Throughput = aws.Int32(751) }, "InvalidParameterValue", ""},
		"multi-attach of gp3": {func(in *create) { in.MultiAttachEnabled = aws.Bool(true) }, "InvalidParameterCombination", ""},
		"key, not encrypted":  {func(in *create) { in.KmsKeyId = aws.String("alias/aws/ebs") }, "InvalidParameterDependency", ""},
		"rate, no snapshot":   {func(in *create) { in.VolumeInitializationRate = aws.Int32(100) }, "InvalidParameterCombination", ""},
		"unknown snapshot":    {func(in *create) { in.SnapshotId = aws.String("snap-0123456789abcdef0") }, "InvalidSnapshot.NotFound", "The snapshot 'snap-0123456789abcdef0' does not exist."},
		"malformed snapshot":  {func(in *create) { in.SnapshotId = aws.String("snap-x") }, "InvalidParameterValue", ""},
		"dry run":             {func(in *create) { in.DryRun = aws.Bool(true) }, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."},
		"dry run, bad iops":   {func(in *create) { in.DryRun, in.Iops = aws.Bool(true), aws.Int32(1) }, "InvalidParameterValue", ""},
		"tags of an instance": {func(in *create) { in.TagSpecifications = []types.TagSpecification{{ResourceType: "instance"}} }, "InvalidParameterValue", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.ec2.CreateVolume(t.Context(), newVolume(row.change))
			if row.text != "" {
				(&cloud{t: t}).wantText(err, row.code, row.text)
			} else {
				(&cloud{t: t}).wantCode(err, row.code)
			}
		})
	}
	if n := len(c.State().Volumes); n != 1 {
		t.Errorf("%d volumes were made, want the one by zone id", n)
	}
}

func TestCreateVolume_defaults(t *testing.T) {
	c := start(t, emulator.Options{})
	v := c.volume(c.createVolume(func(in *create) { in.VolumeType, in.Size = "", aws.Int32(50) }))
	if v.VolumeType != types.VolumeTypeGp2 || *v.Iops != 150 || v.Throughput != nil {
		t.Errorf("no type: %+v", v)
	}
	v = c.volume(c.createVolume(func(in *create) { in.Encrypted = aws.Bool(true) }))
	key := must(c.kms.DescribeKey(c.ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")}))(c)
	if !*v.Encrypted || *v.KmsKeyId != *key.KeyMetadata.Arn {
		t.Errorf("encrypted without a key: %+v", v)
	}
}

func TestCreateVolume_clientToken(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	token := func(in *create) { in.ClientToken = aws.String("one") }
	id := c.createVolume(token)
	if again := c.createVolume(token); again != id {
		t.Errorf("the same token made %s after %s", again, id)
	}
	_, err := c.ec2.CreateVolume(c.ctx, newVolume(token, func(in *create) { in.Size = aws.Int32(11) }))
	c.wantCode(err, "IdempotentParameterMismatch")
	c.advance(2 * time.Second)
	if err := c.deleteVolume(id); err != nil {
		t.Fatal(err)
	}
	if again := c.createVolume(token); again != id {
		t.Errorf("the token of a deleted volume made %s, want the dead %s", again, id)
	}
	_, err = c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	c.wantCode(err, "InvalidVolume.NotFound")
	c.advance(13 * time.Hour)
	second := c.createVolume(token)
	if second == id {
		t.Error("the token still lives after 13 hours")
	}
	c.advance(13 * time.Hour)
	if again := c.createVolume(token); again == second {
		t.Error("the token of a volume that lives still lives after 13 hours")
	} else if last := c.createVolume(token); last != again {
		t.Errorf("the token made %s, then %s", again, last)
	}
}

func TestCreateVolume_unusableKey(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	newKey := func(policy string) string {
		in := &kms.CreateKeyInput{}
		if policy != "" {
			in.Policy = &policy
		}
		return *must(c.kms.CreateKey(c.ctx, in))(c).KeyMetadata.KeyId
	}
	disabled, doomed := newKey(""), newKey("")
	must(c.kms.DisableKey(c.ctx, &kms.DisableKeyInput{KeyId: &disabled}))(c)
	must(c.kms.ScheduleKeyDeletion(c.ctx, &kms.ScheduleKeyDeletionInput{KeyId: &doomed}))(c)
	for name, key := range map[string]string{
		"disabled": disabled, "pending deletion": doomed, "unknown": "alias/nobody",
		"denied": newKey(`{"Statement":[{"Effect":"Deny","Principal":"*","Action":"kms:*"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			c := &cloud{Server: c.Server, ec2: c.ec2, ctx: t.Context(), t: t}
			request := func(in *create) {
				in.Encrypted, in.KmsKeyId, in.ClientToken = aws.Bool(true), &key, aws.String(name)
			}
			id := c.createVolume(request)
			if v := c.volume(id); v.State != types.VolumeStateCreating {
				t.Errorf("state %s, want creating", v.State)
			}
			c.advance(2 * time.Second)
			_, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
			c.wantCode(err, "InvalidVolume.NotFound")
			if again := c.createVolume(request); again != id {
				t.Errorf("the burnt token made %s, want the vanished %s", again, id)
			}
		})
	}
}

func TestCopyVolumes_clonesInTheSourcesZone(t *testing.T) {
	c := start(t, emulator.Options{})
	source := c.createVolume(func(in *create) { in.AvailabilityZone, in.Encrypted = aws.String("us-east-1b"), aws.Bool(true) })
	in := &ec2.CopyVolumesInput{SourceVolumeId: &source, Size: aws.Int32(20), VolumeType: types.VolumeTypeGp3, ClientToken: aws.String("copy")}
	made := must(c.ec2.CopyVolumes(c.ctx, in))(c).Volumes[0]
	if *made.AvailabilityZone != "us-east-1b" || *made.Size != 20 || !*made.Encrypted || *made.SourceVolumeId != source {
		t.Errorf("copy is %+v", made)
	}
	if again := must(c.ec2.CopyVolumes(c.ctx, in))(c).Volumes[0]; *again.VolumeId != *made.VolumeId {
		t.Error("the same token made a second copy")
	}
	_, err := c.ec2.CopyVolumes(c.ctx, &ec2.CopyVolumesInput{SourceVolumeId: &source, Size: aws.Int32(9)})
	c.wantCode(err, "InvalidParameterValue")
	_, err = c.ec2.CopyVolumes(c.ctx, &ec2.CopyVolumesInput{SourceVolumeId: aws.String("vol-0123456789abcdef0")})
	c.wantCode(err, "InvalidVolume.NotFound")
}

func TestCreateVolume_tagRules(t *testing.T) {
	c := start(t, emulator.Options{})
	many := func(n int) (tags []types.Tag) {
		for i := range n {
			tags = append(tags, types.Tag{Key: aws.String(strings.Repeat("k", i+1)), Value: aws.String("")})
		}
		return tags
	}
	one := func(k, v string) []types.Tag { return []types.Tag{{Key: &k, Value: &v}} }
	for name, row := range map[string]struct {
		tags []types.Tag
		code string
	}{
		"fifty":          {many(50), ""},
		"fifty-one":      {many(51), "TagLimitExceeded"},
		"aws prefix":     {one("aws:x", ""), "InvalidParameterValue"},
		"long key":       {one(strings.Repeat("ü", 129), ""), "InvalidParameterValue"},
		"longest key":    {one(strings.Repeat("ü", 128), ""), ""},
		"long value":     {one("k", strings.Repeat("v", 257)), "InvalidParameterValue"},
		"key twice":      {append(one("k", "a"), one("k", "b")...), "InvalidParameterValue"},
		"empty key":      {one("", "a"), "InvalidParameterValue"},
		"markup in text": {one("a<&>\"'", "ä€\U0001F600 <x/>"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cloud{ec2: c.ec2, ctx: t.Context(), t: t}
			out, err := c.ec2.CreateVolume(t.Context(), newVolume(func(in *create) {
				in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: row.tags}}
			}))
			c.wantCode(err, row.code)
			if err == nil && len(c.volume(*out.VolumeId).Tags) != len(row.tags) {
				t.Error("tags are lost")
			}
		})
	}
}
