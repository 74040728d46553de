package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// withoutSysResource takes CAP_SYS_RESOURCE from all threads for the rest of the test.
func withoutSysResource(t *testing.T) {
	t.Helper()
	if !mayGrowExt4() {
		return
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(t, unix.Capget(&header, &data[0]))
	set := func(effective uint32) error {
		data[0].Effective = effective
		_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
	all := data[0].Effective
	if err := set(all &^ (1 << unix.CAP_SYS_RESOURCE)); errors.Is(err, unix.ENOTSUP) {
		t.Skip("a binary with cgo cannot take capabilities from its threads; make test-kernels does")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, set(all)) })
}

// restoredLarger attaches a copy, with serial number serial2, of an unmounted ext4 on a disk that is twice as large.
func restoredLarger(t *testing.T, n *mounttest.Node, b *Block) *mounttest.Disk {
	t.Helper()
	source := n.Attach(serial, size)
	must(t, b.Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("source")))
	write(t, n.Path("source")+"/file", "hello")
	must(t, b.Unstage(t.Context(), handle, n.Path("source")))
	return n.AttachCopy(serial2, source, 2*size)
}

// A plugin that was killed between mounting and growing left an ext4 that was taken for one in use, and stayed small for ever.
func TestBlock_StageGrowsAnExt4ThatAnEarlierStageLeftSmall(t *testing.T) {
	n := mounttest.NewNode(t)
	b, ctx, staging := newBlock(n), t.Context(), n.Mkdir("staging")
	d := restoredLarger(t, n, b)
	withoutSysResource(t)
	must(t, unix.Mount(d.Node, staging, "ext4", 0, ""))
	must(t, b.Publish(ctx, second(fresh(volume.Ext4)), staging, n.Path("target"), false))
	must(t, b.Stage(ctx, second(fresh(volume.Ext4)), staging)) // a pod has it
	if got := total(t, staging); got > size {
		t.Errorf("a published file system was grown to %d bytes", got)
	}
	must(t, b.Unpublish(ctx, handle2, n.Path("target")))
	must(t, newBlock(n).Stage(ctx, second(fresh(volume.Ext4)), staging))
	if got := total(t, staging); got < size*18/10 {
		t.Errorf("the file system has %d bytes, want nearly %d", got, 2*size)
	}
	wantFile(t, staging+"/file", "hello")
}

// EPERM has several reasons: the node plugin's capabilities, and errors that the kernel has recorded.
func TestBlock_ExpandSaysWhyExt4DoesNotGrow(t *testing.T) {
	grown := func(t *testing.T) (*mounttest.Node, *Block, string) {
		t.Helper()
		n := mounttest.NewNode(t)
		d := n.Attach(serial, size)
		b, staging := newBlock(n), n.Mkdir("staging")
		must(t, b.Stage(t.Context(), fresh(volume.Ext4), staging))
		d.Grow(2 * size)
		return n, b, staging
	}
	t.Run("errors are recorded", func(t *testing.T) {
		_, b, staging := grown(t)
		mounts, err := readTable()
		must(t, err)
		e, _ := mounts.at(staging)
		disk, err := os.Readlink("/sys/dev/block/" + e.number.String())
		must(t, err)
		write(t, filepath.Join("/sys/fs/ext4", filepath.Base(disk), "trigger_fs_error"), "a test")
		for recorded := false; !recorded; { // the kernel writes it down a little later
			must(t, t.Context().Err())
			f, err := os.Open("/dev/" + filepath.Base(disk))
			must(t, err)
			sb, err := superblock(f)
			must(t, errors.Join(err, f.Close()))
			recorded = sb[0x3a]&2 != 0
		}
		_, err = b.Expand(t.Context(), fresh(volume.Ext4), "", staging, 2*size)
		wantKind(t, err, fault.InUse, "recorded errors", "stage it again")
		if strings.Contains(err.Error(), "CAP_SYS_RESOURCE") {
			t.Errorf("error %q blames a capability", err)
		}
		must(t, b.Unstage(t.Context(), handle, staging)) // what the message tells to do
		must(t, b.Stage(t.Context(), fresh(volume.Ext4), staging))
		if got := total(t, staging); got < size*18/10 {
			t.Errorf("the file system has %d bytes, want nearly %d", got, 2*size)
		}
	})
	t.Run("a capability is missing", func(t *testing.T) {
		_, b, staging := grown(t)
		withoutSysResource(t)
		_, err := b.Expand(t.Context(), fresh(volume.Ext4), "", staging, 2*size)
		wantKind(t, err, fault.Denied, "CAP_SYS_RESOURCE", "stage it again")
		if strings.Contains(err.Error(), "recorded errors") {
			t.Errorf("error %q blames errors that are not there", err)
		}
	})
}

