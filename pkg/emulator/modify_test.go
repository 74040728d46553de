package emulator_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

func (c *cloud) modify(id string, change func(*ec2.ModifyVolumeInput)) error {
	in := &ec2.ModifyVolumeInput{VolumeId: &id}
	change(in)
	_, err := c.ec2.ModifyVolume(c.ctx, in)
	return err
}

func size(gib int32) func(*ec2.ModifyVolumeInput) {
	return func(in *ec2.ModifyVolumeInput) { in.Size = &gib }
}

func (c *cloud) modification(id string) types.VolumeModification {
	c.t.Helper()
	in := &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{id}}
	return must(c.ec2.DescribeVolumesModifications(c.ctx, in))(c).VolumesModifications[0]
}

func TestModifyVolume_states(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	id := c.createVolume()
	c.wantCode(c.modify(id, size(20)), "IncorrectState")
	c.advance(2 * time.Second)
	_, err := c.ec2.DescribeVolumesModifications(c.ctx, &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{id}})
	c.wantCode(err, "InvalidVolumeModification.NotFound")
	_, err = c.ec2.DescribeVolumesModifications(c.ctx, &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{"vol-0123456789abcdef0"}})
	c.wantCode(err, "InvalidVolume.NotFound")

	if err := c.modify(id, size(20)); err != nil {
		t.Fatal(err)
	}
	m := c.modification(id)
	if m.ModificationState != types.VolumeModificationStateModifying || *m.OriginalSize != 10 || *m.TargetSize != 20 {
		t.Errorf("modification %+v", m)
	}
	if got := *c.volume(id).Size; got != 10 {
		t.Errorf("size %d while modifying, want 10", got)
	}
	c.wantCode(c.modify(id, size(30)), "IncorrectModificationState")
	c.advance(1200 * time.Millisecond)
	if m := c.modification(id); m.ModificationState != types.VolumeModificationStateOptimizing {
		t.Fatalf("state %s, want optimizing", m.ModificationState)
	}
	if got := *c.volume(id).Size; got != 20 {
		t.Errorf("size %d while optimizing, want 20", got)
	}
	c.wantCode(c.modify(id, size(30)), "IncorrectModificationState")
	c.advance(2 * time.Second)
	if m := c.modification(id); m.ModificationState != types.VolumeModificationStateCompleted || *m.Progress != 100 || m.EndTime == nil {
		t.Errorf("modification %+v", m)
	}
}

func TestModifyVolume_rules(t *testing.T) {
	c := start(t, emulator.Options{})
	id := c.createVolume()
	for name, row := range map[string]struct {
		change     func(*ec2.ModifyVolumeInput)
		code, text string
	}{
		"shrink":              {size(9), "InvalidParameterValue", "New size cannot be smaller than existing size"},
		"too large":           {size(70000), "InvalidParameterValue", "Volume of 70000GiB is too large for volume type gp3; maximum is 65536GiB"},
		"iops too high":       {func(in *ec2.ModifyVolumeInput) { in.Iops = aws.Int32(80001) }, "InvalidParameterValue", "Volume iops of 80001 is too high; maximum is 80000"},
		"gp2 with throughput": {func(in *ec2.ModifyVolumeInput) { in.VolumeType, in.Throughput = "gp2", aws.Int32(125) }, "InvalidParameterCombination", "The parameter throughput is not supported for gp2 volumes."},
		"dry run":             {func(in *ec2.ModifyVolumeInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cloud{ec2: c.ec2, ctx: t.Context(), t: t}
			c.wantText(c.modify(id, row.change), row.code, row.text)
		})
	}
	if err := c.modify(id, func(in *ec2.ModifyVolumeInput) { in.VolumeType = "io2" }); err != nil {
		t.Fatal(err)
	}
	if v := c.volume(id); v.VolumeType != types.VolumeTypeIo2 || *v.Iops != 3000 || v.Throughput != nil {
		t.Errorf("volume is %+v", v)
	}
}

func TestModifyVolume_fourInADay(t *testing.T) {
	c := start(t, emulator.Options{})
	id := c.createVolume()
	for n := range int32(4) {
		if err := c.modify(id, size(11+n)); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Hour)
	}
	c.wantText(c.modify(id, size(20)), "VolumeModificationRateExceeded",
		"You've reached the maximum modification rate per volume limit: 4 modifications within a rolling 24-hour period. "+
			"You can modify volume "+id+" again after 2026-01-03T03:04:05.000Z.")
	c.advance(20*time.Hour + time.Second)
	if err := c.modify(id, size(20)); err != nil {
		t.Error(err)
	}
	c.wantCode(c.modify(id, size(21)), "VolumeModificationRateExceeded")
}
