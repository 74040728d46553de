package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// takeAway calls one, which unmounts it, for every mount at a path, from the top, and returns the path as the mount
// table shows it; empty where there is no such path.
func takeAway(ctx context.Context, t *task, path string, one func(table, entry) error) (point string, err error) {
	if point, err = resolve(ctx, t, path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	for err == nil {
		mounts, err := readTable()
		if err != nil {
			return point, err
		}
		e, mounted := mounts.at(point)
		if !mounted {
			return point, nil
		}
		if err := one(mounts, e); err != nil {
			return point, err
		}
	}
	return point, err
}

// unmount takes away what is seen at point. It never follows a symbolic link there.
func (b *Block) unmount(ctx context.Context, t *task, point string, flags int) error {
	err := t.run(ctx, "unmount", point, func() error { return unix.Unmount(point, flags|unix.UMOUNT_NOFOLLOW) })
	switch {
	case errors.Is(err, unix.EBUSY):
		return &fault.Error{Op: "unmount", Subject: point, Kind: fault.InUse, Message: "it is in use" + holders(point), Err: err}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // somebody else was faster
		return nil
	case isErrno(err, unix.EPERM, unix.EACCES):
		return kernelError("unmount", point, err)
	}
	return err
}

// holders says what keeps a mount from going: other mounts below it, or processes that use its files; those of another
// container may not be visible.
func holders(point string) string {
	var found []string
	if mounts, err := readTable(); err == nil {
		for _, e := range mounts.below(point) {
			found = append(found, fmt.Sprintf("%s (%s) is mounted below it at %s: unmount it there first", e.source, e.fsType, e.point))
		}
	}
	at := func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && within(target, point)
	}
	for _, p := range processesWith(at) {
		found = append(found, "process "+p+" uses it")
	}
	if len(found) == 0 {
		return "; no process of it is visible from here: look in other containers with fuser -m"
	}
	return ": " + strings.Join(found, "; ")
}

// below returns what is mounted below a point, on the mount that is seen there.
func (t table) below(point string) []entry {
	e, ok := t.at(point)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(t), func(f entry) bool { return f.parent != e.id || f.id == e.id || f.point == point })
}

const namedProcesses = 3 // an error names so many at most

// processesWith names processes with a working directory or an open file, by its link in /proc, for which uses says yes.
func processesWith(uses func(link string) bool) []string {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the patterns are constant
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var found []string
	seen := map[string]bool{}
	for _, link := range append(links, files...) {
		pid := strings.Split(link, "/")[2]
		if seen[pid] || !uses(link) {
			continue
		}
		seen[pid] = true
		if found = append(found, processName(pid)); len(found) == namedProcesses {
			break
		}
	}
	return found
}

func processName(pid string) string {
	name, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	return fmt.Sprintf("%s (%s)", pid, strings.TrimSpace(string(name)))
}

// removeTarget removes the empty file or directory that Publish made.
func removeTarget(point string) error {
	st, err := os.Lstat(point)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().IsRegular() && st.Size() > 0:
		return fault.New(fault.InUse, "remove", point, "it is a file with content, which this driver did not write; move it away")
	case !st.IsDir() && !st.Mode().IsRegular():
		return fault.New(fault.InUse, "remove", point, "it is neither a directory nor a file; it was left alone")
	}
	err = os.Remove(point)
	if isErrno(err, unix.ENOTEMPTY, unix.EEXIST) {
		return fault.New(fault.InUse, "remove", point, "the directory holds files that were written while nothing was mounted there; move them away")
	}
	return err
}
