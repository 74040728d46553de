package emulator_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/devices"
)

func startOnLoopDevices(t *testing.T, dir string) *cloud {
	t.Helper()
	tree, err := devices.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, emulator.Options{StateDir: dir, Storage: tree})
}

// device is the volume's node on the instance.
func device(i emulator.Instance, volume string) string {
	return filepath.Join(i.DeviceRoot, "disk", "by-id", "nvme-Amazon_Elastic_Block_Store_"+strings.Replace(volume, "-", "", 1))
}

func (c *cloud) openDevice(i emulator.Instance, volume string) *os.File {
	c.t.Helper()
	return must(os.OpenFile(device(i, volume), os.O_RDWR|os.O_SYNC, 0))(c)
}

func (c *cloud) readDevice(i emulator.Instance, volume string) (word string, size int64) {
	c.t.Helper()
	f := c.openDevice(i, volume)
	defer func() { must(f, f.Close())(c) }()
	text := make([]byte, 5)
	must(f.ReadAt(text, 4096))(c)
	return string(text), must(f.Seek(0, io.SeekEnd))(c)
}

func TestServer_onLoopDevices(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	dir := t.TempDir()
	c := startOnLoopDevices(t, dir)
	i := c.Instances()[0]
	source := c.createVolume(func(in *create) { in.Size = aws.Int32(1) })
	if err := c.attach(source, i.ID, "/dev/xvdba"); err != nil {
		t.Fatal(err)
	}
	held := c.openDevice(i, source)
	must(held.WriteAt([]byte("early"), 4096))(c)
	snapshot := c.createSnapshot(source)
	must(held.WriteAt([]byte("later"), 4096))(c)
	restored := c.createVolume(func(in *create) { in.SnapshotId, in.Size = &snapshot, aws.Int32(2) })
	if err := c.attach(restored, i.ID, "/dev/xvdbb"); err != nil {
		t.Fatal(err)
	}
	if word, size := c.readDevice(i, restored); word != "early" || size != 2<<30 {
		t.Errorf("the restored volume holds %q in %d bytes", word, size)
	}
	if err := c.modify(source, size(3)); err != nil {
		t.Fatal(err)
	}
	if word, size := c.readDevice(i, source); word != "later" || size != 3<<30 {
		t.Errorf("the grown volume holds %q in %d bytes", word, size)
	}

	if err := c.detach(source, i.ID); err != nil {
		t.Fatal(err)
	}
	if s := c.volume(source).Attachments[0].State; s != types.VolumeAttachmentStateBusy {
		t.Errorf("attachment is %s while the device is open, want busy", s)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	if _, err := os.Lstat(device(i, source)); !os.IsNotExist(err) || c.volume(source).State != types.VolumeStateAvailable {
		t.Errorf("after the guest let go: %v, %s", err, c.volume(source).State)
	}

	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(device(i, restored)); !os.IsNotExist(err) {
		t.Errorf("a device is left after Close: %v", err)
	}
	c = startOnLoopDevices(t, dir)
	if word, _ := c.readDevice(i, restored); word != "early" {
		t.Errorf("after a restart the volume holds %q", word)
	}
	if err := c.Reset(c.ctx); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"images", "instances/" + i.ID + "/dev/disk/by-id"} {
		if left := must(os.ReadDir(filepath.Join(dir, folder)))(c); len(left) != 0 {
			t.Errorf("%s still has %v after a reset", folder, left)
		}
	}
}
