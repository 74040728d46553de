package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Expand grows what is at path, a staging or a target path, to the size of its disk, and waits for the disk to have at
// least requiredBytes (0: whatever it has). What is mounted decides whether it is a raw disk, a partition, and which file
// system. A file system grows through stagingPath, if that is given and shows the volume for writing, else through path, and
// through no other mount. It returns the disk's size in bytes after it has proven that the file system reaches the end of
// the disk, or of the partition that does.
//
// Kinds: Unavailable (the disk has not grown on this node yet), NotFound (nothing of the volume is at path), InUse (the
// mount is read-only), Denied (ext4 without CAP_SYS_RESOURCE), Internal (the kernel said yes but nothing grew).
func (b *Block) Expand(ctx context.Context, plan volume.BlockPlan, stagingPath, path string, requiredBytes int64) (bytes int64, err error) {
	err = b.work(ctx, "expand", plan.Handle, func(t *task) error {
		d, err := b.sysfs.wait(ctx, t, plan.Serial, requiredBytes, b.deviceWait)
		if err != nil {
			return err
		}
		_, e, raw, err := b.seen(ctx, t, path)
		if err != nil {
			return err
		}
		n, known := e.device()
		if !known || !d.shows(n) {
			return fault.New(fault.NotFound, "check mount", path, "%s is mounted there, and not volume %s", b.describe(e), plan.Handle)
		}
		if bytes, err = b.bytes(ctx, t, d); err != nil || raw {
			return err
		}
		if stagingPath != "" {
			_, staged, raw, err := b.seen(ctx, t, stagingPath)
			if s, known := staged.device(); err == nil && !raw && known && s == n && !staged.readOnly() {
				e = staged
			}
		}
		return b.grow(ctx, t, b.sysfs.at(d, n), e)
	})
	if err != nil {
		return 0, err
	}
	return bytes, nil
}

// seen returns what is mounted at path. A bound device node comes as an entry with the disk's number.
func (b *Block) seen(ctx context.Context, t *task, path string) (point string, e entry, raw bool, err error) {
	point, err = resolve(ctx, t, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", entry{}, false, err
	}
	mounts, err := readTable()
	if err != nil {
		return "", entry{}, false, err
	}
	e, ok := mounts.at(point)
	if !ok {
		return "", entry{}, false, fault.New(fault.NotFound, "check mount", path, "nothing is mounted there")
	}
	n, raw := deviceAt(e)
	if raw {
		e.number = n
	}
	return point, e, raw, nil
}

func (b *Block) bytes(ctx context.Context, t *task, d device) (size int64, err error) {
	err = t.run(ctx, "measure", d.node, func() (err error) {
		size, err = d.bytes()
		return err
	})
	if err != nil {
		return 0, err
	}
	return size, nil
}

// growStaged grows a file system at stage: a snapshot may have been restored into a larger disk. Where the kernel does
// not grow a mounted ext4, it grows before its first use, unmounted; one that is mounted elsewhere too stays mounted and
// small, which Expand then says. So does one with clusters, which resize2fs only grows by force.
func (b *Block) growStaged(ctx context.Context, t *task, d device, plan volume.BlockPlan, point string) error {
	if plan.ReadOnly {
		return nil
	}
	err := b.growAt(ctx, t, d, point)
	if plan.FSType != volume.Ext4 || !errors.Is(err, unix.EPERM) {
		return err
	}
	mounts, err := readTable()
	if err != nil {
		return err
	}
	if clustered(d) || len(mounts.apart(mounts.of(d.number), point)) > 0 {
		return nil
	}
	if err := b.unmount(ctx, t, point, 0); err != nil {
		return err
	}
	if err := b.growUnmounted(ctx, t, d); err != nil {
		return err
	}
	if err := b.mount(ctx, t, d, plan, point); err != nil {
		return err
	}
	return b.growAt(ctx, t, d, point)
}

