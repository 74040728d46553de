package ec2

import (
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// readVolumes reads an answer of DescribeVolumes; false where the SDK must.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVolumes.html
func readVolumes(body []byte) (*sdk.DescribeVolumesOutput, bool) {
	const root = "DescribeVolumesResponse"
	p, out := newPlain(body, root), &sdk.DescribeVolumesOutput{}
	out.NextToken = p.page(root, "volumeSet", func() { out.Volumes = append(out.Volumes, p.volume("item")) })
	return out, !p.bad
}

// readCreatedVolume reads an answer of CreateVolume; false where the SDK must.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
func readCreatedVolume(body []byte) (*sdk.CreateVolumeOutput, bool) {
	const root = "CreateVolumeResponse"
	p := newPlain(body, root)
	v := p.volume(root)
	return &sdk.CreateVolumeOutput{
		VolumeId: v.VolumeId, AvailabilityZone: v.AvailabilityZone, AvailabilityZoneId: v.AvailabilityZoneId, State: v.State,
		VolumeType: v.VolumeType, Size: v.Size, Iops: v.Iops, Throughput: v.Throughput, CreateTime: v.CreateTime,
		Encrypted: v.Encrypted, KmsKeyId: v.KmsKeyId, SnapshotId: v.SnapshotId, SourceVolumeId: v.SourceVolumeId,
		MultiAttachEnabled: v.MultiAttachEnabled, Attachments: v.Attachments, Tags: v.Tags,
	}, !p.bad
}

// readModifications reads an answer of DescribeVolumesModifications; false where the SDK must.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVolumesModifications.html
func readModifications(body []byte) (*sdk.DescribeVolumesModificationsOutput, bool) {
	const root = "DescribeVolumesModificationsResponse"
	p, out := newPlain(body, root), &sdk.DescribeVolumesModificationsOutput{}
	out.NextToken = p.page(root, "volumeModificationSet", func() { out.VolumesModifications = append(out.VolumesModifications, p.modification()) })
	return out, !p.bad
}

// readInstances reads an answer of DescribeInstances; false where the SDK must.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
func readInstances(body []byte) (*sdk.DescribeInstancesOutput, bool) {
	const root = "DescribeInstancesResponse"
	p, out := newPlain(body, root), &sdk.DescribeInstancesOutput{}
	out.NextToken = p.page(root, "reservationSet", func() { out.Reservations = append(out.Reservations, p.reservation()) })
	return out, !p.bad
}

// page calls fn for every item of an answer's list, and returns where the next page begins.
func (p *plain) page(root, list string, fn func()) (next *string) {
	p.each(root, func(name string) {
		switch name {
		case "nextToken":
			next = p.pointer(name)
		case list:
			items(p, name, fn)
		default:
			p.skip(name)
		}
	})
	return next
}

// items calls fn for every item of a list.
func items(p *plain, list string, fn func()) {
	p.each(list, func(name string) {
		if name != "item" {
			p.bad = true
			return
		}
		fn()
	})
}

// volume reads what toVolume takes from an element.
func (p *plain) volume(element string) (v types.Volume) {
	p.each(element, func(name string) {
		switch name {
		case "volumeId":
			v.VolumeId = p.pointer(name)
		case "availabilityZone":
			v.AvailabilityZone = p.pointer(name)
		case "availabilityZoneId":
			v.AvailabilityZoneId = p.pointer(name)
		case "status":
			v.State = types.VolumeState(p.text(name))
		case "volumeType":
			v.VolumeType = types.VolumeType(p.text(name))
		case "size":
			v.Size = p.number(name)
		case "iops":
			v.Iops = p.number(name)
		case "throughput":
			v.Throughput = p.number(name)
		case "encrypted":
			v.Encrypted = p.truth(name)
		case "kmsKeyId":
			v.KmsKeyId = p.pointer(name)
		case "snapshotId":
			v.SnapshotId = p.pointer(name)
		case "sourceVolumeId":
			v.SourceVolumeId = p.pointer(name)
		case "multiAttachEnabled":
			v.MultiAttachEnabled = p.truth(name)
		case "createTime":
			v.CreateTime = p.time(name)
		case "tagSet":
			items(p, name, func() { v.Tags = append(v.Tags, p.readTag()) })
		case "attachmentSet":
			items(p, name, func() { v.Attachments = append(v.Attachments, p.attachment()) })
		default:
			p.skip(name)
		}
	})
	return v
}

// modification reads what fetchModifications takes.
func (p *plain) modification() (m types.VolumeModification) {
	p.each("item", func(name string) {
		switch name {
		case "volumeId":
			m.VolumeId = p.pointer(name)
		case "modificationState":
			m.ModificationState = types.VolumeModificationState(p.text(name))
		case "statusMessage":
			m.StatusMessage = p.pointer(name)
		case "targetVolumeType":
			m.TargetVolumeType = types.VolumeType(p.text(name))
		case "targetSize":
			m.TargetSize = p.number(name)
		case "targetIops":
			m.TargetIops = p.number(name)
		case "targetThroughput":
			m.TargetThroughput = p.number(name)
		case "startTime":
			m.StartTime = p.time(name)
		default:
			p.skip(name)
		}
	})
	return m
}

func (p *plain) readTag() (t types.Tag) {
	p.each("item", func(name string) {
		switch name {
		case "key":
			t.Key = p.pointer(name)
		case "value":
			t.Value = p.pointer(name)
		default:
			p.skip(name)
		}
	})
	return t
}

func (p *plain) attachment() (a types.VolumeAttachment) {
	p.each("item", func(name string) {
		switch name {
		case "volumeId":
			a.VolumeId = p.pointer(name)
		case "instanceId":
			a.InstanceId = p.pointer(name)
		case "device":
			a.Device = p.pointer(name)
		case "status":
			a.State = types.VolumeAttachmentState(p.text(name))
		case "attachTime":
			a.AttachTime = p.time(name)
		default:
			p.skip(name)
		}
	})
	return a
}

func (p *plain) reservation() (r types.Reservation) {
	p.each("item", func(name string) {
		if name != "instancesSet" {
			p.skip(name)
			return
		}
		items(p, name, func() { r.Instances = append(r.Instances, p.instance()) })
	})
	return r
}

// instance reads what toInstance takes.
func (p *plain) instance() (i types.Instance) {
	p.each("item", func(name string) {
		switch name {
		case "instanceId":
			i.InstanceId = p.pointer(name)
		case "instanceType":
			i.InstanceType = types.InstanceType(p.text(name))
		case "vpcId":
			i.VpcId = p.pointer(name)
		case "subnetId":
			i.SubnetId = p.pointer(name)
		case "privateIpAddress":
			i.PrivateIpAddress = p.pointer(name)
		case "rootDeviceName":
			i.RootDeviceName = p.pointer(name)
		case "groupSet":
			items(p, name, func() { i.SecurityGroups = append(i.SecurityGroups, p.group()) })
		case "placement":
			i.Placement = &types.Placement{}
			p.each(name, func(name string) {
				switch name {
				case "availabilityZone":
					i.Placement.AvailabilityZone = p.pointer(name)
				case "availabilityZoneId":
					i.Placement.AvailabilityZoneId = p.pointer(name)
				default:
					p.skip(name)
				}
			})
		case "instanceState":
			i.State = &types.InstanceState{}
			p.each(name, func(name string) {
				if name != "name" {
					p.skip(name)
					return
				}
				i.State.Name = types.InstanceStateName(p.text(name))
			})
		case "blockDeviceMapping":
			items(p, name, func() { i.BlockDeviceMappings = append(i.BlockDeviceMappings, p.mapping()) })
		default:
			p.skip(name)
		}
	})
	return i
}

func (p *plain) group() (g types.GroupIdentifier) {
	p.each("item", func(name string) {
		if name != "groupId" {
			p.skip(name)
			return
		}
		g.GroupId = p.pointer(name)
	})
	return g
}

func (p *plain) mapping() (m types.InstanceBlockDeviceMapping) {
	p.each("item", func(name string) {
		switch name {
		case "deviceName":
			m.DeviceName = p.pointer(name)
		case "ebs":
			m.Ebs = &types.EbsInstanceBlockDevice{}
			p.each(name, func(name string) {
				switch name {
				case "volumeId":
					m.Ebs.VolumeId = p.pointer(name)
				case "status":
					m.Ebs.Status = types.AttachmentStatus(p.text(name))
				case "attachTime":
					m.Ebs.AttachTime = p.time(name)
				case "deleteOnTermination":
					m.Ebs.DeleteOnTermination = p.truth(name)
				default:
					p.skip(name)
				}
			})
		default:
			p.skip(name)
		}
	})
	return m
}
