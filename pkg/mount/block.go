package mount

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Config says where a node finds its disks. Empty fields have the defaults.
type Config struct {
	DeviceRoot string        // default /dev
	SysfsRoot  string        // default /sys
	DeviceWait time.Duration // longest wait for a disk to appear or grow, default 1 minute; a shorter deadline goes first
}

// Block executes plans for block devices. Every method is idempotent, may be called concurrently, and answers at its
// context's deadline even if the kernel does not: then the volume stays taken (fault.Pending) until the kernel has
// answered. Paths must be absolute; the mount point itself must not be a symbolic link.
type Block struct {
	sysfs      sysfs
	deviceWait time.Duration
	tools      toolbox
	keep       keeper
	asked      requests
}

// blockPackages have the tools that a Block runs.
const blockPackages = "e2fsprogs, xfsprogs, btrfs-progs, fdisk and util-linux"

// NewBlock makes a Block. Drain it before the process ends.
func NewBlock(cfg Config) *Block {
	b := &Block{
		sysfs:      sysfs{deviceRoot: cfg.DeviceRoot, sysfsRoot: cfg.SysfsRoot},
		deviceWait: cfg.DeviceWait, tools: standardTools(blockPackages), keep: keeper{tasks: map[string]*task{}},
		asked: requests{byPoint: map[string]request{}},
	}
	if b.sysfs.deviceRoot == "" {
		b.sysfs.deviceRoot = "/dev"
	}
	if b.sysfs.sysfsRoot == "" {
		b.sysfs.sysfsRoot = "/sys"
	}
	if b.deviceWait == 0 {
		b.deviceWait = time.Minute
	}
	return b
}

// Drain waits until every system call and tool has come back that outlived its caller, at most until ctx ends.
func (b *Block) Drain(ctx context.Context) error { return b.keep.drain(ctx) }

// Finish says of each tool that writes to a disk now what it does, since when, and how far it is. The process must not end
// before, where its end would be theirs too. From the first call on no tool begins that writes (fault.Unavailable), except what
// is the rest of a change that was begun.
func (b *Block) Finish() []string { return b.keep.finish() }

// Stage makes the plan's disk ready: it waits for the disk, makes or checks the file system, mounts it on stagingPath,
// an existing directory, and grows the file system to the disk's size, its partition first where it has one. For a raw plan it only proves that the disk is there.
//
// Kinds: Unavailable (the disk has not appeared), InUse (the disk's content or another user forbids it), Conflict (the
// path has another mount, or the disk another identity), Invalid (path, options), Pending and UnknownOutcome (deadline).
func (b *Block) Stage(ctx context.Context, plan volume.BlockPlan, stagingPath string) error {
	return b.work(ctx, "stage", plan.Handle, func(t *task) error {
		disk, err := b.sysfs.wait(ctx, t, plan.Serial, 0, b.deviceWait)
		if err != nil || plan.Raw {
			return err
		}
		point, err := resolve(ctx, t, stagingPath)
		if err != nil {
			return err
		}
		return b.stage(ctx, t, disk, plan, point)
	})
}

// stage mounts the plan's disk at the first of the volume's own points. What is dead at them is taken away.
func (b *Block) stage(ctx context.Context, t *task, disk device, plan volume.BlockPlan, own ...string) error {
	point := own[0]
	d, mounted, err := b.staged(ctx, t, disk, plan, own...)
	if err != nil {
		return err
	}
	if !mounted {
		if err := unused(disk, point); err != nil {
			return err
		}
		if d, err = b.prepare(ctx, t, disk, plan); err != nil {
			return err
		}
		if err := b.mountPrepared(ctx, t, disk, d, plan, point); err != nil {
			return err
		}
	}
	return b.growStaged(ctx, t, d, plan, point)
}

// work runs fn as the volume's only operation.
func (b *Block) work(ctx context.Context, op, handle string, fn func(*task) error) error {
	t, err := b.keep.begin(ctx, handle)
	if err != nil {
		return fault.Wrap(op, handle, err)
	}
	defer t.end()
	return fault.Wrap(op, handle, fn(t))
}

