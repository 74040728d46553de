package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// snapshots describes what the input and the named ids say.
func snapshots(name string, in ec2.DescribeSnapshotsInput, ids ...string) row {
	return row{name: "snapshots: " + name, call: func(s *session) (any, error) {
		in := in
		for _, id := range ids {
			in.SnapshotIds = append(in.SnapshotIds, *s.id(id))
		}
		return s.ec2.DescribeSnapshots(s.ctx, &in)
	}}
}

func snapshotRows() []row {
	snapshot := func(name, volume string, in ec2.CreateSnapshotInput, keep map[string]string) row {
		return row{name: "snapshot: " + name, keep: keep, call: func(s *session) (any, error) {
			in.VolumeId = s.id(volume)
			return s.ec2.CreateSnapshot(s.ctx, &in)
		}}
	}
	remove := func(name, id string) row {
		return row{name: "delete snapshot: " + name, call: func(s *session) (any, error) {
			return s.ec2.DeleteSnapshot(s.ctx, &ec2.DeleteSnapshotInput{SnapshotId: s.id(id)})
		}}
	}
	type in = ec2.CreateVolumeInput
	from := func(name string, size int32) func(*session, *in) {
		return func(s *session, i *in) {
			i.SnapshotId, i.Size = s.id(name), nil
			if size > 0 {
				i.Size = &size
			}
		}
	}
	own := []string{"self"}
	return []row{
		snapshot("of a volume", "vol-a", ec2.CreateSnapshotInput{
			Description: aws.String("one"), TagSpecifications: tagged(types.ResourceTypeSnapshot, "Name", "s"),
		}, map[string]string{"snap-a": "SnapshotId"}),
		snapshot("of an encrypted volume", "vol-secret", ec2.CreateSnapshotInput{}, map[string]string{"snap-secret": "SnapshotId"}),
		snapshot("dry run", "vol-a", ec2.CreateSnapshotInput{DryRun: aws.Bool(true)}, nil),
		snapshot("of an unknown volume", "vol-nowhere", ec2.CreateSnapshotInput{}, nil),
		snapshots("one", ec2.DescribeSnapshotsInput{}, "snap-a"),
		snapshots("unknown", ec2.DescribeSnapshotsInput{}, "snap-nowhere"),
		snapshots("malformed id", ec2.DescribeSnapshotsInput{SnapshotIds: []string{"snap-no-hex"}}),
		snapshots("own by tag", ec2.DescribeSnapshotsInput{OwnerIds: own, Filters: filter("tag:Name", "s")}),
		snapshots("own by tag key", ec2.DescribeSnapshotsInput{OwnerIds: own, Filters: filter("tag-key", "Name")}),
		snapshots("own by size", ec2.DescribeSnapshotsInput{OwnerIds: own, Filters: filter("volume-size", "8")}),
		snapshots("own by state", ec2.DescribeSnapshotsInput{OwnerIds: own, Filters: append(filter("status", "completed"), filter("tag:Name", "s")...)}),
		snapshots("unknown filter", ec2.DescribeSnapshotsInput{OwnerIds: own, Filters: filter("no-such-filter", "x")}),
		create("from a snapshot", "vol-restored", from("snap-a", 0)),
		create("from a snapshot, larger", "vol-larger", from("snap-a", 20)),
		create("from a snapshot, smaller", "", from("snap-a", 1), func(_ *session, i *in) { i.TagSpecifications = nil }),
		create("from an encrypted snapshot", "vol-copy", from("snap-secret", 0)),
		volumesWhere("snapshot-id", "snap-a"),
		{name: "snapshots of an instance", call: func(s *session) (any, error) {
			return s.ec2.CreateSnapshots(s.ctx, &ec2.CreateSnapshotsInput{InstanceSpecification: &types.InstanceSpecification{InstanceId: s.id("i-nowhere")}})
		}},
		{name: "enable fast restore", call: func(s *session) (any, error) {
			return s.ec2.EnableFastSnapshotRestores(s.ctx, &ec2.EnableFastSnapshotRestoresInput{SourceSnapshotIds: []string{*s.id("snap-a")}, AvailabilityZones: []string{zone}})
		}},
		remove("one", "snap-a"),
		remove("it again", "snap-a"),
		snapshots("a deleted one", ec2.DescribeSnapshotsInput{}, "snap-a"),
	}
}

