package mount

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func raw() volume.BlockPlan {
	return volume.BlockPlan{Handle: handle, Serial: serial, Raw: true}
}

// staged gives a node with a staged ext4 volume.
func stagedNode(t *testing.T) (*mounttest.Node, *Block, string) {
	t.Helper()
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b := newBlock(n)
	must(t, b.Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("staging")))
	return n, b, n.Path("staging")
}

func TestBlock_PublishAndUnpublish(t *testing.T) {
	n, b, staging := stagedNode(t)
	plan, target, reader, ctx := fresh(volume.Ext4), n.Path("target"), n.Path("reader"), t.Context()
	for range 2 { // replay
		must(t, b.Publish(ctx, plan, staging, target, false))
		must(t, b.Publish(ctx, plan, staging, reader, true))
	}
	if st, err := os.Stat(staging); err != nil || !st.IsDir() || mountsAt(t, target) != 1 || mountsAt(t, reader) != 1 {
		t.Fatalf("not mounted once each: %v", err)
	}
	write(t, target+"/file", "hello")
	wantFile(t, reader+"/file", "hello")
	if err := os.WriteFile(reader+"/file", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing through the read-only target gives %v", err)
	}
	wantKind(t, b.Publish(ctx, plan, staging, reader, false), fault.Conflict, "read-only")
	wantKind(t, b.Publish(ctx, plan, staging, target, true), fault.Conflict, "read-only")
	for range 2 {
		must(t, b.Unpublish(ctx, handle, target))
		must(t, b.Unpublish(ctx, handle, reader))
	}
	for _, gone := range []string{target, reader} {
		if _, err := os.Lstat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
	wantFile(t, staging+"/file", "hello")
}

func TestBlock_PublishKeepsTheMountsOptions(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, plan := newBlock(n), fresh(volume.Ext4)
	plan.Options = volume.MountOptions{"nosuid", "nodev"}
	must(t, b.Stage(t.Context(), plan, n.Mkdir("staging")))
	must(t, b.Publish(t.Context(), plan, n.Path("staging"), n.Path("target"), true))
	mounts, err := readTable()
	must(t, err)
	e, _ := mounts.at(n.Path("target"))
	if why := b.asked.mismatch(e, volume.BlockPlan{FSType: volume.Ext4, Options: plan.Options, ReadOnly: true}); why != "" {
		t.Errorf("the read-only bind mount lost options: %s", why)
	}
}

func TestBlock_PublishNeedsTheStagedVolume(t *testing.T) {
	n, b, staging := stagedNode(t)
	ctx := t.Context()
	wantKind(t, b.Publish(ctx, second(fresh(volume.Ext4)), staging, n.Path("target"), false), fault.InUse, "not attached")
	wantKind(t, b.Publish(ctx, fresh(volume.Ext4), n.Mkdir("empty"), n.Path("target"), false), fault.InUse, "not mounted")
	n.Attach(serial2, size)
	wantKind(t, b.Publish(ctx, second(fresh(volume.Ext4)), staging, n.Path("target"), false), fault.InUse, "not mounted")
	if _, err := os.Lstat(n.Path("target")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused publish left a target: %v", err)
	}
}

func TestBlock_PublishLeavesForeignTargetsAlone(t *testing.T) {
	n, b, staging := stagedNode(t)
	plan, ctx := fresh(volume.Ext4), t.Context()
	t.Run("a foreign mount", func(t *testing.T) {
		must(t, unix.Mount("none", n.Mkdir("foreign"), "tmpfs", 0, ""))
		wantKind(t, b.Publish(ctx, plan, staging, n.Path("foreign"), false), fault.Conflict, "tmpfs")
		wantKind(t, b.Unpublish(ctx, handle, n.Path("foreign")), fault.Conflict, "left alone")
		if mountsAt(t, n.Path("foreign")) != 1 {
			t.Error("it is gone")
		}
	})
	t.Run("a file where a directory is needed", func(t *testing.T) {
		write(t, n.Path("file"), "mine")
		wantKind(t, b.Publish(ctx, plan, staging, n.Path("file"), false), fault.Invalid)
		wantKind(t, b.Unpublish(ctx, handle, n.Path("file")), fault.InUse)
		wantFile(t, n.Path("file"), "mine")
	})
	t.Run("files written below the mount point", func(t *testing.T) {
		write(t, n.Mkdir("full")+"/file", "mine")
		must(t, b.Publish(ctx, plan, staging, n.Path("full"), false))
		wantKind(t, b.Unpublish(ctx, handle, n.Path("full")), fault.InUse, "move them away")
		wantFile(t, n.Path("full")+"/file", "mine")
	})
	t.Run("another volume's mount", func(t *testing.T) {
		must(t, b.Publish(ctx, plan, staging, n.Path("target"), false))
		wantKind(t, b.Unpublish(ctx, handle2, n.Path("target")), fault.Conflict, serial)
		if mountsAt(t, n.Path("target")) != 1 {
			t.Error("it is gone")
		}
	})
}

func TestBlock_StatsOfADeadTarget(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, plan, staging, target, ctx := newBlock(n), fresh(volume.XFS), n.Mkdir("staging"), n.Path("target"), t.Context()
	must(t, b.Stage(ctx, plan, staging))
	must(t, b.Publish(ctx, plan, staging, target, false))
	shutdown(t, staging)
	_, err := b.Stats(ctx, handle, target)
	wantKind(t, err, fault.Unavailable)
}

// What the kernel has in memory still answers, but nothing that is written reaches a disk.
func TestBlock_StatsOfADiskThatIsGone(t *testing.T) {
	want := func(t *testing.T, b *Block, point string) {
		t.Helper()
		_, err := b.Stats(t.Context(), handle, point)
		wantKind(t, err, fault.Unavailable, point, "the disk of this mount is gone")
	}
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b, ctx, staging, target := newBlock(n), t.Context(), n.Mkdir("staging"), n.Path("target")
		must(t, b.Stage(ctx, fresh(fsType), staging))
		must(t, b.Publish(ctx, fresh(fsType), staging, target, false))
		write(t, staging+"/file", "hello")
		reattach(t, n, d)
		for _, point := range []string{staging, target} {
			want(t, b, point)
		}
	})
	t.Run("raw", func(t *testing.T) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b, target := newBlock(n), n.Path("target")
		must(t, b.Publish(t.Context(), raw(), "", target, false))
		d.Detach()
		want(t, b, target)
	})
}

