package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// create makes a volume of 4 GiB, gp3, unless changed; name is what later rows call it.
func create(what, name string, more ...func(*session, *ec2.CreateVolumeInput)) row {
	r := row{name: "create: " + what, call: func(s *session) (any, error) {
		in := ec2.CreateVolumeInput{AvailabilityZone: aws.String(zone), Size: aws.Int32(4), VolumeType: types.VolumeTypeGp3, TagSpecifications: tagged(types.ResourceTypeVolume, "suite", "conformance")}
		for _, change := range more {
			change(s, &in)
		}
		return s.ec2.CreateVolume(s.ctx, &in)
	}}
	if name != "" {
		r.keep = map[string]string{name: "VolumeId"}
	}
	return r
}

// as makes a volume of a type, with IOPS and throughput (MiB/s) unless they are 0.
func as(kind types.VolumeType, size, iops, throughput int32) func(*session, *ec2.CreateVolumeInput) {
	return func(_ *session, in *ec2.CreateVolumeInput) {
		in.VolumeType, in.Size = kind, &size
		if iops > 0 {
			in.Iops = &iops
		}
		if throughput > 0 {
			in.Throughput = &throughput
		}
	}
}

func createRows() []row {
	type in = ec2.CreateVolumeInput
	with := func(change func(*in)) func(*session, *in) { return func(_ *session, i *in) { change(i) } }
	untagged := with(func(i *in) { i.TagSpecifications = nil }) // so that no filter finds what only moto makes
	token := with(func(i *in) { i.ClientToken = aws.String("conformance-token") })
	return []row{
		create("gp3", "vol-a", with(func(i *in) {
			i.TagSpecifications = tagged(types.ResourceTypeVolume, "suite", "conformance", "Name", "a", "kind", "first")
		})),
		create("gp3 with IOPS and throughput", "vol-fast", as(types.VolumeTypeGp3, 100, 4000, 250)),
		create("a spare one", "vol-spare"),
		create("a second spare one", "vol-spare-2"),
		create("a third spare one", "vol-spare-3"),
		create("gp2", "vol-gp2", as(types.VolumeTypeGp2, 8, 0, 0)),
		create("no type", "vol-untyped", with(func(i *in) { i.VolumeType = "" })),
		create("io1", "vol-io1", as(types.VolumeTypeIo1, 10, 500, 0)),
		create("io2", "vol-io2", as(types.VolumeTypeIo2, 10, 5000, 0)),
		create("io2, multi-attach", "vol-multi", as(types.VolumeTypeIo2, 10, 1000, 0), with(func(i *in) { i.MultiAttachEnabled = aws.Bool(true) })),
		create("st1", "vol-st1", as(types.VolumeTypeSt1, 125, 0, 0)),
		create("standard", "vol-standard", as(types.VolumeTypeStandard, 1, 0, 0)),
		create("encrypted with the default key", "vol-secret", with(func(i *in) { i.Encrypted = aws.Bool(true) })),
		create("an empty tag", "", with(func(i *in) { i.TagSpecifications = tagged(types.ResourceTypeVolume, "suite", "", "empty", "") })),
		create("dry run", "", with(func(i *in) { i.DryRun = aws.Bool(true) })),
		create("with a token", "vol-token", untagged, token),
		create("with the token again", "", untagged, token),
		create("with the token and another size", "", untagged, token, as(types.VolumeTypeGp3, 5, 0, 0)),
		create("neither size nor snapshot", "", with(func(i *in) { i.Size = nil })),
		create("a zone that is not", "", untagged, with(func(i *in) { i.AvailabilityZone = aws.String("us-east-1q") })),
		create("key without encryption", "", with(func(i *in) { i.KmsKeyId = aws.String("alias/aws/ebs") })),
		create("io2 without IOPS", "", as(types.VolumeTypeIo2, 10, 0, 0)),
		create("gp2 with IOPS", "", as(types.VolumeTypeGp2, 10, 300, 0)),
		create("io1 with throughput", "", as(types.VolumeTypeIo1, 10, 300, 125)),
		create("gp3 with too many IOPS for its size", "", untagged, as(types.VolumeTypeGp3, 4, 16000, 0)),
		create("st1, too small", "", untagged, as(types.VolumeTypeSt1, 4, 0, 0)),
		create("unknown snapshot", "", untagged, with(func(i *in) { i.SnapshotId = aws.String("snap-" + unknown) })),
		create("tags of another kind of resource", "", with(func(i *in) { i.TagSpecifications = tagged(types.ResourceTypeSnapshot, "Name", "x") })),
		create("reserved tag", "", with(func(i *in) { i.TagSpecifications = tagged(types.ResourceTypeVolume, "aws:x", "x") })),
	}
}