func tagRows() []row {
	change := func(name string, pairs []types.Tag, ids ...string) row {
		return row{name: "tag: " + name, call: func(s *session) (any, error) {
			in := &ec2.CreateTagsInput{Tags: pairs}
			for _, id := range ids {
				in.Resources = append(in.Resources, *s.id(id))
			}
			return s.ec2.CreateTags(s.ctx, in)
		}}
	}
	untag := func(name, id string, pairs ...types.Tag) row {
		return row{name: "untag: " + name, call: func(s *session) (any, error) {
			return s.ec2.DeleteTags(s.ctx, &ec2.DeleteTagsInput{Resources: []string{*s.id(id)}, Tags: pairs})
		}}
	}
	list := func(name, filterName string, values ...string) row {
		return row{name: "tags: " + name, call: func(s *session) (any, error) {
			return s.ec2.DescribeTags(s.ctx, &ec2.DescribeTagsInput{Filters: append(filter(filterName, values...), filter("resource-id", *s.id("vol-a"), *s.id("snap-secret"), *s.id("i-one"))...)})
		}}
	}
	return []row{
		change("a volume and a snapshot", tags("team", "disks", "Name", "renamed"), "vol-a", "snap-secret"),
		change("an instance", tags("team", "disks"), "i-one"),
		change("an unknown volume", tags("team", "disks"), "vol-nowhere"),
		change("an unknown snapshot", tags("team", "disks"), "snap-nowhere"),
		list("of a key", "key", "team"),
		list("of a kind", "resource-type", "volume"),
		list("of a value", "value", "disks"),
		untag("a key with another value", "vol-a", tags("team", "others")...),
		untag("a key with its value", "vol-a", tags("team", "disks")...),
		untag("a key", "vol-a", types.Tag{Key: aws.String("Name")}),
		untag("a key that is not there", "vol-a", types.Tag{Key: aws.String("nothing")}),
		untag("an unknown volume", "vol-nowhere", types.Tag{Key: aws.String("Name")}),
		list("what is left", "resource-type", "volume", "snapshot", "instance"),
		volumes("with fewer tags", ec2.DescribeVolumesInput{}, "vol-a"),
	}
}

func keyRows() []row {
	describe := func(name, key string) row {
		return row{name: "key: " + name, call: func(s *session) (any, error) {
			if id, ok := s.ids[key]; ok {
				return s.kms.DescribeKey(s.ctx, &kms.DescribeKeyInput{KeyId: &id})
			}
			return s.kms.DescribeKey(s.ctx, &kms.DescribeKeyInput{KeyId: &key})
		}}
	}
	const alias = "alias/conformance"
	return []row{
		{"create a key", func(s *session) (any, error) {
			return s.kms.CreateKey(s.ctx, &kms.CreateKeyInput{Description: aws.String("for disks")})
		}, map[string]string{"key-a": "KeyMetadata.KeyId"}},
		{"create a spare key", func(s *session) (any, error) { return s.kms.CreateKey(s.ctx, &kms.CreateKeyInput{}) }, map[string]string{"key-spare": "KeyMetadata.KeyId"}},
		describe("by id", "key-a"),
		describe("unknown", "00000000-0000-0000-0000-000000000000"),
		describe("unknown alias", "alias/nothing"),
		{name: "create an alias", call: func(s *session) (any, error) {
			return s.kms.CreateAlias(s.ctx, &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: s.id("key-a")})
		}},
		{name: "create it again", call: func(s *session) (any, error) {
			return s.kms.CreateAlias(s.ctx, &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: s.id("key-a")})
		}},
		{name: "create a reserved alias", call: func(s *session) (any, error) {
			return s.kms.CreateAlias(s.ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/aws/x"), TargetKeyId: s.id("key-spare")})
		}},
		describe("by alias", alias),
		{name: "aliases of a key", call: func(s *session) (any, error) {
			return s.kms.ListAliases(s.ctx, &kms.ListAliasesInput{KeyId: s.id("key-a")})
		}},
		create("encrypted with a key", "", func(s *session, in *ec2.CreateVolumeInput) {
			in.Encrypted, in.KmsKeyId = aws.Bool(true), s.id("key-a")
		}),
		{name: "disable a key", call: func(s *session) (any, error) {
			return s.kms.DisableKey(s.ctx, &kms.DisableKeyInput{KeyId: s.id("key-a")})
		}},
		describe("disabled", "key-a"),
		{name: "enable it", call: func(s *session) (any, error) {
			return s.kms.EnableKey(s.ctx, &kms.EnableKeyInput{KeyId: s.id("key-a")})
		}},
		{name: "schedule its deletion", call: func(s *session) (any, error) {
			return s.kms.ScheduleKeyDeletion(s.ctx, &kms.ScheduleKeyDeletionInput{KeyId: s.id("key-a"), PendingWindowInDays: aws.Int32(7)})
		}},
		describe("to be deleted", "key-a"),
		{name: "disable an unknown key", call: func(s *session) (any, error) {
			return s.kms.DisableKey(s.ctx, &kms.DisableKeyInput{KeyId: aws.String("00000000-0000-0000-0000-000000000000")})
		}},
	}
}

func identityRows() []row {
	return []row{
		{name: "who am I", call: func(s *session) (any, error) { return s.sts.GetCallerIdentity(s.ctx, &sts.GetCallerIdentityInput{}) }},
		{name: "assume a role", call: func(s *session) (any, error) {
			return s.sts.AssumeRole(s.ctx, &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String("conformance")})
		}},
		{name: "assume a role with a web identity", call: func(s *session) (any, error) {
			return s.sts.AssumeRoleWithWebIdentity(s.ctx, &sts.AssumeRoleWithWebIdentityInput{
				RoleArn: aws.String(role), RoleSessionName: aws.String("conformance"), WebIdentityToken: aws.String("a-token"),
			})
		}},
	}
}
