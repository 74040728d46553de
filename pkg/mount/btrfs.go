package mount

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// btrfsSuper is what is read of a btrfs superblock, the one that the kernel mounts by. Its layout is at
// https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html#superblock
type btrfsSuper struct {
	id      [16]byte
	pending bool // what was fsynced last is in a log that the next mount replays
}

func readBtrfsSuper(node string) (btrfsSuper, error) {
	f, err := os.Open(node)
	if err != nil {
		return btrfsSuper{}, err
	}
	defer func() { _ = f.Close() }()
	var sb [4096]byte
	if _, err := f.ReadAt(sb[:], 64<<10); err != nil {
		return btrfsSuper{}, err
	}
	if !bytes.Equal(sb[0x40:0x48], []byte("_BHRfS_M")) {
		return btrfsSuper{}, errors.New("there is no btrfs superblock")
	}
	return btrfsSuper{id: [16]byte(sb[0x20:]), pending: binary.LittleEndian.Uint64(sb[0x60:]) != 0}, nil
}

// separateBtrfs gives a copy of a btrfs file system an id of its own, which kernels before 6.7 need to mount it beside its
// source. It rewrites only what the plan says is a copy, and only where no log is pending: btrfstune drops the log, and what
// it leaves is never mounted again. The caller has proven that the disk is the plan's and that it is not mounted.
func (b *Block) separateBtrfs(ctx context.Context, t *task, d device, plan volume.BlockPlan) error {
	if err := b.sysfs.verify(d); err != nil {
		return err
	}
	if err := b.exclusive(ctx, t, d); err != nil {
		return err
	}
	var own btrfsSuper
	twin := ""
	err := t.run(ctx, "look at", d.node, func() (err error) {
		if own, err = readBtrfsSuper(d.node); err == nil {
			twin, err = mountOfBtrfs(own.id)
		}
		return err
	})
	if err != nil {
		return fault.Wrap("look at", d.node, err)
	}
	var why string
	switch {
	case plan.ReadOnly:
		why = "a read-only volume cannot get an id of its own"
	case plan.Source == "":
		why = "nothing says that this disk is the copy, so it gets no other id"
	case own.pending:
		why = "it was copied while in use and its log is not replayed yet, which another id would destroy"
	default:
		return fault.Wrap("separate the copy from its source", d.node, b.offline(ctx, t, d, "btrfstune", "-m"))
	}
	return fault.New(fault.InUse, "mount", d.node, "this kernel knows a btrfs file system with the same id already (%s): its source or a copy. "+
		"Linux before 6.7 cannot mount both, and %s; nothing was changed. Unstage the other one here, use this volume on a node without it, or run Linux 6.7 or later",
		twin, why)
}

// mountOfBtrfs says where a file system with the id is mounted.
func mountOfBtrfs(id [16]byte) (string, error) {
	mounts, err := readTable()
	if err != nil {
		return "", err
	}
	for _, e := range mounts {
		if _, known := e.device(); e.fsType != volume.Btrfs || !known {
			continue
		}
		if other, err := readBtrfsSuper(e.source); err == nil && other.id == id {
			return "it is mounted at " + e.point, nil
		}
	}
	return "it is mounted nowhere that is visible from here, so that a process has files of an earlier mount open, or the disk was only looked at, which btrfs device scan --forget undoes", nil
}
