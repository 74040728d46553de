package awscpi

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (c *cloud) createDisk(ctx context.Context, arguments []json.RawMessage, properties map[string]any, vm string) (any, error) {
	var size int32
	if err := json.Unmarshal(arguments[0], &size); err != nil {
		return nil, &failure{"InvalidCall", "Arguments are not correct, disk size must be an integer", false}
	}
	in := &ec2.CreateVolumeInput{Size: aws.Int32((size + 1023) / 1024), VolumeType: types.VolumeTypeGp3, AvailabilityZone: aws.String("us-east-1a")}
	if vm != "" {
		i, err := c.instance(ctx, vm)
		if err != nil {
			return nil, err
		}
		in.AvailabilityZone = i.Placement.AvailabilityZone
	}
	if kind, ok := properties["type"].(string); ok {
		in.VolumeType = types.VolumeType(kind)
	}
	in.Encrypted = aws.Bool(c.encrypted)
	if value, said := properties["encrypted"]; said {
		in.Encrypted = aws.Bool(value != nil && value != false)
	}
	if c.key != "" {
		in.KmsKeyId = &c.key
	}
	out, err := c.api.CreateVolume(ctx, in)
	if err != nil {
		return nil, err
	}
	return *out.VolumeId, c.waitVolume(ctx, *out.VolumeId, func(v types.Volume) bool { return v.State == types.VolumeStateAvailable })
}

func (c *cloud) volume(ctx context.Context, id string) (types.Volume, error) {
	out, err := c.api.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		return types.Volume{}, err
	}
	return out.Volumes[0], nil
}

func (c *cloud) waitVolume(ctx context.Context, id string, done func(types.Volume) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := c.volume(ctx, id)
		if err == nil && done(v) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("timed out waiting for " + id)
		case <-tick.C:
		}
	}
}

func (c *cloud) deleteDisk(ctx context.Context, id string) error {
	_, err := c.api.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
	if isCode(err, "InvalidVolume.NotFound") {
		return &failure{"Bosh::Clouds::DiskNotFound", "Disk '" + id + "' not found", false}
	}
	return err
}

func (c *cloud) hasDisk(ctx context.Context, id string) (bool, error) {
	_, err := c.volume(ctx, id)
	if isCode(err, "InvalidVolume.NotFound") {
		return false, nil
	}
	return err == nil, err
}

// attachDisk takes the first free of /dev/sdf to /dev/sdp. It is not idempotent.
func (c *cloud) attachDisk(ctx context.Context, vm, disk string) (any, error) {
	i, err := c.instance(ctx, vm)
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, m := range i.BlockDeviceMappings {
		taken[*m.DeviceName] = true
	}
	for letter := 'f'; letter <= 'p'; letter++ {
		name := "/dev/sd" + string(letter)
		if taken[name] {
			continue
		}
		if _, err := c.api.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: &disk, InstanceId: &vm, Device: &name}); err != nil {
			return nil, err
		}
		err := c.waitVolume(ctx, disk, func(v types.Volume) bool {
			return len(v.Attachments) == 1 && v.Attachments[0].State == types.VolumeAttachmentStateAttached
		})
		return "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(disk, "-", ""), err
	}
	return nil, &failure{"Bosh::Clouds::CloudError", "Instance has too many disks attached", false}
}

func (c *cloud) detachDisk(ctx context.Context, vm, disk string) error {
	if has, err := c.hasDisk(ctx, disk); err != nil || !has {
		return err
	}
	i, err := c.instance(ctx, vm)
	if err != nil {
		return err
	}
	for _, m := range i.BlockDeviceMappings {
		if *m.Ebs.VolumeId == disk {
			if _, err := c.api.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: &disk, InstanceId: &vm}); err != nil {
				return err
			}
			return c.waitVolume(ctx, disk, func(v types.Volume) bool { return len(v.Attachments) == 0 })
		}
	}
	return &failure{"Bosh::Clouds::DiskNotAttached", "Disk '" + disk + "' is not attached to instance '" + vm + "'", true}
}