// volumes describes what the input and the named ids say.
func volumes(name string, in ec2.DescribeVolumesInput, ids ...string) row {
	return row{name: "volumes: " + name, call: func(s *session) (any, error) {
		in := in
		for _, id := range ids {
			in.VolumeIds = append(in.VolumeIds, *s.id(id))
		}
		return s.ec2.DescribeVolumes(s.ctx, &in)
	}}
}

// volumesWhere describes the volumes of the table that a filter finds; values that name an id of the table stand for it.
func volumesWhere(filterName string, values ...string) row {
	return row{name: "volumes: where " + filterName + " is " + values[0], call: func(s *session) (any, error) {
		var real []string
		for _, v := range values {
			if id, ok := s.ids[v]; ok {
				v = id
			}
			real = append(real, v)
		}
		return s.ec2.DescribeVolumes(s.ctx, &ec2.DescribeVolumesInput{Filters: append(filter(filterName, real...), filter("tag:suite", "conformance")...)})
	}}
}

func deleteRow(name, volume string) row {
	return row{name: "delete: " + name, call: func(s *session) (any, error) {
		return s.ec2.DeleteVolume(s.ctx, &ec2.DeleteVolumeInput{VolumeId: s.id(volume)})
	}}
}

func volumeRows() []row {
	return []row{
		volumes("one", ec2.DescribeVolumesInput{}, "vol-a"),
		volumes("three", ec2.DescribeVolumesInput{}, "vol-a", "vol-fast", "vol-secret"),
		volumes("unknown", ec2.DescribeVolumesInput{}, "vol-nowhere"),
		volumes("one known, one unknown", ec2.DescribeVolumesInput{}, "vol-a", "vol-nowhere"),
		volumes("malformed id", ec2.DescribeVolumesInput{VolumeIds: []string{"vol-no-hex"}}),
		volumes("dry run", ec2.DescribeVolumesInput{DryRun: aws.Bool(true)}, "vol-a"),
		volumes("a page", ec2.DescribeVolumesInput{MaxResults: aws.Int32(5), Filters: filter("tag:Name", "a")}),
		volumes("a page of named ids", ec2.DescribeVolumesInput{MaxResults: aws.Int32(5)}, "vol-a"),
		volumesWhere("volume-id", "vol-a", "vol-fast", "vol-"+unknown),
		volumesWhere("tag:Name", "a"),
		volumesWhere("tag-key", "kind"),
		volumesWhere("tag:kind", "fir*"),
		volumesWhere("size", "100"),
		volumesWhere("volume-type", "gp2"),
		volumesWhere("encrypted", "true"),
		volumesWhere("status", "in-use"),
		volumesWhere("availability-zone", farZone),
		volumesWhere("snapshot-id", "snap-"+unknown),
		volumesWhere("create-time", "1999*"),
		volumesWhere("no-such-filter", "x"),
		{name: "volume status", call: func(s *session) (any, error) {
			return s.ec2.DescribeVolumeStatus(s.ctx, &ec2.DescribeVolumeStatusInput{VolumeIds: []string{*s.id("vol-a")}})
		}},
		{name: "copy a volume", call: func(s *session) (any, error) {
			return s.ec2.CopyVolumes(s.ctx, &ec2.CopyVolumesInput{SourceVolumeId: s.id("vol-a"), VolumeType: types.VolumeTypeGp3})
		}},
		deleteRow("a volume", "vol-fast"),
		deleteRow("it again", "vol-fast"),
		deleteRow("an unknown one", "vol-nowhere"),
		volumes("a deleted one", ec2.DescribeVolumesInput{}, "vol-fast"),
	}
}

func attachRow(name, volume, instance, device string) row {
	return row{name: "attach: " + name, call: func(s *session) (any, error) {
		return s.ec2.AttachVolume(s.ctx, &ec2.AttachVolumeInput{VolumeId: s.id(volume), InstanceId: s.id(instance), Device: &device})
	}}
}

// detach leaves out the instance if it has no name.
func detach(name, volume, instance string, more ...func(*ec2.DetachVolumeInput)) row {
	return row{name: "detach: " + name, call: func(s *session) (any, error) {
		in := &ec2.DetachVolumeInput{VolumeId: s.id(volume)}
		if instance != "" {
			in.InstanceId = s.id(instance)
		}
		for _, change := range more {
			change(in)
		}
		return s.ec2.DetachVolume(s.ctx, in)
	}}
}