// growUnmounted grows an ext4 that is not mounted, after the whole check that resize2fs insists on. Once begun it goes on to its
// end, whatever becomes of ctx: a later call would have to check again, and would never come to growing a large disk.
func (b *Block) growUnmounted(ctx context.Context, t *task, d device) error {
	return t.run(ctx, "grow", d.node, func() error {
		release, err := t.hold(&toolRun{name: "resize2fs", disk: d.node, since: time.Now(), progress: func() string { return "" }})
		if err != nil {
			return err
		}
		defer release()
		ctx := context.WithoutCancel(ctx)
		if err := b.repair(ctx, t, d, "-f", "-p"); err != nil {
			return err
		}
		return fault.Wrap("grow", d.node, b.offline(ctx, t, d, "resize2fs"))
	})
}

// growAt is grow of what is mounted at point.
func (b *Block) growAt(ctx context.Context, t *task, d device, point string) error {
	mounts, err := readTable()
	if err != nil {
		return err
	}
	e, _ := mounts.at(point)
	return b.grow(ctx, t, d, e)
}

// grow enlarges a mounted file system to the size of its disk or partition, which grows first, and proves it. A file
// system that has that size is left alone. It acts on the one mount only.
func (b *Block) grow(ctx context.Context, t *task, d device, e entry) error {
	if e.readOnly() {
		return fault.New(fault.InUse, "grow", d.node, "it is mounted read-only at %s; publish it read-write to grow the file system", e.point)
	}
	if d.disk != "" {
		if err := b.growPartition(ctx, t, d); err != nil {
			return err
		}
	}
	return t.run(ctx, "grow", d.node, func() error {
		m, err := openMounted(d, e)
		if err != nil {
			return err
		}
		defer m.close()
		return m.grow()
	})
}

// proveGrown does not believe the kernel's success.
func proveGrown(d device, fsType string, before, after extent, target int64) error {
	if after.reaches(target) {
		return nil
	}
	return fault.New(fault.Internal, "grow", d.node, "the kernel reported success, but %s has %d bytes of the device's %d (before: %d)",
		fsType, after.bytes, target, before.bytes)
}

// growError gives the reason why the kernel did not grow a file system; of ext4's, EPERM has several.
func growError(m *mounted, before extent, target int64, err error) error {
	e := &fault.Error{Op: "grow", Subject: m.d.node, Err: err,
		Message: fmt.Sprintf("%s stays at %d bytes on a device of %d", m.fsType, before.bytes, target)}
	switch {
	case m.fsType == volume.Ext4 && errors.Is(err, unix.EPERM):
		var reason string
		e.Kind, reason = ext4Refusal(m.disk)
		e.Message += "; " + reason
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
		e.Kind, e.Message = fault.Unsupported, e.Message+"; this kernel cannot grow it while mounted; "+moreInLog
	default:
		e.Message += "; " + moreInLog
	}
	return e
}

// ext4Refusal says why the kernel answered EPERM: ext4_resize_begin in fs/ext4/resize.c wants CAP_SYS_RESOURCE, and no error
// recorded since the last check.
func ext4Refusal(disk *os.File) (fault.Kind, string) {
	sb, err := superblock(disk)
	const errorState = 0x2 // EXT4_ERROR_FS
	damaged := err == nil && binary.LittleEndian.Uint16(sb[0x3a:])&errorState != 0
	const again = "unpublish and unstage the volume and stage it again, which checks it and grows it unmounted"
	switch capable := mayGrowExt4(); {
	case damaged:
		return fault.InUse, "the kernel has recorded errors in the file system, and does not grow it before it is checked: take a snapshot, then " + again
	case !capable:
		return fault.Denied, "ext4 grows while mounted only with CAP_SYS_RESOURCE, which the node plugin does not have here: add the capability, or " + again
	}
	return fault.InUse, "the node plugin has CAP_SYS_RESOURCE and no errors are recorded, but the kernel refuses it: " + again + "; " + moreInLog
}

// mayGrowExt4 reports whether this process has CAP_SYS_RESOURCE in effect.
func mayGrowExt4() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}