func TestBlock_RawDevice(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	d.WriteAt(mbr(), 0) // nobody looks at what a raw disk carries
	b, target, staging, ctx := newBlock(n), n.Path("device"), n.Path("unused"), t.Context()
	for range 2 {
		must(t, b.Stage(ctx, raw(), staging))
		must(t, b.Publish(ctx, raw(), staging, target, false))
	}
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("raw data"), 4096)
	must(t, errors.Join(err, f.Sync(), f.Close()))
	image, err := os.ReadFile(d.Image)
	must(t, err)
	if string(image[4096:4104]) != "raw data" || mountsAt(t, target) != 1 {
		t.Error("the data did not reach the disk, or the target is mounted twice")
	}
	s, err := b.Stats(ctx, handle, target)
	if err != nil || !s.Raw || s.TotalBytes != size {
		t.Errorf("Stats = %+v, %v", s, err)
	}
	must(t, b.Unpublish(ctx, handle, target))
	must(t, b.Unpublish(ctx, handle, target))
	must(t, b.Unstage(ctx, handle, staging))
	must(t, b.Unstage(ctx, handle, n.Path("no/such/path")))
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target is left: %v", err)
	}
}

func TestBlock_RawDeviceReadOnly(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, ctx := newBlock(n), t.Context()
	writeTo := func(path string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("x"), 0)
		return errors.Join(err, f.Sync(), f.Close())
	}
	for range 2 {
		must(t, b.Publish(ctx, raw(), "", n.Path("reader"), true))
	}
	if err := writeTo(n.Path("reader")); err == nil {
		t.Error("a read-only raw device was written")
	}
	must(t, b.Publish(ctx, raw(), "", n.Path("reader2"), true))
	wantKind(t, b.Publish(ctx, raw(), "", n.Path("writer"), false), fault.InUse, "either for readers or for writers")
	must(t, b.Unpublish(ctx, handle, n.Path("reader")))
	wantKind(t, b.Publish(ctx, raw(), "", n.Path("writer"), false), fault.InUse, n.Path("reader2"))
	must(t, b.Unpublish(ctx, handle, n.Path("reader2")))

	must(t, b.Publish(ctx, raw(), "", n.Path("writer"), false))
	must(t, writeTo(n.Path("writer")))
	wantKind(t, b.Publish(ctx, raw(), "", n.Path("reader"), true), fault.InUse, n.Path("writer"))
	must(t, writeTo(n.Path("writer")))
}

