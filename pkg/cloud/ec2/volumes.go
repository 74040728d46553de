package ec2

import (
	"context"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// pageSize is what every described page asks for; EC2 allows 5 to 1000.
const pageSize = 500

// CreateVolume asks for a volume. The same token means the same volume; EC2 answers
// fault.Conflict where the token came with other settings before.
func (c *Client) CreateVolume(ctx context.Context, spec VolumeSpec) (Volume, error) {
	in := &sdk.CreateVolumeInput{
		ClientToken:        optional(spec.Token),
		AvailabilityZone:   optional(spec.Zone),
		AvailabilityZoneId: optional(spec.ZoneID),
		VolumeType:         types.VolumeType(spec.Type),
		Size:               gib(spec.SizeGiB),
		Iops:               positive(spec.IOPS),
		Throughput:         positive(spec.Throughput),
		KmsKeyId:           optional(spec.KMSKey),
		SnapshotId:         optional(spec.Snapshot),
		TagSpecifications:  tagSpec(types.ResourceTypeVolume, spec.Tags),
		Encrypted:          onlyTrue(spec.Encrypted),
		MultiAttachEnabled: onlyTrue(spec.MultiAttach),

		VolumeInitializationRate: positive(spec.InitRate),
	}
	out, err := aws.Do(ctx, c.gate, mutate("CreateVolume", ""), func(ctx context.Context) (*sdk.CreateVolumeOutput, error) {
		return c.api.CreateVolume(ctx, in, quickly(readCreatedVolume))
	})
	if err != nil {
		return Volume{}, err
	}
	return toVolume(types.Volume{
		VolumeId: out.VolumeId, AvailabilityZone: out.AvailabilityZone, AvailabilityZoneId: out.AvailabilityZoneId, State: out.State,
		VolumeType: out.VolumeType, Size: out.Size, Iops: out.Iops, Throughput: out.Throughput, CreateTime: out.CreateTime,
		Encrypted: out.Encrypted, KmsKeyId: out.KmsKeyId, SnapshotId: out.SnapshotId, SourceVolumeId: out.SourceVolumeId,
		MultiAttachEnabled: out.MultiAttachEnabled, Attachments: out.Attachments, Tags: out.Tags,
	}), nil
}

// CopyVolume asks for a clone of spec.Source, which EC2 makes in the source's zone.
// The same token means the same clone.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopyVolumes.html
func (c *Client) CopyVolume(ctx context.Context, spec VolumeSpec) (Volume, error) {
	out, err := aws.Do(ctx, c.gate, mutate("CopyVolumes", spec.Source), func(ctx context.Context) (*sdk.CopyVolumesOutput, error) {
		return c.api.CopyVolumes(ctx, &sdk.CopyVolumesInput{
			SourceVolumeId: &spec.Source, ClientToken: optional(spec.Token), VolumeType: types.VolumeType(spec.Type),
			Size: gib(spec.SizeGiB), Iops: positive(spec.IOPS), Throughput: positive(spec.Throughput),
			Encrypted: onlyTrue(spec.Encrypted), KmsKeyId: optional(spec.KMSKey), MultiAttachEnabled: onlyTrue(spec.MultiAttach),
			TagSpecifications: tagSpec(types.ResourceTypeVolume, spec.Tags),
		})
	})
	if err != nil {
		return Volume{}, err
	}
	if len(out.Volumes) != 1 {
		return Volume{}, fault.New(fault.UnknownOutcome, "CopyVolumes", spec.Source, "EC2 answered %d volumes instead of one", len(out.Volumes))
	}
	return toVolume(out.Volumes[0]), nil
}

// DeleteVolume deletes a volume. fault.NotFound is EC2's word for this id at this
// moment, not a proof; see VolumeAbsent.
func (c *Client) DeleteVolume(ctx context.Context, id string) error {
	_, err := aws.Do(ctx, c.gate, mutate("DeleteVolume", id), func(ctx context.Context) (*sdk.DeleteVolumeOutput, error) {
		return c.api.DeleteVolume(ctx, &sdk.DeleteVolumeInput{VolumeId: &id}, quickly(unread[sdk.DeleteVolumeOutput]))
	})
	return err
}

// Volume reads one volume through the shared batch. found is false where EC2 does
// not show it at this moment, which proves nothing.
func (c *Client) Volume(ctx context.Context, id string) (v Volume, found bool, err error) {
	return get(ctx, c.volumes, "DescribeVolumes", id, id)
}

// VolumesTagged reads all volumes whose tag key has the value, through the shared batch.
func (c *Client) VolumesTagged(ctx context.Context, key, value string) ([]Volume, error) {
	list, _, err := get(ctx, c.volumesNamed, "DescribeVolumes", value, tagValue{key, value})
	return list, err
}

// VolumePage lists one page of every volume in the region.
func (c *Client) VolumePage(ctx context.Context, token string) ([]Volume, string, error) {
	return c.describeVolumes(ctx, &sdk.DescribeVolumesInput{MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token)})
}

func (c *Client) fetchVolumes(ctx context.Context, ids []string) (map[string]Volume, error) {
	list, err := c.filteredVolumes(ctx, filter("volume-id", ids...))
	out := make(map[string]Volume, len(list))
	for _, v := range list {
		out[v.ID] = v
	}
	return out, err
}

