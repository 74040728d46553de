package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// batch is how many names of a directory are read at once.
const batch = 1000

// Remove ends a directory whose volume was deleted, as its marker and the removal agree: with all that is in it, or by
// another name. It may be cut short anywhere and called again; nil means that it is done, or that there was never
// anything. removed is told how many files went.
//
// Kinds: InUse (not ours, or another volume lies in it), Invalid (the path), Pending (ctx ended; call again).
func Remove(ctx context.Context, root *os.Root, r volume.Removal, removed func(files int)) error {
	if err := check(r.Path); err != nil {
		return err
	}
	if err := ordinary(root, path.Dir(r.Path)); err != nil {
		return err
	}
	m, ok, err := read(root, r.Path)
	if err != nil {
		return err
	}
	if !ok {
		return neverMade(root, r)
	}
	if m.Cluster != r.Cluster || m.Digest != r.Digest || m.OnDelete != r.OnDelete {
		return fault.New(fault.InUse, "remove directory", r.Path, "it is volume %s's of cluster %s now; it was left alone", m.Name, m.Cluster)
	}
	if err := alone(root, r.Path); err != nil {
		return err
	}
	switch r.OnDelete {
	case volume.Delete:
		err = bury(ctx, root, m, removed)
	case volume.Archive:
		err = archive(root, m)
	default: // retained: only the marker goes
	}
	if err != nil {
		return err
	}
	return root.Remove(local(volume.MarkerPath(r.Path)))
}

// neverMade is the answer for a path without a marker.
func neverMade(root *os.Root, r volume.Removal) error {
	there, err := exists(root, r.Path)
	if err != nil {
		return err
	}
	if there {
		return fault.New(fault.InUse, "remove directory", r.Path, "it has no marker of ours (%s); it was left alone", volume.MarkerPath(r.Path))
	}
	return nil
}

// alone proves that no other volume's directory lies in this one.
func alone(root *os.Root, p string) error {
	entries, err := fs.ReadDir(root.FS(), local(volume.Reserved))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || strings.Contains(e.Name(), ".") { // a grave, or a marker that is not in its place
			continue
		}
		text, err := root.ReadFile(path.Join(local(volume.Reserved), e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		var m marker
		if json.Unmarshal(text, &m) == nil && strings.HasPrefix(m.Path, p+"/") {
			return fault.New(fault.InUse, "remove directory", p, "volume %s of cluster %s lies in it at %s; delete that first", m.Name, m.Cluster, m.Path)
		}
	}
	return nil
}

// bury takes the directory out of its users' sight at once, and then removes it file by file.
func bury(ctx context.Context, root *os.Root, m marker, removed func(int)) error {
	grave := local(volume.MarkerPath(m.Path)) + ".removed"
	if m.State != removing {
		m.State = removing
		if err := update(root, m); err != nil {
			return err
		}
	}
	if err := root.Rename(local(m.Path), grave); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("move %s out of sight: %w", m.Path, err)
	}
	dead, err := root.OpenRoot(grave)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = empty(ctx, dead, removed)
	if err := errors.Join(err, dead.Close()); err != nil {
		return err
	}
	return root.Remove(grave)
}

// empty removes all that is in a directory. It follows no symbolic link.
func empty(ctx context.Context, dir *os.Root, removed func(int)) error {
	for {
		if ctx.Err() != nil {
			return fault.New(fault.Pending, "remove directory", dir.Name(), "it goes on with the next call")
		}
		names, err := names(dir)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, e := range names {
			if err := removeOne(ctx, dir, e, removed); err != nil {
				return err
			}
		}
		removed(len(names))
	}
}

func removeOne(ctx context.Context, dir *os.Root, e fs.DirEntry, removed func(int)) error {
	if !e.IsDir() {
		return dir.Remove(e.Name())
	}
	below, err := dir.OpenRoot(e.Name())
	if err != nil {
		return err
	}
	if err := errors.Join(empty(ctx, below, removed), below.Close()); err != nil {
		return err
	}
	return dir.Remove(e.Name())
}

// names reads some of a directory's entries; none if it is empty.
func names(dir *os.Root) ([]fs.DirEntry, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(batch)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return entries, errors.Join(err, f.Close())
}

// archive gives the directory its last name, once.
func archive(root *os.Root, m marker) error {
	parent, last := path.Split(m.Path)
	to := path.Join(parent, volume.ArchivedPrefix+last)
	taken, err := exists(root, to)
	if err != nil {
		return err
	}
	if taken { // an earlier volume's, or this call's own, cut short
		to += "-" + m.Digest
	}
	err = root.Rename(local(m.Path), local(to))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", m.Path, to, err)
	}
	return nil
}