func TestBlock_Stats(t *testing.T) {
	n, b, staging := stagedNode(t)
	ctx := t.Context()
	s, err := b.Stats(ctx, handle, staging)
	must(t, err)
	if s.Raw || s.TotalBytes < size/2 || s.TotalBytes > size || s.UsedBytes+s.AvailableBytes > s.TotalBytes || s.TotalInodes == 0 || s.UsedInodes+s.AvailableInodes != s.TotalInodes {
		t.Errorf("Stats = %+v", s)
	}
	_, err = b.Stats(ctx, handle, n.Mkdir("empty")) // the host's own numbers would be a lie
	wantKind(t, err, fault.NotFound)
	_, err = b.Stats(ctx, handle2, staging)
	wantKind(t, err, fault.NotFound, handle2)
	_, err = b.Stats(ctx, handle, n.Path("no/such/path"))
	wantKind(t, err, fault.NotFound)
}

// SINGLE_NODE_SINGLE_WRITER has one target, the other modes have as many as wanted.
func TestBlock_PublishOfASingleWriter(t *testing.T) {
	for name, plan := range map[string]volume.BlockPlan{"a file system": fresh(volume.Ext4), "a raw device": raw()} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			n.Attach(serial, size)
			b, ctx, staging := newBlock(n), t.Context(), n.Mkdir("staging")
			plan.OneTarget = true
			must(t, b.Stage(ctx, plan, staging))
			for range 2 {
				must(t, b.Publish(ctx, plan, staging, n.Path("first"), false))
			}
			for _, readOnly := range []bool{false, true} {
				wantKind(t, b.Publish(ctx, plan, staging, n.Path("second"), readOnly), fault.InUse, n.Path("first"), "one path")
			}
			if _, err := os.Lstat(n.Path("second")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a refused publish left a target: %v", err)
			}
			must(t, b.Unpublish(ctx, handle, n.Path("first")))
			must(t, b.Publish(ctx, plan, staging, n.Path("second"), false))

			plan.OneTarget = false // SINGLE_NODE_MULTI_WRITER
			must(t, b.Publish(ctx, plan, staging, n.Path("third"), false))
		})
	}
}

// A pod may hold a shared disk exclusively; on another node nobody knows.
func TestBlock_RawDeviceThatAPodHolds(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, ctx := newBlock(n), t.Context()
	must(t, b.Stage(ctx, raw(), n.Mkdir("staging")))
	must(t, b.Publish(ctx, raw(), n.Path("staging"), n.Path("first"), false))
	pod, err := os.OpenFile(n.Path("first"), os.O_RDWR|unix.O_EXCL, 0)
	must(t, err)
	defer func() { _ = pod.Close() }()
	for range 2 {
		must(t, b.Stage(ctx, raw(), n.Path("staging")))
		must(t, b.Publish(ctx, raw(), n.Path("staging"), n.Path("first"), false))
		must(t, b.Publish(ctx, raw(), n.Path("staging"), n.Path("second"), false))
	}
	_, err = pod.WriteAt([]byte("still mine"), 0)
	must(t, errors.Join(err, pod.Sync()))
	must(t, b.Unpublish(ctx, handle, n.Path("second")))
	wantKind(t, b.Unstage(ctx, handle, n.Path("staging")), fault.InUse, "still published", n.Path("first"))
	must(t, pod.Close())
	must(t, b.Unpublish(ctx, handle, n.Path("first")))
	must(t, b.Unstage(ctx, handle, n.Path("staging")))
}
