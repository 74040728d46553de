package ec2

import (
	"maps"
	"slices"
	"strings"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func toVolume(v types.Volume) Volume {
	out := Volume{
		ID: sdkaws.ToString(v.VolumeId), Zone: sdkaws.ToString(v.AvailabilityZone), ZoneID: sdkaws.ToString(v.AvailabilityZoneId),
		State: string(v.State), Type: string(v.VolumeType), SizeGiB: int64(sdkaws.ToInt32(v.Size)),
		IOPS: sdkaws.ToInt32(v.Iops), Throughput: sdkaws.ToInt32(v.Throughput),
		Encrypted: sdkaws.ToBool(v.Encrypted), KMSKey: sdkaws.ToString(v.KmsKeyId),
		Snapshot: sdkaws.ToString(v.SnapshotId), Source: sdkaws.ToString(v.SourceVolumeId),
		MultiAttach: sdkaws.ToBool(v.MultiAttachEnabled), Created: sdkaws.ToTime(v.CreateTime), Tags: fromTags(v.Tags),
	}
	for _, a := range v.Attachments {
		out.Attachments = append(out.Attachments, Attachment{
			Volume: sdkaws.ToString(a.VolumeId), Instance: sdkaws.ToString(a.InstanceId),
			Device: sdkaws.ToString(a.Device), State: string(a.State), Since: sdkaws.ToTime(a.AttachTime),
		})
	}
	return out
}

func toInstance(i types.Instance) Instance {
	out := Instance{
		ID: sdkaws.ToString(i.InstanceId), Type: string(i.InstanceType), VPC: sdkaws.ToString(i.VpcId),
		Subnet: sdkaws.ToString(i.SubnetId), IP: sdkaws.ToString(i.PrivateIpAddress), RootDevice: sdkaws.ToString(i.RootDeviceName),
	}
	for _, g := range i.SecurityGroups {
		out.Groups = append(out.Groups, sdkaws.ToString(g.GroupId))
	}
	if i.Placement != nil {
		out.Zone, out.ZoneID = sdkaws.ToString(i.Placement.AvailabilityZone), sdkaws.ToString(i.Placement.AvailabilityZoneId)
	}
	if i.State != nil {
		out.State = string(i.State.Name)
	}
	for _, m := range i.BlockDeviceMappings {
		if m.Ebs == nil {
			continue
		}
		out.Attachments = append(out.Attachments, Attachment{
			Volume: sdkaws.ToString(m.Ebs.VolumeId), Instance: out.ID, Device: sdkaws.ToString(m.DeviceName),
			State: string(m.Ebs.Status), Since: sdkaws.ToTime(m.Ebs.AttachTime),
			WithInstance: sdkaws.ToBool(m.Ebs.DeleteOnTermination),
		})
	}
	return out
}

func toSnapshot(s types.Snapshot) Snapshot {
	return Snapshot{
		ID: sdkaws.ToString(s.SnapshotId), Volume: sdkaws.ToString(s.VolumeId), State: string(s.State),
		SizeGiB: int64(sdkaws.ToInt32(s.VolumeSize)), Started: sdkaws.ToTime(s.StartTime), Tags: fromTags(s.Tags),
	}
}

func fromTags(tags []types.Tag) map[string]string {
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		out[sdkaws.ToString(t.Key)] = sdkaws.ToString(t.Value)
	}
	return out
}

// toTags sorts by key, so that equal requests are equal on the wire too.
func toTags(tags map[string]string) []types.Tag {
	out := make([]types.Tag, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: sdkaws.String(k), Value: sdkaws.String(tags[k])})
	}
	return out
}

func tagSpec(resource types.ResourceType, tags map[string]string) []types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []types.TagSpecification{{ResourceType: resource, Tags: toTags(tags)}}
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: sdkaws.String(name), Values: values}
}

// escape makes EC2 take a filter value literally: *, ? and \ are its wildcards.
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func positive(n int32) *int32 {
	if n <= 0 {
		return nil
	}
	return &n
}

// onlyTrue leaves false unsaid: what the account does by default then stands.
func onlyTrue(b bool) *bool {
	if !b {
		return nil
	}
	return &b
}

// gib is a size on the wire, cut to its range.
func gib(size int64) *int32 {
	n := int32(min(size, 1<<31-1)) //nolint:gosec // cut to the range of int32
	return &n
}

// allPages follows next tokens to the end.
func allPages[T any](page func(token string) ([]T, string, error)) ([]T, error) {
	var all []T
	for token := ""; ; {
		list, next, err := page(token)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		if next == "" || next == token {
			return all, nil
		}
		token = next
	}
}

// byTag reads resources for several tag values, one filter per tag key, and sorts
// the answers by the exact value that was asked for.
func byTag[T any](keys []tagValue, describe func(types.Filter) ([]T, error), tags func(T) map[string]string) (map[tagValue][]T, error) {
	values := map[string][]string{}
	for _, k := range keys {
		values[k.key] = append(values[k.key], escape(k.value))
	}
	out := map[tagValue][]T{}
	for key, wanted := range values {
		list, err := describe(filter("tag:"+key, wanted...))
		if err != nil {
			return nil, err
		}
		for _, item := range list {
			k := tagValue{key, tags(item)[key]}
			out[k] = append(out[k], item)
		}
	}
	return out, nil
}
