package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// holders names processes that use files below the path, as a hint; a process of another container may not be visible.
func holders(path string) string {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the patterns are constant
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var found []string
	seen := map[string]bool{}
	for _, link := range append(links, files...) {
		target, err := os.Readlink(link)
		pid := strings.Split(link, "/")[2]
		if err != nil || seen[pid] || target != path && !strings.HasPrefix(target, path+"/") {
			continue
		}
		seen[pid] = true
		name, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		found = append(found, fmt.Sprintf("%s (%s)", pid, strings.TrimSpace(string(name))))
		if len(found) == 3 {
			break
		}
	}
	if len(found) == 0 {
		return "; no process of it is visible from here: look in other containers with fuser -m"
	}
	return " by process " + strings.Join(found, ", ")
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
