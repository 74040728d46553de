package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// unreplayed is why a disk on which nothing may be written is not mounted: without its journal it would lack what was
// written last, or look empty.
const unreplayed = "it was not unmounted cleanly, and without its journal, which cannot be replayed while the disk is read-only, it would show an old state; " +
	"it was not mounted. Mount it once for writing on one node (access mode SINGLE_NODE_WRITER), unmount it, and use it again"

// mountPrepared mounts what prepare returned. Where no byte may change, since several nodes read the disk, its read-only flag
// makes sure of that: so the kernel mounts what is clean and refuses what has a journal to replay.
func (b *Block) mountPrepared(ctx context.Context, t *task, disk, d device, plan volume.BlockPlan, point string) error {
	if !plan.Clean {
		return b.mount(ctx, t, d, plan, point)
	}
	err := t.run(ctx, "guard", disk.node, func() error {
		if pending, err := journalPending(d, plan.FSType); err != nil || pending {
			return errors.Join(err, fault.New(fault.InUse, "mount", d.node, "%s", unreplayed))
		}
		return guard(disk, true, "")
	})
	if err != nil {
		return err
	}
	err = b.mount(ctx, t, d, plan, point)
	if err != nil && !fault.Is(err, fault.UnknownOutcome) { // which may still come to be mounted
		b.release(ctx, t, disk.number)
	}
	return err
}

// journalPending reports whether the superblock says that the file system was not unmounted cleanly. That of xfs does not
// say so: there it is the kernel that refuses.
func journalPending(d device, fsType string) (bool, error) {
	if fsType == volume.Btrfs {
		sb, err := readBtrfsSuper(d.node)
		return sb.pending, err
	}
	if fsType != volume.Ext4 {
		return false, nil
	}
	f, err := d.open(os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	sb, err := superblock(f)
	const valid, recover = 0x1, 0x4 // EXT4_VALID_FS, EXT4_FEATURE_INCOMPAT_RECOVER
	return binary.LittleEndian.Uint16(sb[0x3a:])&valid == 0 || binary.LittleEndian.Uint32(sb[0x60:])&recover != 0, err
}

// guard sets or clears the kernel's read-only flag on a disk. The flag holds for all users of the disk on this node, and is
// therefore only changed while there are none; the path except is not counted.
func guard(d device, readOnly bool, except string) error {
	f, err := d.open(os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	is, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
	if err != nil || (is != 0) == readOnly {
		return err
	}
	mounts, err := readTable()
	if err != nil {
		return err
	}
	if others := rawTargets(mounts, d, except); len(others) > 0 {
		return fault.New(fault.InUse, "guard", d.node, "the disk is published at %s with read-only %t; a disk is either for readers or for writers on one node", others[0], !readOnly)
	}
	flag := 0
	if readOnly {
		flag = 1
	}
	return setReadOnly(d, flag)
}

// setReadOnly sets the kernel's flag while it holds the disk exclusively.
func setReadOnly(d device, flag int) error {
	f, err := d.open(os.O_RDONLY | unix.O_EXCL)
	if errors.Is(err, unix.EBUSY) {
		return fault.New(fault.InUse, "guard", d.node, "the disk is mounted or in use, so that it cannot change between read-only and writable")
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return kernelError("guard", d.node, unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, flag))
}

// release makes the disk writable again after its last read-only mount or target. What uses it next does so too, if this
// did not work.
func (b *Block) release(ctx context.Context, t *task, n devno) {
	_ = t.run(ctx, "guard", n.String(), func() error {
		d, err := b.sysfs.byNumber(n)
		if err != nil {
			return err
		}
		return guard(d, false, "")
	})
}
