package mount

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// total is how large the file system at a path is, in bytes.
func total(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(path, &st))
	return int64(st.Blocks) * st.Bsize
}

func TestBlock_ExpandGrowsNoFileSystemThatLiesOnATarget(t *testing.T) {
	for _, fsType := range []string{volume.XFS, volume.Btrfs} { // which grow mounted without CAP_SYS_RESOURCE
		t.Run(fsType, func(t *testing.T) {
			n := mounttest.NewNode(t)
			d := n.Attach(serial, size)
			b, ctx, plan, staging, target := newBlock(n), t.Context(), fresh(fsType), n.Mkdir("staging"), n.Path("target")
			must(t, b.Stage(ctx, plan, staging))
			must(t, b.Publish(ctx, plan, staging, target, false))
			other := n.Attach(serial2, size)
			mounttest.Run(t, "mkfs."+fsType, "-q", other.Node)
			mounttest.Run(t, "mount", "-t", fsType, other.Node, target)
			other.Grow(2 * size)
			d.Grow(2 * size)
			before := total(t, target)

			_, err := b.Expand(ctx, plan, "", target, 2*size)
			wantKind(t, err, fault.NotFound, "not volume "+handle)
			bytes, err := b.Expand(ctx, plan, "", staging, 2*size)
			if err != nil || bytes != 2*size || total(t, staging) < size*18/10 {
				t.Errorf("Expand = %d, %v; the volume has %d bytes", bytes, err, total(t, staging))
			}
			if got := total(t, target); got != before {
				t.Errorf("the other file system went from %d to %d bytes", before, got)
			}
		})
	}
}

// A subPath of a pod's is a bind mount of whatever the pod has put there.
func TestBlock_NothingWaitsForAFIFOInASubPath(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		n.Attach(serial, size)
		b, plan, staging, target, subPath := newBlock(n), fresh(fsType), n.Mkdir("staging"), n.Path("target"), n.Path("subpath")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		must(t, b.Stage(ctx, plan, staging))
		must(t, b.Publish(ctx, plan, staging, target, false))
		must(t, unix.Mkfifo(target+"/fifo", 0o600))
		write(t, subPath, "")
		must(t, unix.Mount(target+"/fifo", subPath, "", unix.MS_BIND, ""))
		t.Cleanup(func() { // lets a hanging open go
			if f, err := os.OpenFile(subPath, os.O_RDWR, 0); err == nil {
				_ = f.Close()
			}
		})
		_, err := b.Expand(ctx, plan, staging, target, size)
		must(t, err)
		must(t, b.Stage(ctx, plan, staging))
		_, err = b.Stats(ctx, handle, target)
		must(t, err)

		// A path that was turned into something else is an error at once.
		_, err = b.Expand(ctx, plan, "", subPath, size)
		wantKind(t, err, fault.Conflict, "another type")
		_, err = b.Stats(ctx, handle, subPath)
		wantKind(t, err, fault.Conflict, "another type")
		wantKind(t, b.Publish(ctx, plan, staging, subPath, false), fault.Conflict, "another type")
		wantKind(t, b.Stage(ctx, plan, subPath), fault.Conflict, "another type")
		must(t, unix.Unmount(subPath, 0))
		must(t, b.Unpublish(ctx, handle, target))
		must(t, b.Unstage(ctx, handle, staging))
	})
}

func TestEntry_OpensOnlyItsOwnDirectory(t *testing.T) {
	n, _, staging := stagedNode(t)
	mounts, err := readTable()
	must(t, err)
	e, _ := mounts.at(staging)
	dir, err := e.openDir()
	must(t, err)
	must(t, dir.Close())

	moved := e
	moved.point = n.Path("link")
	must(t, os.Symlink(staging, moved.point))
	_, err = moved.openDir()
	wantKind(t, err, fault.Unavailable) // the link itself is on the host's file system

	must(t, unix.Mount("none", staging, "tmpfs", 0, ""))
	_, err = e.openDir()
	wantKind(t, err, fault.Unavailable, "another file system")
}

// The descriptor decides, whatever the mount table and the device's node say.
func TestOpenMounted_ProvesTheDisk(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		n.Attach(serial, size)
		b, staging := newBlock(n), n.Mkdir("staging")
		must(t, b.Stage(t.Context(), fresh(fsType), staging))
		n.Attach(serial2, size)
		other, err := b.sysfs.find(serial2)
		must(t, err)
		mounts, err := readTable()
		must(t, err)
		e, _ := mounts.at(staging)
		_, err = openMounted(other, e)
		wantKind(t, err, fault.Conflict, "nothing was touched", other.number.String())

		own, err := b.sysfs.find(serial)
		must(t, err)
		own.node = other.node
		_, err = openMounted(own, e)
		wantKind(t, err, fault.Conflict, "not block device "+own.number.String())
	})
}