func (c *Client) fetchVolumesNamed(ctx context.Context, keys []tagValue) (map[tagValue][]Volume, error) {
	return byTag(keys, func(f types.Filter) ([]Volume, error) { return c.filteredVolumes(ctx, f) },
		func(v Volume) map[string]string { return v.Tags })
}

// filteredVolumes reads every page. Ids travel as a filter: an unknown one is
// merely absent and cannot fail the others.
func (c *Client) filteredVolumes(ctx context.Context, f types.Filter) ([]Volume, error) {
	return allPages(func(token string) ([]Volume, string, error) {
		return c.describeVolumes(ctx, &sdk.DescribeVolumesInput{
			Filters: []types.Filter{f}, MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token),
		})
	})
}

func (c *Client) describeVolumes(ctx context.Context, in *sdk.DescribeVolumesInput) ([]Volume, string, error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeVolumes", ""), func(ctx context.Context) (*sdk.DescribeVolumesOutput, error) {
		return c.api.DescribeVolumes(ctx, in, quickly(readVolumes))
	})
	if err != nil {
		return nil, "", err
	}
	list := make([]Volume, 0, len(out.Volumes))
	for _, v := range out.Volumes {
		list = append(list, toVolume(v))
		c.absences.Saw(sdkaws.ToString(v.VolumeId))
	}
	return list, sdkaws.ToString(out.NextToken), nil
}

// VolumeAbsent reports whether a volume is proven not to exist (DESIGN: twice
// not found by id, an interval apart, or once where its age is known). false
// without an error means that it exists.
func (c *Client) VolumeAbsent(ctx context.Context, id string) (bool, error) {
	return c.absences.Prove(ctx, id, func(ctx context.Context) error {
		_, _, err := c.describeVolumes(ctx, &sdk.DescribeVolumesInput{VolumeIds: []string{id}})
		return err
	})
}

// ModifyVolume changes a volume while it is used. Its effect is read with Modification.
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modify-volume.html
func (c *Client) ModifyVolume(ctx context.Context, id string, change Change) error {
	in := &sdk.ModifyVolumeInput{
		VolumeId: &id, VolumeType: types.VolumeType(change.Type), Iops: positive(change.IOPS), Throughput: positive(change.Throughput),
	}
	if change.SizeGiB > 0 {
		in.Size = gib(change.SizeGiB)
	}
	_, err := aws.Do(ctx, c.gate, mutate("ModifyVolume", id), func(ctx context.Context) (*sdk.ModifyVolumeOutput, error) {
		return c.api.ModifyVolume(ctx, in, quickly(unread[sdk.ModifyVolumeOutput]))
	})
	return err
}

// Initialized tells how many per cent of its data a volume holds that was restored from
// a snapshot, or cloned. told is false where EC2 does not say: for other volumes, and for
// some minutes after the volume was made.
// https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
func (c *Client) Initialized(ctx context.Context, id string) (percent int64, told bool, err error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeVolumeStatus", id), func(ctx context.Context) (*sdk.DescribeVolumeStatusOutput, error) {
		return c.api.DescribeVolumeStatus(ctx, &sdk.DescribeVolumeStatusInput{VolumeIds: []string{id}})
	})
	if err != nil || len(out.VolumeStatuses) == 0 {
		return 0, false, err
	}
	status := out.VolumeStatuses[0]
	if details := status.InitializationStatusDetails; details != nil {
		return sdkaws.ToInt64(details.Progress), true, nil
	}
	if status.VolumeStatus != nil {
		for _, d := range status.VolumeStatus.Details {
			if d.Name == types.VolumeStatusNameInitializationState && sdkaws.ToString(d.Status) == "completed" {
				return 100, true, nil
			}
		}
	}
	return 0, false, nil
}

// Modification reads a volume's newest modification through the shared batch.
func (c *Client) Modification(ctx context.Context, id string) (m Modification, found bool, err error) {
	return get(ctx, c.modifications, "DescribeVolumesModifications", id, id)
}

func (c *Client) fetchModifications(ctx context.Context, ids []string) (map[string]Modification, error) {
	list, err := allPages(func(token string) ([]types.VolumeModification, string, error) {
		out, err := aws.Do(ctx, c.gate, read("DescribeVolumesModifications", ""), func(ctx context.Context) (*sdk.DescribeVolumesModificationsOutput, error) {
			return c.api.DescribeVolumesModifications(ctx, &sdk.DescribeVolumesModificationsInput{
				Filters: []types.Filter{filter("volume-id", ids...)}, MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token),
			}, quickly(readModifications))
		})
		if err != nil {
			return nil, "", err
		}
		return out.VolumesModifications, sdkaws.ToString(out.NextToken), nil
	})
	newest := make(map[string]Modification, len(list))
	for _, sm := range list {
		m := Modification{
			Volume: sdkaws.ToString(sm.VolumeId), State: string(sm.ModificationState),
			Target: Change{
				Type: string(sm.TargetVolumeType), SizeGiB: int64(sdkaws.ToInt32(sm.TargetSize)),
				IOPS: sdkaws.ToInt32(sm.TargetIops), Throughput: sdkaws.ToInt32(sm.TargetThroughput),
			},
			StatusMessage: sdkaws.ToString(sm.StatusMessage), Started: sdkaws.ToTime(sm.StartTime),
		}
		if old, ok := newest[m.Volume]; !ok || m.Started.After(old.Started) {
			newest[m.Volume] = m
		}
	}
	return newest, err
}