// What probes disks opens them exclusively for a moment, also right after our own unmount.
func TestBlock_StageWaitsForWhoOpensTheDiskAfterItsUnmount(t *testing.T) {
	n := mounttest.NewNode(t)
	b, staging := newBlock(n), n.Mkdir("staging")
	d := restoredLarger(t, n, b)
	withoutSysResource(t)
	must(t, unix.Mount(d.Node, staging, "ext4", 0, ""))
	took := make(chan error, 1)
	go func() {
		for t.Context().Err() == nil {
			f, err := os.OpenFile(d.Node, os.O_RDONLY|unix.O_EXCL, 0)
			if errors.Is(err, unix.EBUSY) {
				continue
			}
			timer := time.NewTimer(700 * time.Millisecond)
			<-timer.C
			took <- errors.Join(err, f.Close())
			return
		}
	}()
	must(t, b.Stage(t.Context(), second(fresh(volume.Ext4)), staging))
	must(t, <-took)
	if got := total(t, staging); got < size*18/10 {
		t.Errorf("the file system has %d bytes, want nearly %d", got, 2*size)
	}
}

// Another process may be faster than the tool that we start once the disk is free.
func TestBlock_StageRepeatsAToolThatFindsTheDiskBusy(t *testing.T) {
	for name, tc := range map[string]struct {
		refusals int
		kind     fault.Kind
	}{
		"twice":    {refusals: 2},
		"for ever": {refusals: 1000, kind: fault.InUse},
	} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			mounttest.Run(t, "mkfs.ext4", "-q", d.Node)
			b, dir := newBlock(n), t.TempDir()
			count := filepath.Join(dir, "count")
			write(t, count, "")
			script := "#!/bin/sh\nprintf x >>" + count + "\nread -r tries <" + count + "\nif [ ${#tries} -le " + strconv.Itoa(tc.refusals) +
				" ]; then echo \"$2 is in use.\"; echo 'e2fsck: Cannot continue, aborting.' >&2; exit 8; fi\nexec e2fsck \"$@\"\n"
			must(t, os.WriteFile(filepath.Join(dir, "e2fsck"), []byte(script), 0o700))
			b.tools.dirs = append([]string{dir}, b.tools.dirs...)
			err := b.Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("staging"))
			if tc.kind != fault.Internal {
				wantKind(t, err, tc.kind, "the disk is still in use", "is in use.")
				return
			}
			must(t, err)
		})
	}
}

func TestBlock_MountOfABusyDisk(t *testing.T) {
	n := mounttest.NewNode(t)
	d := n.Attach(serial, size)
	mounttest.Run(t, "mkfs.ext4", "-q", d.Node)
	b, staging := newBlock(n), n.Mkdir("staging")
	found, err := b.sysfs.find(serial)
	must(t, err)
	mount := func() error {
		return b.work(t.Context(), "mount", handle, func(k *task) error { return b.mount(t.Context(), k, found, fresh(volume.Ext4), staging) })
	}
	f, err := os.OpenFile(d.Node, os.O_RDONLY|unix.O_EXCL, 0)
	must(t, err)
	wantKind(t, mount(), fault.InUse, "has it open")
	timer := time.AfterFunc(300*time.Millisecond, func() { _ = f.Close() })
	defer timer.Stop()
	must(t, mount())
}
