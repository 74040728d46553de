package mount

import (
	"context"
	"encoding/binary"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// forcesCheck is the e2fsck that checks a whole ext4 with the feature orphan_file, which Debian 13's mkfs gives it, after every
// unclean stop: it takes a mark of the stop, which only the first superblock has, for damage ("primary superblock features
// different from backup, check forced"). Earlier ones refuse the feature, 1.47.1 leaves the mark out of account.
const forcesCheck = "e2fsck 1.47.0 "

// replayFirst lets the kernel do what it would do at the mount anyway, replay the journal and remove orphans, before an e2fsck
// that would check the whole disk for it. A file system that is marked as damaged is left to e2fsck, as is one that the kernel
// does not mount; what the kernel finds out is in the superblock, where e2fsck reads it.
func (b *Block) replayFirst(ctx context.Context, t *task, d device) error {
	stopped := false
	err := t.run(ctx, "read superblock", d.node, func() (err error) {
		stopped, err = uncleanOrphans(d)
		return err
	})
	if err != nil || !stopped {
		return err
	}
	if version, err := b.tools.version(ctx, t, "e2fsck"); err != nil || !strings.HasPrefix(version, forcesCheck) {
		return err
	}
	if err := b.sysfs.verify(d); err != nil {
		return err
	}
	err = t.run(ctx, "replay journal", d.node, func() error {
		if tree, err := detachedMount(d.node, volume.Ext4, nil, 0); err == nil {
			return os.NewSyscallError("close", unix.Close(tree))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.exclusive(ctx, t, d) // e2fsck needs it alone
}

// uncleanOrphans reports whether an ext4 was not unmounted, may have orphans in a file for that, and knows of no error.
// https://docs.kernel.org/filesystems/ext4/super.html and orphan.html
func uncleanOrphans(d device) (bool, error) {
	f, err := d.open(os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	sb, err := superblock(f)
	const errorState, orphanPresent = 0x2, 0x10000
	state, features := binary.LittleEndian.Uint16(sb[0x3a:]), binary.LittleEndian.Uint32(sb[0x64:])
	return features&orphanPresent != 0 && state&errorState == 0, err
}
