package devices

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	suffix = ".img"
	// copyPasses is how often Copy begins again when the source was written meanwhile.
	copyPasses = 20
	// copyStep is the most bytes copied between two looks at the context.
	copyStep = 64 << 20
)

func (t *Tree) image(id string) string { return filepath.Join(t.dir, "images", id+suffix) }

// CreateVolume implements [storage.Storage].
func (t *Tree) CreateVolume(_ context.Context, volumeID string, sizeBytes int64) error {
	if err := checkIDs(volumeID); err != nil {
		return err
	}
	f, err := os.OpenFile(t.image(volumeID), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(enlarge(f, sizeBytes), f.Close())
}

// enlarge makes the file at least that large, without writing.
func enlarge(f *os.File, sizeBytes int64) error {
	st, err := f.Stat()
	if err != nil || st.Size() >= sizeBytes {
		return err
	}
	return f.Truncate(sizeBytes)
}

// Grow implements [storage.Storage]. A smaller size changes nothing.
func (t *Tree) Grow(_ context.Context, volumeID string, sizeBytes int64) error {
	if err := checkIDs(volumeID); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := os.OpenFile(t.image(volumeID), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(enlarge(f, sizeBytes), f.Close()); err != nil {
		return err
	}
	n, held := t.loop(volumeID)
	if !held {
		return nil
	}
	if err := growLoop(n); err != nil {
		return fmt.Errorf("grow %s: %w", volumeID, err)
	}
	bytes, err := loopBytes(n)
	if err != nil {
		return err
	}
	shown, err := t.shown()
	if err != nil {
		return err
	}
	for _, tree := range shown[volumeID] {
		if err := tree.resize(volumeID, bytes); err != nil {
			return err
		}
	}
	return nil
}

// Remove implements [storage.Storage]. An attached volume is refused.
func (t *Tree) Remove(_ context.Context, id string) error {
	if err := checkIDs(id); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	shown, err := t.shown()
	if err != nil {
		return err
	}
	if len(shown[id]) > 0 {
		return fmt.Errorf("remove %s: an instance still shows it", id)
	}
	for _, path := range []string{t.image(id), t.image(id) + ".new"} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// Copy implements [storage.Storage]. The target appears complete or not at all, and holds the source's bytes of one
// moment: a source that is written meanwhile is copied again. As a real snapshot it has what was written to the disk by
// then, and not what a kernel has in memory for it: neither a file system's nor the block device's page cache.
func (t *Tree) Copy(ctx context.Context, fromID, toID string, sizeBytes int64) error {
	if err := checkIDs(fromID, toID); err != nil {
		return err
	}
	if _, err := os.Stat(t.image(toID)); err == nil { // done before a crash
		return nil
	}
	tmp := t.image(toID) + ".new"
	defer func() { _ = os.Remove(tmp) }()
	for range copyPasses {
		before, err := os.Stat(t.image(fromID))
		if err != nil {
			return fmt.Errorf("copy %s to %s: %w", fromID, toID, err)
		}
		if err := copySparse(ctx, t.image(fromID), tmp, sizeBytes); err != nil {
			return fmt.Errorf("copy %s to %s: %w", fromID, toID, err)
		}
		after, err := os.Stat(t.image(fromID))
		if err != nil {
			return err
		}
		if after.ModTime().Equal(before.ModTime()) {
			return os.Rename(tmp, t.image(toID))
		}
	}
	return fmt.Errorf("copy %s to %s: the source was written during each of %d passes", fromID, toID, copyPasses)
}

// copySparse copies the data extents of a file; holes stay holes.
func copySparse(ctx context.Context, from, to string, sizeBytes int64) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = dst.Close() }()
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := dst.Truncate(max(size, sizeBytes)); err != nil {
		return err
	}
	for pos := int64(0); pos < size; {
		start, err := src.Seek(pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			break
		}
		if err != nil {
			return err
		}
		if pos, err = src.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := copyExtent(ctx, src, dst, start, pos); err != nil {
			return err
		}
	}
	return dst.Sync()
}

func copyExtent(ctx context.Context, src, dst *os.File, start, end int64) error {
	for in, out := start, start; in < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.CopyFileRange(int(src.Fd()), &in, int(dst.Fd()), &out, int(min(end-in, copyStep)), 0)
		if err != nil {
			return err
		}
		if n == 0 { // cut short by somebody
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}
