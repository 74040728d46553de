package mount

import (
	"context"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Stats is how full a volume is.
type Stats struct {
	Raw                                      bool // only TotalBytes is known
	TotalBytes, UsedBytes, AvailableBytes    int64
	TotalInodes, UsedInodes, AvailableInodes int64 // zero where the file system has no fixed number (btrfs)
	// Failed says that the kernel found an error in the file system, and made it read-only where it can.
	Failed bool
}

// Stats measures the volume at path, a staging or a target path. Kinds: NotFound (nothing is mounted there, or another
// disk), Unavailable (the mount no longer answers, or its disk is gone), UnknownOutcome (deadline).
func (b *Block) Stats(ctx context.Context, handle, path string) (Stats, error) {
	var s Stats
	err := b.work(ctx, "measure", handle, func(t *task) error {
		point, e, raw, err := b.seen(ctx, t, path)
		if err != nil {
			return err
		}
		mounts, err := readTable()
		if err != nil {
			return err
		}
		isGone, err := b.sysfs.gone(e)
		if err != nil {
			return err
		}
		if isGone { // what the kernel has in memory would still answer
			return fault.New(fault.Unavailable, "check mount", point, "the disk of this mount is gone, and nothing that is written to it is kept; delete the pods that have it: it is mounted again for the next one")
		}
		n, _, err := b.owned(e, handle)
		if err != nil {
			return fault.New(fault.NotFound, "check mount", point, "%s is mounted there, and not volume %s", b.describe(e), handle)
		}
		return t.run(ctx, "measure", point, func() (err error) {
			if raw {
				s, err = b.rawStats(n)
			} else {
				s, err = e.stats()
			}
			if err == nil && slices.Contains(e.super, shutDown) {
				err = unix.EIO
			}
			if corrupted(err) || errors.Is(err, errNoDevice) {
				err = &fault.Error{Op: "measure", Subject: point, Kind: fault.Unavailable, Message: "the mount no longer answers", Err: err}
			}
			s.Failed = !raw && (mounts.failed(e) || ext4Errors(n))
			return err
		})
	})
	if err != nil {
		return Stats{}, err
	}
	return s, nil
}

func (b *Block) rawStats(n devno) (Stats, error) {
	d, err := b.sysfs.byNumber(n)
	if err != nil {
		return Stats{}, err
	}
	size, err := d.bytes()
	return Stats{Raw: true, TotalBytes: size}, err
}

func (e entry) stats() (Stats, error) {
	dir, err := e.openDir()
	if err != nil {
		return Stats{}, err
	}
	defer func() { _ = dir.Close() }()
	return statsOf(dir)
}

func statsOf(dir *os.File) (Stats, error) {
	if err := answers(dir); err != nil {
		return Stats{}, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return Stats{}, &os.PathError{Op: "statfs", Path: dir.Name(), Err: err}
	}
	block := st.Frsize
	return Stats{
		TotalBytes: int64(st.Blocks) * block, UsedBytes: int64(st.Blocks-st.Bfree) * block, AvailableBytes: int64(st.Bavail) * block,
		TotalInodes: int64(st.Files), UsedInodes: int64(st.Files - st.Ffree), AvailableInodes: int64(st.Ffree),
	}, nil
}
