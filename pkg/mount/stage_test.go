package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	serial  = "vol0123456789abcdef0"
	handle  = "vol-0123456789abcdef0"
	serial2 = "vol0fedcba9876543210"
	handle2 = "vol-0fedcba9876543210"
	mib     = 1 << 20
	size    = 512 * mib // xfs wants 300 MiB
)

func newBlock(n *mounttest.Node) *Block {
	return NewBlock(Config{DeviceRoot: n.DeviceRoot, SysfsRoot: n.SysfsRoot, DeviceWait: 2 * time.Second})
}

// fresh is the plan for an empty volume that may be formatted; each test changes one thing.
func fresh(fsType string) volume.BlockPlan {
	return volume.BlockPlan{Handle: handle, Serial: serial, FSType: fsType, MayFormat: true}
}

func second(p volume.BlockPlan) volume.BlockPlan {
	p.Handle, p.Serial, p.MayFormat, p.Source = handle2, serial2, false, handle
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantKind fails unless err has that kind and its text has all the parts.
func wantKind(t *testing.T, err error, kind fault.Kind, parts ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("got %v (%v), want kind %v", err, fault.KindOf(err), kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Fatalf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

func mountsAt(t *testing.T, point string) int {
	t.Helper()
	mounts, err := readTable()
	must(t, err)
	n := 0
	for _, e := range mounts {
		if e.point == point {
			n++
		}
	}
	return n
}

// mountAt is what is seen at the point.
func mountAt(t *testing.T, point string) entry {
	t.Helper()
	mounts, err := readTable()
	must(t, err)
	e, ok := mounts.at(point)
	if !ok {
		t.Fatalf("nothing is mounted at %s", point)
	}
	return e
}

func eachFS(t *testing.T, test func(*testing.T, string)) {
	t.Helper()
	for _, fsType := range volume.FSTypes() {
		t.Run(fsType, func(t *testing.T) { test(t, fsType) })
	}
}

func TestBlock_StageWritesAndReadsAgain(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		n.Attach(serial, size)
		b, staging, ctx := newBlock(n), n.Mkdir("staging"), t.Context()
		must(t, b.Stage(ctx, fresh(fsType), staging))
		must(t, b.Stage(ctx, fresh(fsType), staging)) // replay
		if got := mountsAt(t, staging); got != 1 {
			t.Fatalf("%d mounts after two calls", got)
		}
		write(t, staging+"/file", "hello")
		must(t, b.Unstage(ctx, handle, staging))
		must(t, b.Unstage(ctx, handle, staging))
		if got := mountsAt(t, staging); got != 0 {
			t.Fatalf("%d mounts are left", got)
		}
		must(t, newBlock(n).Stage(ctx, fresh(fsType), staging)) // may format, but must not: there is data
		wantFile(t, staging+"/file", "hello")
	})
}

func TestBlock_StageHonoursOptions(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, staging := newBlock(n), n.Mkdir("staging")
	plan := fresh(volume.Ext4)
	plan.Options = volume.MountOptions{"noatime", "nosuid", "commit=30", "discard"}
	must(t, b.Stage(t.Context(), plan, staging))
	must(t, b.Stage(t.Context(), plan, staging))
	mounts, err := readTable()
	must(t, err)
	e, _ := mounts.at(staging)
	shown := strings.Join(append(e.options, e.super...), ",")
	for _, o := range plan.Options {
		if !strings.Contains(shown, o) {
			t.Errorf("%s is not in %s", o, shown)
		}
	}
	for name, change := range map[string]func(*volume.BlockPlan){
		"read-only":           func(p *volume.BlockPlan) { p.ReadOnly = true },
		"another value":       func(p *volume.BlockPlan) { p.Options = volume.MountOptions{"commit=31"} },
		"a missing attribute": func(p *volume.BlockPlan) { p.Options = volume.MountOptions{"noexec"} },
		"another file system": func(p *volume.BlockPlan) { p.FSType = volume.XFS },
	} {
		t.Run(name+" is a conflict with the mount that is there", func(t *testing.T) {
			other := plan
			change(&other)
			wantKind(t, b.Stage(t.Context(), other, staging), fault.Conflict, staging)
		})
	}
}

func TestBlock_StageNamesAnOptionTheKernelRefuses(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	plan := fresh(volume.Ext4)
	plan.Options = volume.MountOptions{"noatime", "frobnicate"} // passed no allow-list
	staging := n.Mkdir("staging")
	wantKind(t, newBlock(n).Stage(t.Context(), plan, staging), fault.Invalid, `"frobnicate"`)
	if mountsAt(t, staging) != 0 {
		t.Error("something was mounted")
	}
}

func TestBlock_StageOfADiskInUse(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	b := newBlock(n)
	t.Run("an exclusive opener is not disturbed", func(t *testing.T) {
		f, err := os.OpenFile(d.Node, os.O_RDWR|unix.O_EXCL, 0)
		must(t, err)
		defer func() { _ = f.Close() }()
		before := d.Sum()
		wantKind(t, b.Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("staging")), fault.InUse, "(mount.test) has it open")
		if d.Sum() != before {
			t.Error("the disk's bytes changed")
		}
	})
	t.Run("an exclusive opener that goes is waited for", func(t *testing.T) {
		f, err := os.OpenFile(d.Node, os.O_RDWR|unix.O_EXCL, 0)
		must(t, err)
		t.Cleanup(func() { _ = f.Close() })
		done := make(chan error, 1)
		go func() { done <- b.Stage(t.Context(), fresh(volume.Ext4), n.Path("staging")) }()
		timer := time.NewTimer(200 * time.Millisecond)
		defer timer.Stop()
		select {
		case err := <-done:
			t.Fatalf("Stage did not wait: %v", err)
		case <-timer.C:
		}
		must(t, f.Close())
		must(t, <-done)
		must(t, b.Unstage(t.Context(), handle, n.Path("staging")))
	})
	t.Run("a mount elsewhere is named", func(t *testing.T) {
		must(t, b.Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("first")))
		wantKind(t, b.Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("second")), fault.InUse, n.Path("first"))
	})
}

