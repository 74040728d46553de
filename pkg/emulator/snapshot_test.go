package emulator_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

func (c *cloud) createSnapshot(volume string) string {
	c.t.Helper()
	return *must(c.ec2.CreateSnapshot(c.ctx, &ec2.CreateSnapshotInput{VolumeId: &volume}))(c).SnapshotId
}

func (c *cloud) snapshot(id string) types.Snapshot {
	c.t.Helper()
	return must(c.ec2.DescribeSnapshots(c.ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}}))(c).Snapshots[0]
}

func (c *cloud) deleteSnapshot(id string) error {
	_, err := c.ec2.DeleteSnapshot(c.ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
	return err
}

// words is a storage whose every volume holds one word.
type words struct {
	storage.None
	mu   sync.Mutex
	held map[string]string
}

func (b *words) Copy(_ context.Context, from, to string, _ int64) error {
	b.set(to, b.get(from))
	return nil
}

func (b *words) Remove(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.held, id)
	return nil
}

func (b *words) get(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held[id]
}

func (b *words) set(id, word string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[id] = word
}

func TestCreateSnapshot_isThePointInTime(t *testing.T) {
	disks := &words{held: map[string]string{}}
	c := start(t, emulator.Options{Profile: emulator.Reference, Storage: disks})
	volume := c.createVolume()
	c.advance(2 * time.Second)
	disks.set(volume, "early")
	id := c.createSnapshot(volume)
	disks.set(volume, "late")
	if s := c.snapshot(id); s.State != types.SnapshotStatePending || *s.Progress == "100%" {
		t.Errorf("snapshot %s at %s, want pending", s.State, *s.Progress)
	}
	restore := func(in *create) { in.SnapshotId = &id }
	_, err := c.ec2.CreateVolume(c.ctx, newVolume(restore))
	c.wantCode(err, "IncorrectState")
	c.advance(time.Second)
	if s := c.snapshot(id); s.State != types.SnapshotStateCompleted || *s.Progress != "100%" || *s.VolumeSize != 10 {
		t.Errorf("snapshot %+v, want completed", s)
	}
	_, err = c.ec2.CreateVolume(c.ctx, newVolume(restore, func(in *create) { in.Size = aws.Int32(9) }))
	c.wantText(err, "InvalidParameterValue", "The volume size '9' is smaller than snapshot size '10'.")
	restored := c.createVolume(restore, func(in *create) { in.Size = nil })
	if err := c.deleteSnapshot(id); err != nil {
		t.Fatal(err)
	}
	if got := disks.get(restored); got != "early" || disks.get(id) != "" {
		t.Errorf("restored %q, want early; snapshot's bytes %q, want none", got, disks.get(id))
	}
	c.wantText(c.deleteSnapshot(id), "InvalidSnapshot.NotFound", "The snapshot '"+id+"' does not exist.")
}

func TestDescribeSnapshots_whose(t *testing.T) {
	c := start(t, emulator.Options{})
	own := c.createSnapshot(c.createVolume())
	count := func(in *ec2.DescribeSnapshotsInput) int {
		return len(must(c.ec2.DescribeSnapshots(c.ctx, in))(c).Snapshots)
	}
	if n := count(&ec2.DescribeSnapshotsInput{}); n != 4 {
		t.Errorf("without an owner: %d, want own and three public ones", n)
	}
	if n := count(&ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}}); n != 1 {
		t.Errorf("own: %d", n)
	}
	if n := count(&ec2.DescribeSnapshotsInput{OwnerIds: []string{"amazon"}}); n != 2 {
		t.Errorf("amazon's: %d", n)
	}
	if n := count(&ec2.DescribeSnapshotsInput{RestorableByUserIds: []string{"all"}}); n != 3 {
		t.Errorf("everybody's: %d", n)
	}
	public := must(c.ec2.DescribeSnapshots(c.ctx, &ec2.DescribeSnapshotsInput{RestorableByUserIds: []string{"all"}}))(c).Snapshots[0]
	c.wantCode(c.deleteSnapshot(*public.SnapshotId), "UnauthorizedOperation")
	if err := c.deleteSnapshot(own); err != nil {
		t.Error(err)
	}
}