func attachRows() []row {
	dry := func(in *ec2.DetachVolumeInput) { in.DryRun = aws.Bool(true) }
	force := func(in *ec2.DetachVolumeInput) { in.Force = aws.Bool(true) }
	return []row{
		attachRow("a volume", "vol-a", "i-one", "/dev/xvdba"),
		volumes("attached", ec2.DescribeVolumesInput{}, "vol-a"),
		volumesWhere("attachment.instance-id", "i-one"),
		volumesWhere("attachment.status", "attached"),
		volumesWhere("attachment.device", "/dev/xvdba"),
		instances("with a volume", ec2.DescribeInstancesInput{}, "i-one"),
		instances("by their volume's status", ec2.DescribeInstancesInput{Filters: filter("block-device-mapping.status", "attached")}, "i-one"),
		deleteRow("an attached one", "vol-a"),
		attachRow("a second", "vol-gp2", "i-one", "/dev/xvdbb"),
		attachRow("an unknown volume", "vol-nowhere", "i-one", "/dev/xvdbc"),
		attachRow("to an unknown instance", "vol-token", "i-nowhere", "/dev/xvdbc"),
		detach("dry run", "vol-a", "i-one", dry),
		detach("from another instance", "vol-gp2", "i-far"),
		detach("from it", "vol-a", "i-one"),
		detach("from it again", "vol-a", "i-one"),
		detach("an unknown volume", "vol-nowhere", "i-one"),
		detach("by force", "vol-gp2", "i-one", force),
		volumes("detached", ec2.DescribeVolumesInput{}, "vol-a", "vol-gp2"),
		instances("without volumes", ec2.DescribeInstancesInput{}, "i-one"),
	}
}

func modifyRows() []row {
	modify := func(name, volume string, in ec2.ModifyVolumeInput) row {
		return row{name: "modify: " + name, call: func(s *session) (any, error) {
			in.VolumeId = s.id(volume)
			return s.ec2.ModifyVolume(s.ctx, &in)
		}}
	}
	modifications := func(name string, ids ...string) row {
		return row{name: "modifications: " + name, call: func(s *session) (any, error) {
			in := &ec2.DescribeVolumesModificationsInput{}
			for _, id := range ids {
				in.VolumeIds = append(in.VolumeIds, *s.id(id))
			}
			return s.ec2.DescribeVolumesModifications(s.ctx, in)
		}}
	}
	return []row{
		modify("grow", "vol-a", ec2.ModifyVolumeInput{Size: aws.Int32(8)}),
		modifications("one", "vol-a"),
		volumes("grown", ec2.DescribeVolumesInput{}, "vol-a"),
		modify("type", "vol-gp2", ec2.ModifyVolumeInput{VolumeType: types.VolumeTypeGp3}),
		modify("IOPS and throughput", "vol-token", ec2.ModifyVolumeInput{Iops: aws.Int32(4000), Throughput: aws.Int32(200), Size: aws.Int32(10)}),
		volumes("faster", ec2.DescribeVolumesInput{}, "vol-token"),
		modify("dry run", "vol-a", ec2.ModifyVolumeInput{Size: aws.Int32(9), DryRun: aws.Bool(true)}),
		modify("nothing", "vol-spare-2", ec2.ModifyVolumeInput{}),
		modify("shrink", "vol-spare-3", ec2.ModifyVolumeInput{Size: aws.Int32(1)}),
		modify("unknown volume", "vol-nowhere", ec2.ModifyVolumeInput{Size: aws.Int32(9)}),
		modifications("never modified", "vol-secret"),
		modifications("unknown volume", "vol-nowhere"),
		{name: "modifications: by filter", call: func(s *session) (any, error) {
			return s.ec2.DescribeVolumesModifications(s.ctx, &ec2.DescribeVolumesModificationsInput{Filters: filter("volume-id", *s.id("vol-a"))})
		}},
	}
}

// refusedRows ask for what AWS refuses and moto does, of volumes and instances that no other row looks at.
func refusedRows() []row {
	return []row{
		attachRow("a spare volume", "vol-spare", "i-spare", "/dev/xvdba"),
		attachRow("it to a second instance", "vol-spare", "i-other", "/dev/xvdba"),
		attachRow("at a device that is taken", "vol-spare-2", "i-spare", "/dev/xvdba"),
		attachRow("to an instance in another zone", "vol-spare-3", "i-far", "/dev/xvdba"),
		detach("no instance named", "vol-spare", ""),
		{name: "tag: a reserved key", call: func(s *session) (any, error) {
			return s.ec2.CreateTags(s.ctx, &ec2.CreateTagsInput{Resources: []string{*s.id("vol-spare")}, Tags: tags("aws:x", "y")})
		}},
	}
}