func TestBlock_StageACopyBesideItsSource(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		source := n.Attach(serial, size)
		b, ctx := newBlock(n), t.Context()
		must(t, b.Stage(ctx, fresh(fsType), n.Mkdir("source")))
		write(t, n.Path("source")+"/file", "source")
		mounttest.Run(t, "sync", "-f", n.Path("source"))
		n.AttachCopy(serial2, source, size)
		must(t, b.Stage(ctx, second(fresh(fsType)), n.Mkdir("copy")))
		must(t, b.Stage(ctx, second(fresh(fsType)), n.Path("copy")))
		wantFile(t, n.Path("copy")+"/file", "source")
		write(t, n.Path("copy")+"/file", "copy")
		wantFile(t, n.Path("source")+"/file", "source")
		must(t, b.Unstage(ctx, handle2, n.Path("copy")))
		must(t, b.Stage(ctx, second(fresh(fsType)), n.Path("copy")))
		wantFile(t, n.Path("copy")+"/file", "copy")
		must(t, b.Unstage(ctx, handle, n.Path("source")))
	})
}

func TestBlock_StageTellsForeignAndDeadMountsApart(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, ctx := newBlock(n), t.Context()
	t.Run("another file system at the path stays", func(t *testing.T) {
		foreign := n.Mkdir("foreign")
		must(t, unix.Mount("none", foreign, "tmpfs", 0, ""))
		wantKind(t, b.Stage(ctx, fresh(volume.XFS), foreign), fault.Conflict, "tmpfs")
		wantKind(t, b.Unstage(ctx, handle, foreign), fault.Conflict, "left alone")
		if mountsAt(t, foreign) != 1 {
			t.Error("somebody else's mount is gone")
		}
	})
	t.Run("another volume at the path stays", func(t *testing.T) {
		n.Attach(serial2, size)
		plan := second(fresh(volume.Ext4))
		plan.MayFormat = true
		must(t, b.Stage(ctx, plan, n.Mkdir("other")))
		wantKind(t, b.Stage(ctx, fresh(volume.XFS), n.Path("other")), fault.Conflict)
		wantKind(t, b.Unstage(ctx, handle, n.Path("other")), fault.Conflict, serial2)
		if mountsAt(t, n.Path("other")) != 1 {
			t.Error("another volume's mount is gone")
		}
	})
	t.Run("a dead mount of ours is replaced", func(t *testing.T) {
		staging := n.Mkdir("staging")
		must(t, b.Stage(ctx, fresh(volume.XFS), staging))
		write(t, staging+"/file", "hello")
		mounttest.Run(t, "sync", "-f", staging)
		shutdown(t, staging)
		if _, err := os.ReadDir(staging); err == nil {
			t.Fatal("the file system still answers")
		}
		must(t, b.Stage(ctx, fresh(volume.XFS), staging))
		wantFile(t, staging+"/file", "hello")
		if mountsAt(t, staging) != 1 {
			t.Error("the dead mount is left below the new one")
		}
	})
	t.Run("a mount whose disk was pulled can be unstaged", func(t *testing.T) {
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b := newBlock(n)
		must(t, b.Stage(ctx, fresh(volume.XFS), n.Mkdir("staging")))
		d.Detach()
		must(t, b.Unstage(ctx, handle, n.Path("staging")))
		if mountsAt(t, n.Path("staging")) != 0 {
			t.Error("it is still mounted")
		}
	})
}

