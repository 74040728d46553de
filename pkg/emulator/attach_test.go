package emulator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

func TestAttachVolume_conflicts(t *testing.T) {
	c := start(t, emulator.Options{Instances: 3, Zones: []string{"us-east-1a", "us-east-1a", "us-east-1b"}})
	here, there, elsewhere := c.Instances()[0].ID, c.Instances()[1].ID, c.Instances()[2].ID
	used, free := c.createVolume(), c.createVolume()
	if err := c.attach(used, here, "/dev/xvdba"); err != nil {
		t.Fatal(err)
	}
	c.wantText(c.attach(used, here, "/dev/xvdba"), "VolumeInUse", used+" is already attached to an instance")
	c.wantText(c.attach(used, there, "/dev/xvdba"), "VolumeInUse", used+" is already attached to an instance")
	c.wantText(c.attach(free, here, "/dev/xvdba"), "InvalidParameterValue",
		"Invalid value '/dev/xvdba' for unixDevice. Attachment point /dev/xvdba is already in use")
	c.wantText(c.attach(free, elsewhere, "/dev/xvdba"), "InvalidVolume.ZoneMismatch",
		"The volume '"+free+"' is not in the same availability zone as instance '"+elsewhere+"'")
	c.wantCode(c.attach(free, here, "/dev/xvda"), "InvalidParameterValue")
	c.wantCode(c.attach(free, here, "/dev/xvdb"), "InvalidParameterValue")
	if shown := c.devices(here); len(shown) != 1 {
		t.Errorf("DescribeInstances shows %v, want only the volume, not what the image takes", shown)
	}
	for _, name := range []string{"/dev/../sda", "/dev/xvddy", "/dev/xvddz", "/dev/xvdea", "xvddy"} {
		c.wantCode(c.attach(free, here, name), "InvalidParameterValue")
	}
	c.wantCode(c.attach(free, "i-0123456789abcdef0", "/dev/xvdba"), "InvalidInstanceID.NotFound")
	c.wantCode(c.attach(free, "nobody", "/dev/xvdba"), "InvalidInstanceID.Malformed")
	c.wantCode(c.attach("vol-0123456789abcdef0", here, "/dev/xvdba"), "InvalidVolume.NotFound")
	c.wantCode(c.attach("vol-x", here, "/dev/xvdba"), "InvalidParameterValue")
	c.wantCode(c.detach(used, there), "InvalidAttachment.NotFound")
	c.wantCode(c.detach(free, here), "IncorrectState")
	c.wantCode(c.detach("vol-0123456789abcdef0", here), "InvalidVolume.NotFound")
}

func TestAttachVolume_limit(t *testing.T) {
	for name, row := range map[string]struct {
		options emulator.Options
		limit   int
	}{
		"m5.large shares 28 with one interface and the root": {emulator.Options{}, 26},
		"m7i.large has 32 with the root":                     {emulator.Options{InstanceType: "m7i.large"}, 31},
		"a limit of one's own":                               {emulator.Options{AttachLimit: 3}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, row.options)
			for n := range row.limit {
				if err := c.attach(c.createVolume(), c.Instances()[0].ID, fmt.Sprintf("/dev/xvd%c%c", 'a'+n/26, 'a'+n%26)); err != nil {
					t.Fatalf("volume %d: %v", n+1, err)
				}
			}
			c.wantCode(c.attach(c.createVolume(), c.Instances()[0].ID, "/dev/xvddx"), "AttachmentLimitExceeded")
		})
	}
}

func TestAttachVolume_multiAttach(t *testing.T) {
	c := start(t, emulator.Options{Instances: 17, Zones: []string{"us-east-1a"}})
	id := c.createVolume(func(in *create) {
		in.VolumeType, in.Iops, in.MultiAttachEnabled = "io2", aws.Int32(100), aws.Bool(true)
	})
	for n, i := range c.Instances() {
		err := c.attach(id, i.ID, "/dev/xvdba")
		if n < 16 && err != nil {
			t.Fatalf("instance %d: %v", n+1, err)
		}
		if n == 16 {
			c.wantCode(err, "AttachmentLimitExceeded")
		}
	}
	c.wantCode(c.detach(id, ""), "InvalidParameterCombination")
	if err := c.detach(id, c.Instances()[3].ID); err != nil {
		t.Fatal(err)
	}
	if n := len(c.volume(id).Attachments); n != 15 {
		t.Errorf("%d attachments are left, want 15", n)
	}
}

