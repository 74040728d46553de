package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// batch is how many names of a directory are read at once.
const batch = 1000

// Remove ends a directory whose volume was deleted, as its marker and the removal agree: with all that is in it, or by
// another name. It may be cut short anywhere and called again; nil means that it is done, or that there was never
// anything. removed is told how many files went.
//
// Kinds: InUse (not ours, another volume lies in it, or this node has files of it open), Conflict (a user has put something
// else in its place), Invalid (the path), Pending (ctx ended; call again).
func Remove(ctx context.Context, root *os.Root, r volume.Removal, removed func(files int)) error {
	if err := check(r.Path); err != nil {
		return err
	}
	if err := errors.Join(ordinary(root, volume.Reserved), ordinary(root, path.Dir(r.Path))); err != nil {
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
	if r.OnDelete != volume.Retain { // of which only the marker goes
		if err := end(ctx, root, m, removed); err != nil {
			return err
		}
	}
	if err := root.Remove(local(volume.MarkerPath(r.Path))); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // another janitor was faster
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
		if e.IsDir() || strings.Contains(e.Name(), ".") { // being removed, or a marker that is not in its place
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

// end removes or archives the directory. From its first step on the path is no volume's: Make refuses it.
func end(ctx context.Context, root *os.Root, m marker, removed func(int)) error {
	if m.State != removing {
		m.State = removing
		if err := update(root, m); err != nil {
			return err
		}
	}
	parent, err := open(root, path.Dir(m.Path), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent != nil {
		defer func() { _ = parent.Close() }()
	}
	if m.OnDelete == volume.Archive {
		return archive(parent, m)
	}
	return removeAll(ctx, root, parent, m, removed)
}

// removeAll takes the directory out of its users' sight at once, and then removes it file by file.
func removeAll(ctx context.Context, root *os.Root, parent *os.File, m marker, removed func(int)) error {
	reserved, err := open(root, volume.Reserved, false)
	if err != nil {
		return err
	}
	defer func() { _ = reserved.Close() }()
	name := path.Base(volume.MarkerPath(m.Path)) + ".removed"
	dir, err := openAt(reserved, name)
	if errors.Is(err, fs.ErrNotExist) { // otherwise an earlier call has moved it, and what is at the path now is not ours
		dir, err = move(parent, m, reserved, name)
	}
	if err != nil || dir == nil {
		return noDirectory(m.Path, err)
	}
	err = empty(ctx, dir, "", removed)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	return remove(reserved, name, unix.AT_REMOVEDIR)
}

// archive gives the directory a name that no other has.
func archive(parent *os.File, m marker) error {
	name := volume.ArchivedPrefix + path.Base(m.Path)
	for n, to := 1, name; ; n++ {
		if n > 1 {
			to = fmt.Sprintf("%s-%d", name, n)
		}
		dir, err := move(parent, m, parent, to)
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case err != nil || dir == nil:
			return err
		}
		return dir.Close()
	}
}

// move renames the volume's directory and opens it by its new name; nil means that it is gone. Anything but a directory
// stays as it is. Where the new name is taken the error is fs.ErrExist.
func move(parent *os.File, m marker, to *os.File, name string) (*os.File, error) {
	if parent == nil {
		return nil, nil
	}
	last := path.Base(m.Path)
	now, err := openAt(parent, last)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, noDirectory(m.Path, err)
	}
	if err := now.Close(); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := call("look at", name, func() error { return unix.Fstatat(int(to.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) }); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, fs.ErrExist)
	}
	err = call("rename", m.Path, func() error { return unix.Renameat(int(parent.Fd()), last, int(to.Fd()), name) })
	switch {
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.ENOTDIR): // another was faster
		return nil, errors.Join(err, fs.ErrExist)
	case err != nil:
		return nil, err
	}
	dir, err := openAt(to, name)
	if err != nil { // a user has put something else there since; it goes back
		return nil, errors.Join(noDirectory(m.Path, err), unix.Renameat(int(to.Fd()), name, int(parent.Fd()), last))
	}
	return dir, nil
}

// empty removes all that is in a directory, whose path below the volume is where. It follows no symbolic link, and goes on
// after a file that this node has open.
func empty(ctx context.Context, dir *os.File, where string, removed func(int)) error {
	for {
		entries, err := names(dir)
		if err != nil {
			return err
		}
		var open error
		gone := 0
		for _, e := range entries {
			if ctx.Err() != nil {
				return fault.New(fault.Pending, "remove directory", where, "it goes on with the next call")
			}
			err := removeOne(ctx, dir, e, path.Join(where, e.Name()), removed)
			switch {
			case err == nil:
				gone++
			case fault.Is(err, fault.InUse):
				open = err
			default:
				return err
			}
		}
		removed(gone)
		if gone == 0 {
			return open
		}
	}
}

func removeOne(ctx context.Context, dir *os.File, e fs.DirEntry, where string, removed func(int)) error {
	if !e.IsDir() {
		return heldOpen(where, remove(dir, e.Name(), 0))
	}
	below, err := openAt(dir, e.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another janitor was faster
	}
	if err != nil {
		return err
	}
	if err := errors.Join(empty(ctx, below, where, removed), below.Close()); err != nil {
		return err
	}
	return remove(dir, e.Name(), unix.AT_REMOVEDIR)
}

// heldOpen explains that a file cannot be removed. Linux's NFS client renames a file to .nfs… that is deleted while one of
// its own processes has it open, and refuses to delete that (EBUSY, nfs_sillyrename in fs/nfs/dir.c). What other nodes have
// open can be removed; their processes then get ESTALE.
func heldOpen(where string, err error) error {
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	return &fault.Error{Op: "remove", Subject: where, Kind: fault.InUse, Err: err,
		Message: "a process on this node still has the file open; end it (fuser or lsof name it), and the next round removes the file"}
}