func TestBlock_UnstageInUse(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, ctx, staging, target := newBlock(n), t.Context(), n.Mkdir("staging"), n.Path("target")
	must(t, b.Stage(ctx, fresh(volume.Ext4), staging))
	must(t, b.Publish(ctx, fresh(volume.Ext4), staging, target, false))
	wantKind(t, b.Unstage(ctx, handle, staging), fault.InUse, target)
	must(t, b.Unpublish(ctx, handle, target))

	f, err := os.Create(staging + "/open")
	must(t, err)
	wantKind(t, b.Unstage(ctx, handle, staging), fault.InUse, "mount.test")
	must(t, f.Close())
	must(t, b.Unstage(ctx, handle, staging))
}

func TestBlock_PathsAreChecked(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, ctx, real := newBlock(n), t.Context(), n.Mkdir("real")
	must(t, os.Symlink(real, n.Path("link")))
	must(t, os.Symlink(n.Dir, n.Path("parent")))
	for _, path := range []string{"", "relative", "/", real + "/../real", real + "/", n.Path("link"), n.Path("missing")} {
		wantKind(t, b.Stage(ctx, fresh(volume.Ext4), path), fault.Invalid)
	}
	if mountsAt(t, real) != 0 {
		t.Fatal("a symbolic link was followed")
	}
	t.Run("a link among the parents is followed, and found again", func(t *testing.T) {
		path := filepath.Join(n.Path("parent"), "real")
		must(t, b.Stage(ctx, fresh(volume.Ext4), path))
		must(t, b.Stage(ctx, fresh(volume.Ext4), path))
		must(t, b.Unstage(ctx, handle, path))
		if mountsAt(t, real) != 0 {
			t.Error("the mount was not found again")
		}
	})
	t.Run("unmounting does not follow a link", func(t *testing.T) {
		must(t, b.Stage(ctx, fresh(volume.Ext4), real))
		wantKind(t, b.Unstage(ctx, handle, n.Path("link")), fault.Invalid, "symbolic link")
		wantKind(t, b.Unpublish(ctx, handle, n.Path("link")), fault.Invalid, "symbolic link")
		if mountsAt(t, real) != 1 {
			t.Error("the mount behind the link is gone")
		}
	})
}

// shutdown makes a mounted file system answer EIO, as after its disk was lost (XFS_IOC_GOINGDOWN).
func shutdown(t *testing.T, point string) {
	t.Helper()
	dir, err := os.Open(point)
	must(t, err)
	defer func() { _ = dir.Close() }()
	must(t, unix.IoctlSetPointerInt(int(dir.Fd()), 0x8004587d, 2))
}