// resolve returns the path as the mount table shows it: parents may be symbolic links, the last part may not.
func resolve(ctx context.Context, t *task, path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return "", fault.New(fault.Invalid, "check path", path, "it must be absolute, without . and .. parts, and not the root")
	}
	var real string
	err := t.run(ctx, "look up", path, func() error {
		parent, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return kernelError("look up", path, err)
		}
		real = filepath.Join(parent, filepath.Base(path))
		var st unix.Stat_t
		if unix.Lstat(real, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return fault.New(fault.Invalid, "check path", path, "it is a symbolic link; a mount point must not be one")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return real, nil
}

// staged reports whether the plan's mount is at the first of its own points already, and of what: the disk or its partition.
// A mount of the volume that is of no use any more is taken away; any other mount is a conflict and stays.
func (b *Block) staged(ctx context.Context, t *task, d device, plan volume.BlockPlan, own ...string) (device, bool, error) {
	e, is, err := b.clear(ctx, t, d, plan, own...)
	switch {
	case err != nil:
		return d, false, err
	case is == absent:
		return d, false, nil
	case is == foreign:
		return d, false, fault.New(fault.Conflict, "check mount", e.point, "%s is mounted there, and not disk %s; unmount it first if it is not needed", b.describe(e), d.node)
	}
	if why := b.asked.mismatch(e, plan); why != "" {
		return d, false, fault.New(fault.Conflict, "check mount", e.point, "the disk is mounted there, but %s; unstage it first", why)
	}
	n, _ := e.device()
	return b.sysfs.at(d, n), true, nil
}

// unused proves that neither the disk nor its partition is mounted anywhere in this mount namespace.
func unused(d device, point string) error {
	mounts, err := readTable()
	if err != nil {
		return err
	}
	if others := append(mounts.of(d.number), mounts.of(d.first)...); len(others) > 0 {
		return fault.New(fault.InUse, "mount", point, "disk %s is still mounted at %s; unmount it there first", d.node, others[0].point)
	}
	return nil
}

// mount mounts the verified disk and proves that it is the one that is seen.
func (b *Block) mount(ctx context.Context, t *task, d device, plan volume.BlockPlan, point string) error {
	if err := b.sysfs.verify(d); err != nil {
		return err
	}
	do := func() error {
		log := followKernelLog(d.number, plan.FSType)
		defer log.close()
		return log.explain(mountFS(d.node, plan.FSType, mountOptions(plan), point))
	}
	busy := func(err error) bool { return isErrno(err, unix.EBUSY, unix.EEXIST) } // also while a mount of the same btrfs goes
	err := whileBusy(ctx, busy, func() error { return t.run(ctx, "mount", point, do) })
	if plan.FSType == volume.Btrfs && errors.Is(err, unix.EEXIST) { // a copy beside its source
		if err = b.separateBtrfs(ctx, t, d, plan); err == nil {
			err = t.run(ctx, "mount", point, do)
		}
	}
	if busyErrno(err) {
		return b.inUse(ctx, t, d, "mount", err)
	}
	if err != nil {
		return err
	}
	mounts, err := readTable()
	if err != nil {
		return err
	}
	e, _ := mounts.at(point)
	if n, known := e.device(); !known || n != d.number {
		err := fault.New(fault.Internal, "mount", point, "the kernel mounted %s and not %s", e.source, d.node)
		return errors.Join(err, b.unmount(ctx, t, point, 0))
	}
	b.asked.remember(e, plan.Options)
	return nil
}

// Unstage takes the volume's mount away from stagingPath, and proves that the kernel has let go of the disk. What is not
// mounted is no error; a mount of another disk is a Conflict, one that is still published or in use is InUse, and both stay.
// InUse is also a disk that a mount in another mount namespace or a process holds; the error names them.
func (b *Block) Unstage(ctx context.Context, handle, stagingPath string) error {
	return b.work(ctx, "unstage", handle, func(t *task) error {
		_, err := takeAway(ctx, t, stagingPath, func(mounts table, e entry) error {
			n, flags, err := b.owned(e, handle)
			if err != nil {
				return err
			}
			if others := mounts.apart(mounts.like(e), e.point); len(others) > 0 {
				return fault.New(fault.InUse, "unmount", e.point, "the volume is still published at %s; unpublish it there first", others[0].point)
			}
			if err = b.unmount(ctx, t, e.point, flags); err == nil {
				b.asked.forget(e.point)
			}
			if err == nil && e.readOnly() {
				b.release(ctx, t, n)
			}
			return err
		})
		if err != nil {
			return err
		}
		return b.released(ctx, t, handle)
	})
}

func serialOf(handle string) string { return strings.ReplaceAll(handle, "-", "") }
