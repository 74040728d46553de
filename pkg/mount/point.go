package mount

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Layer is one of the mounts that lie on one another at a path.
type Layer struct {
	ID       int    // see statx(2), STATX_MNT_ID
	Device   string // "major:minor" of the file system
	FSType   string
	Source   string
	ReadOnly bool
}

// Place returns a path as the mount table shows it: absolute, without symbolic links before its last part. It does not
// look at what is mounted there, which may hang.
func Place(path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return "", fault.New(fault.Invalid, "check path", path, "it must be absolute, without . and .. parts, and not the root")
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", kernelError("look up", path, err)
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}

// Layers returns what is mounted at a point that [Place] returned; the last layer is the one that is seen.
func Layers(point string) ([]Layer, error) {
	mounts, err := readTable()
	if err != nil {
		return nil, err
	}
	var out []Layer
	for _, e := range mounts.stack(point) {
		out = append(out, Layer{ID: e.id, Device: e.number.String(), FSType: e.fsType, Source: e.source, ReadOnly: e.readOnly()})
	}
	return out, nil
}

// Below returns the points below a folder at which a file system from that source is mounted.
func Below(dir, source string) ([]string, error) {
	mounts, err := readTable()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range mounts {
		if e.source == source && strings.HasPrefix(e.point, dir+"/") {
			out = append(out, e.point)
		}
	}
	return out, nil
}

// Shield mounts a tmpfs on point that is empty and stays so: whoever gets to see it can write nothing, root included.
func Shield(point, source string) error {
	return mountFS(source, "tmpfs", []string{"ro", "size=4k", "nr_inodes=1", "nosuid", "nodev", "noexec"}, point)
}

// Scratch mounts a tmpfs of so many bytes on point, for the owner only.
func Scratch(point, source, size string) error {
	return mountFS(source, "tmpfs", []string{"size=" + size, "mode=700", "nosuid", "nodev", "noexec"}, point)
}

// Bind makes what is seen at source visible at target as well; read-only from the first moment on if asked for. What is
// mounted on it later, or taken away, concerns only those who see the target, not the source or its other targets.
func Bind(source, target string, readOnly bool) error { return bind(source, target, readOnly, true) }

// MakeTarget makes the directory that something is to be bound to.
func MakeTarget(target string) error { return makeTarget(target, false) }

// RemoveTarget removes the empty directory that MakeTarget made; what is not there is no error, and files in it are InUse.
func RemoveTarget(target string) error { return removeTarget(target) }

// Unmount takes away what is seen at a point; lazily also what is in use, which then lives as long as that lasts. It never
// follows a symbolic link. What is not mounted is no error; InUse names processes that use it.
func Unmount(point string, lazily bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazily {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(point, flags)
	switch {
	case errors.Is(err, unix.EBUSY):
		return &fault.Error{Op: "unmount", Subject: point, Kind: fault.InUse, Message: "it is in use" + holders(point), Err: err}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // somebody else was faster
		return nil
	}
	return kernelError("unmount", point, err)
}

// IsDir refuses a point that is no directory. It must not be called where a mount may hang.
func IsDir(point string) error {
	st, err := os.Lstat(point)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Invalid, "check path", point, "it does not exist; make the directory first")
	case err != nil:
		return err
	case !st.IsDir():
		return fault.New(fault.Invalid, "check path", point, "it is no directory")
	}
	return nil
}

// Ask waits until the server of a mount answers statfs(2), however long that takes.
func Ask(point string) error {
	var st unix.Statfs_t
	return os.NewSyscallError("statfs", unix.Statfs(point, &st))
}

// Thaw undoes Freeze.
func Thaw(point string) error {
	return os.NewSyscallError("remount", unix.Mount("", point, "", unix.MS_REMOUNT, ""))
}

// Freeze makes the file system that is mounted at a point read-only for all who see it; EBUSY while somebody has a file of it
// open for writing.
func Freeze(point string) error {
	return unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
}