func TestAttachVolume_stoppedInstance(t *testing.T) {
	c := start(t, emulator.Options{Profile: emulator.Reference})
	instance, id := c.Instances()[0].ID, c.createVolume()
	c.advance(2 * time.Second)
	must(c.ec2.StopInstances(c.ctx, &ec2.StopInstancesInput{InstanceIds: []string{instance}}))(c)
	c.wantText(c.attach(id, instance, "/dev/xvdba"), "IncorrectState", "Instance '"+instance+"' is not 'running'.")
	c.advance(2 * time.Second)
	if err := c.attach(id, instance, "/dev/xvdba"); err != nil {
		t.Errorf("attach to a stopped instance: %v", err)
	}
}

// disks remembers what is attached, and can be busy.
type disks struct {
	storage.None
	mu    sync.Mutex
	shown map[string]string // volume to instance
	came  chan string       // volumes as they are attached
	busy  bool
}

func newDisks() *disks { return &disks{shown: map[string]string{}, came: make(chan string, 10)} }

func (d *disks) Attach(_ context.Context, instance, volume string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shown[volume] = instance
	d.came <- volume
	return nil
}

func (d *disks) Detach(_ context.Context, _, volume string, force bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy && !force {
		return fmt.Errorf("detach %s: %w", volume, storage.ErrBusy)
	}
	delete(d.shown, volume)
	return nil
}

func (d *disks) has(volume string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown[volume] != ""
}

func (d *disks) setBusy(busy bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = busy
}

func TestDetachVolume_whileTheGuestHoldsTheDevice(t *testing.T) {
	tree := newDisks()
	tree.setBusy(true)
	c := start(t, emulator.Options{Profile: emulator.Reference, Storage: tree})
	instance := c.Instances()[0].ID
	id, forced := c.createVolume(), c.createVolume()
	c.advance(2 * time.Second)
	for volume, device := range map[string]string{id: "/dev/xvdba", forced: "/dev/xvdbb"} {
		if err := c.attach(volume, instance, device); err != nil {
			t.Fatal(err)
		}
	}
	if tree.has(id) {
		t.Error("the device is there before its time")
	}
	c.advance(time.Second)
	if !tree.has(id) {
		t.Error("the device is not there")
	}
	for _, volume := range []string{id, forced} {
		if err := c.detach(volume, instance); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(5 * time.Second)
	if s := c.volume(id).Attachments[0].State; s != types.VolumeAttachmentStateBusy {
		t.Fatalf("attachment is %s, want busy", s)
	}
	must(c.ec2.DetachVolume(c.ctx, &ec2.DetachVolumeInput{VolumeId: &forced, Force: aws.Bool(true)}))(c)
	c.advance(2 * time.Second)
	if tree.has(forced) || !tree.has(id) {
		t.Error("force takes the forced device, and only that")
	}
	tree.setBusy(false)
	c.advance(2 * time.Second)
	if v := c.volume(id); tree.has(id) || v.State != types.VolumeStateAvailable {
		t.Errorf("volume is %s after the guest let go", v.State)
	}
}

func TestServer_changesComeAtTheirTimeWithoutCalls(t *testing.T) {
	tree := newDisks()
	c := start(t, emulator.Options{Profile: emulator.Reference, Storage: tree})
	id := c.createVolume()
	c.advance(2 * time.Second)
	if err := c.attach(id, c.Instances()[0].ID, "/dev/xvdba"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetSpeed(100); err != nil {
		t.Fatal(err)
	}
	select {
	case <-tree.came:
	case <-time.After(10 * time.Second):
		t.Error("the device never came")
	}
}
