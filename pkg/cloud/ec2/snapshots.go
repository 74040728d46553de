package ec2

import (
	"context"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
)

// CreateSnapshot takes a snapshot. EC2 has no idempotency token for it, so it is
// never repeated after a lost answer: that is fault.UnknownOutcome, and the caller
// must look for the tags before it asks again. The description may be empty.
func (c *Client) CreateSnapshot(ctx context.Context, volume, description string, tags map[string]string) (Snapshot, error) {
	out, err := aws.Do(ctx, c.gate, mutate("CreateSnapshot", volume), func(ctx context.Context) (*sdk.CreateSnapshotOutput, error) {
		return c.api.CreateSnapshot(ctx, &sdk.CreateSnapshotInput{
			VolumeId: &volume, Description: optional(description), TagSpecifications: tagSpec(types.ResourceTypeSnapshot, tags),
		}, once)
	})
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{
		ID: sdkaws.ToString(out.SnapshotId), Volume: sdkaws.ToString(out.VolumeId), State: string(out.State),
		SizeGiB: int64(sdkaws.ToInt32(out.VolumeSize)), Started: sdkaws.ToTime(out.StartTime), Tags: fromTags(out.Tags),
	}, nil
}

// DeleteSnapshot deletes a snapshot; fault.NotFound proves nothing, see SnapshotAbsent.
func (c *Client) DeleteSnapshot(ctx context.Context, id string) error {
	_, err := aws.Do(ctx, c.gate, mutate("DeleteSnapshot", id), func(ctx context.Context) (*sdk.DeleteSnapshotOutput, error) {
		return c.api.DeleteSnapshot(ctx, &sdk.DeleteSnapshotInput{SnapshotId: &id}, quickly(unread[sdk.DeleteSnapshotOutput]))
	})
	return err
}

// Snapshot reads one snapshot through the shared batch, whoever owns it.
func (c *Client) Snapshot(ctx context.Context, id string) (s Snapshot, found bool, err error) {
	return get(ctx, c.snapshots, "DescribeSnapshots", id, id)
}

// SnapshotsTagged reads this account's snapshots whose tag key has the value,
// through the shared batch.
func (c *Client) SnapshotsTagged(ctx context.Context, key, value string) ([]Snapshot, error) {
	list, _, err := get(ctx, c.snapshotsNamed, "DescribeSnapshots", value, tagValue{key, value})
	return list, err
}

// SnapshotPage lists one page of this account's snapshots; volume narrows it to one
// source where it is not empty.
func (c *Client) SnapshotPage(ctx context.Context, volume, token string) ([]Snapshot, string, error) {
	var filters []types.Filter
	if volume != "" {
		filters = append(filters, filter("volume-id", volume))
	}
	return c.describeSnapshots(ctx, &sdk.DescribeSnapshotsInput{
		Filters: filters, OwnerIds: []string{"self"}, MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token),
	})
}

// SnapshotAbsent reports whether a snapshot is proven not to exist; see VolumeAbsent.
func (c *Client) SnapshotAbsent(ctx context.Context, id string) (bool, error) {
	return c.absences.Prove(ctx, id, func(ctx context.Context) error {
		_, _, err := c.describeSnapshots(ctx, &sdk.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		return err
	})
}

func (c *Client) fetchSnapshots(ctx context.Context, ids []string) (map[string]Snapshot, error) {
	list, err := c.filteredSnapshots(ctx, filter("snapshot-id", ids...), nil)
	out := make(map[string]Snapshot, len(list))
	for _, s := range list {
		out[s.ID] = s
	}
	return out, err
}

func (c *Client) fetchSnapshotsNamed(ctx context.Context, keys []tagValue) (map[tagValue][]Snapshot, error) {
	return byTag(keys, func(f types.Filter) ([]Snapshot, error) { return c.filteredSnapshots(ctx, f, []string{"self"}) },
		func(s Snapshot) map[string]string { return s.Tags })
}

func (c *Client) filteredSnapshots(ctx context.Context, f types.Filter, owners []string) ([]Snapshot, error) {
	return allPages(func(token string) ([]Snapshot, string, error) {
		return c.describeSnapshots(ctx, &sdk.DescribeSnapshotsInput{
			Filters: []types.Filter{f}, OwnerIds: owners, MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token),
		})
	})
}

func (c *Client) describeSnapshots(ctx context.Context, in *sdk.DescribeSnapshotsInput) ([]Snapshot, string, error) {
	out, err := aws.Do(ctx, c.gate, read("DescribeSnapshots", ""), func(ctx context.Context) (*sdk.DescribeSnapshotsOutput, error) {
		return c.api.DescribeSnapshots(ctx, in)
	})
	if err != nil {
		return nil, "", err
	}
	list := make([]Snapshot, 0, len(out.Snapshots))
	for _, s := range out.Snapshots {
		list = append(list, toSnapshot(s))
		c.absences.Saw(sdkaws.ToString(s.SnapshotId))
	}
	return list, sdkaws.ToString(out.NextToken), nil
}