func TestCreateSnapshots_ofAnInstance(t *testing.T) {
	c := start(t, emulator.Options{})
	instance := c.Instances()[0].ID
	volumes := []string{c.createVolume(), c.createVolume(), c.createVolume()}
	for n, v := range volumes {
		if err := c.attach(v, instance, "/dev/xvdb"+string(rune('a'+n))); err != nil {
			t.Fatal(err)
		}
	}
	spec := func(excluded ...string) *types.InstanceSpecification {
		return &types.InstanceSpecification{InstanceId: &instance, ExcludeDataVolumeIds: excluded}
	}
	tags := []types.TagSpecification{{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{{Key: aws.String("group"), Value: aws.String("g")}}}}
	out := must(c.ec2.CreateSnapshots(c.ctx, &ec2.CreateSnapshotsInput{InstanceSpecification: spec(volumes[1]), TagSpecifications: tags}))(c)
	if len(out.Snapshots) != 2 || out.Snapshots[0].State != types.SnapshotStatePending || len(out.Snapshots[0].Tags) != 1 {
		t.Errorf("snapshots %+v", out.Snapshots)
	}
	_, err := c.ec2.CreateSnapshots(c.ctx, &ec2.CreateSnapshotsInput{InstanceSpecification: spec(c.createVolume())})
	c.wantCode(err, "InvalidParameterValue")
	_, err = c.ec2.CreateSnapshots(c.ctx, &ec2.CreateSnapshotsInput{InstanceSpecification: spec(make([]string, 41)...)})
	c.wantCode(err, "InvalidParameterValue")
}

func TestFastSnapshotRestores(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	volume := c.createVolume()
	c.advance(2 * time.Second)
	id := c.createSnapshot(volume)
	c.advance(time.Second)
	unknown := "snap-0123456789abcdef0"
	out := must(c.ec2.EnableFastSnapshotRestores(c.ctx, &ec2.EnableFastSnapshotRestoresInput{
		AvailabilityZones: []string{"us-east-1a"}, SourceSnapshotIds: []string{id, unknown},
	}))(c)
	if len(out.Successful) != 1 || out.Successful[0].State != types.FastSnapshotRestoreStateCodeEnabling {
		t.Errorf("successful %+v", out.Successful)
	}
	if len(out.Unsuccessful) != 1 || *out.Unsuccessful[0].FastSnapshotRestoreStateErrors[0].Error.Code != "InvalidSnapshot.NotFound" {
		t.Errorf("unsuccessful %+v", out.Unsuccessful)
	}
	state := func() types.FastSnapshotRestoreStateCode {
		return must(c.ec2.DescribeFastSnapshotRestores(c.ctx, &ec2.DescribeFastSnapshotRestoresInput{}))(c).FastSnapshotRestores[0].State
	}
	c.advance(time.Second)
	if s := state(); s != types.FastSnapshotRestoreStateCodeEnabled {
		t.Errorf("state %s, want enabled", s)
	}
	fast := c.createVolume(func(in *create) { in.SnapshotId = &id })
	if !*c.volume(fast).FastRestored {
		t.Error("the volume is not fast restored")
	}
	must(c.ec2.DisableFastSnapshotRestores(c.ctx, &ec2.DisableFastSnapshotRestoresInput{
		AvailabilityZones: []string{"us-east-1a"}, SourceSnapshotIds: []string{id},
	}))(c)
	c.advance(time.Second)
	if s := state(); s != types.FastSnapshotRestoreStateCodeDisabled {
		t.Errorf("state %s, want disabled", s)
	}
	_, err := c.ec2.EnableFastSnapshotRestores(c.ctx, &ec2.EnableFastSnapshotRestoresInput{
		AvailabilityZones: []string{"us-east-1z"}, SourceSnapshotIds: []string{id},
	})
	c.wantCode(err, "InvalidZone.NotFound")
}

func TestLockSnapshot(t *testing.T) {
	c := start(t, emulator.Options{})
	id := c.createSnapshot(c.createVolume())
	lock := func(change func(*ec2.LockSnapshotInput)) (*ec2.LockSnapshotOutput, error) {
		in := &ec2.LockSnapshotInput{SnapshotId: &id, LockMode: types.LockModeGovernance, LockDuration: aws.Int32(1)}
		change(in)
		return c.ec2.LockSnapshot(c.ctx, in)
	}
	for name, change := range map[string]func(*ec2.LockSnapshotInput){
		"duration and date":      func(in *ec2.LockSnapshotInput) { in.ExpirationDate = aws.Time(c.Now().AddDate(0, 0, 5)) },
		"neither":                func(in *ec2.LockSnapshotInput) { in.LockDuration = nil },
		"cool-off of governance": func(in *ec2.LockSnapshotInput) { in.CoolOffPeriod = aws.Int32(1) },
	} {
		if _, err := lock(change); code(err) != "InvalidParameterCombination" {
			t.Errorf("%s: %v", name, err)
		}
	}
	out := must(lock(func(in *ec2.LockSnapshotInput) {
		in.LockMode, in.CoolOffPeriod = types.LockModeCompliance, aws.Int32(2)
	}))(c)
	if out.LockState != types.LockStateComplianceCooloff || !out.LockExpiresOn.Equal(c.Now().AddDate(0, 0, 1)) {
		t.Errorf("lock %+v", out)
	}
	c.advance(3 * time.Hour)
	_, err := lock(func(*ec2.LockSnapshotInput) {})
	c.wantCode(err, "IncorrectState")
	c.wantCode(c.deleteSnapshot(id), "SnapshotLocked")
	c.advance(22 * time.Hour)
	if err := c.deleteSnapshot(id); err != nil {
		t.Error(err)
	}
}
