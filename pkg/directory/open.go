package directory

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// open opens a directory of the file system, part by part, and makes the parts that are missing if asked to. It follows no
// symbolic link, which a user of the file system could have put there to lead us to another volume's files.
//
// Kinds: Conflict (a part is no directory). A part that is missing is fs.ErrNotExist. The caller closes what is returned.
func open(root *os.Root, p string, create bool) (*os.File, error) {
	at, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	done := ""
	for part := range strings.SplitSeq(local(p), "/") {
		if part == "" { // the root itself
			continue
		}
		done += "/" + part
		if create {
			if err := call("mkdir", done, func() error { return unix.Mkdirat(int(at.Fd()), part, 0o755) }); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, errors.Join(err, at.Close())
			}
		}
		next, err := openAt(at, part)
		if err := errors.Join(noDirectory(done, err), at.Close()); err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// ordinary proves that open would follow no symbolic link. A part that does not exist is none.
func ordinary(root *os.Root, p string) error {
	f, err := open(root, p, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// openAt opens a directory in another one. It neither waits nor follows a link whatever has that name: ENOTDIR then.
func openAt(dir *os.File, name string) (f *os.File, err error) {
	err = call("open", name, func() error {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			f = os.NewFile(uintptr(fd), name)
		}
		return err
	})
	return f, err
}

// noDirectory gives what is no directory its kind.
func noDirectory(p string, err error) error {
	if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return err
	}
	return fault.New(fault.Conflict, "open", p, "it is not a directory, but a symbolic link or a file that a user of the file system has put there; "+
		"it was left alone: put the directory back, or remove what is in its place")
}

// names reads some of a directory's entries; none if it is empty.
func names(dir *os.File) ([]fs.DirEntry, error) {
	f, err := openAt(dir, ".") // from the beginning, since the caller removes what it has read
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(batch)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return entries, errors.Join(err, f.Close())
}

// remove removes a name from a directory; one that is gone already, as by another janitor, is no error.
func remove(dir *os.File, name string, flags int) error {
	err := call("remove", name, func() error { return unix.Unlinkat(int(dir.Fd()), name, flags) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// call makes a system call, again if a signal cut it short, and says what failed.
func call(op, subject string, do func() error) error {
	for {
		switch err := do(); {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &fs.PathError{Op: op, Path: subject, Err: err}
		}
	}
}
