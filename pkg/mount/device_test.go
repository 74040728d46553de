package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestBlock_StageWaitsForALateDevice(t *testing.T) {
	n := mounttest.NewNode(t)
	b, staging, done := newBlock(n), n.Mkdir("staging"), make(chan error, 1)
	go func() { done <- b.Stage(t.Context(), fresh(volume.Ext4), staging) }()
	timer := time.NewTimer(200 * time.Millisecond) // it is late: that is the point
	defer timer.Stop()
	<-timer.C
	n.Attach(serial, size)
	must(t, <-done)
}

func TestBlock_StageOfADeviceThatNeverComes(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial2, size)
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	err := newBlock(n).Stage(ctx, fresh(volume.Ext4), n.Mkdir("staging"))
	wantKind(t, err, fault.Unavailable, serial, n.SysfsRoot, "attached to this node")
	if ctx.Err() != nil {
		t.Error("the answer came after the deadline: nobody would read it")
	}
}

func TestSysfs_Find(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	s := newBlock(n).sysfs
	for _, name := range []string{"nvme1n1p1", "nvme1c0n1", "sda", "loop0"} { // partition, hidden path, other disks
		must(t, os.Symlink(filepath.Join(n.SysfsRoot, "class/block", d.Name), filepath.Join(n.SysfsRoot, "class/block", name)))
	}
	got, err := s.find(serial)
	if err != nil || got.node != d.Node {
		t.Fatalf("find = %+v, %v", got, err)
	}
	if _, err := s.find("vol"); !errors.Is(err, errNoDevice) {
		t.Errorf("a part of a serial number finds %v", err)
	}
	t.Run("two disks with one serial number are a conflict", func(t *testing.T) {
		n.Attach(serial2, size).SetSerial(serial)
		_, err := s.find(serial)
		wantKind(t, err, fault.Conflict, "both", "nothing was touched")
	})
}

// TestBlock_EachStepVerifies: between one step and the next the name may go to another disk.
func TestBlock_EachStepVerifies(t *testing.T) {
	point, copied := "", fresh(volume.Btrfs)
	copied.Source = "snap-0123456789abcdef0"
	for name, step := range map[string]func(*Block, context.Context, *task, device) error{
		"format": func(b *Block, ctx context.Context, k *task, d device) error {
			return b.format(ctx, k, d, fresh(volume.Ext4))
		},
		"repair": func(b *Block, ctx context.Context, k *task, d device) error { return b.repair(ctx, k, d, "-p") },
		"partition": func(b *Block, ctx context.Context, k *task, d device) error {
			return b.makePartition(ctx, k, d)
		},
		"a new id for a copy of btrfs": func(b *Block, ctx context.Context, k *task, d device) error {
			return b.separateBtrfs(ctx, k, d, copied)
		},
		"mount": func(b *Block, ctx context.Context, k *task, d device) error {
			return b.mount(ctx, k, d, fresh(volume.Ext4), point)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			point = n.Mkdir("staging")
			b := newBlock(n)
			found, err := b.sysfs.find(serial)
			must(t, err)
			d.SetSerial(serial2)
			before := d.Sum()
			wantKind(t, b.work(t.Context(), name, handle, func(k *task) error { return step(b, t.Context(), k, found) }), fault.Conflict, "nothing was touched")
			if d.Sum() != before {
				t.Error("the disk's bytes changed")
			}
		})
	}
}

func TestSysfs_VerifyBeforeTouching(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *mounttest.Node, *mounttest.Disk){
		"the name went to another disk": func(_ *testing.T, _ *mounttest.Node, d *mounttest.Disk) { d.SetSerial(serial2) },
		"the node is another disk's": func(t *testing.T, n *mounttest.Node, d *mounttest.Disk) {
			other := n.Attach(serial2, size)
			must(t, os.Remove(d.Node))
			must(t, os.Rename(other.Node, d.Node))
		},
		"the node is a link": func(t *testing.T, n *mounttest.Node, d *mounttest.Disk) {
			must(t, os.Rename(d.Node, d.Node+"-real"))
			must(t, os.Symlink(d.Node+"-real", d.Node))
		},
		"the node is a file": func(t *testing.T, _ *mounttest.Node, d *mounttest.Disk) {
			must(t, os.Remove(d.Node))
			write(t, d.Node, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			b := newBlock(n)
			found, err := b.sysfs.find(serial)
			must(t, err)
			must(t, b.sysfs.verify(found))
			spoil(t, n, d)
			wantKind(t, b.sysfs.verify(found), fault.Conflict, "nothing was touched")
			before := d.Sum()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if err := b.Stage(ctx, fresh(volume.Ext4), n.Mkdir("staging")); err == nil {
				t.Error("the wrong disk was staged")
			}
			if d.Sum() != before {
				t.Error("the disk's bytes changed")
			}
		})
	}
}
