package objectmount

import (
	"strings"

	"golang.org/x/sys/unix"
)

// abort ends all requests to a FUSE file system, so that whoever waits for it gets an error at once. It is best effort: the
// death of the program does the same, unless that hangs itself. fusectl is mounted where only this call sees it.
// https://docs.kernel.org/filesystems/fuse.html#control-filesystem
func abort(device string) {
	_, minor, ok := strings.Cut(device, ":")
	if !ok {
		return
	}
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fs) }() // best effort, as all of it
	if unix.FsconfigCreate(fs) != nil {
		return
	}
	tree, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(tree) }()
	file, err := unix.Openat(tree, minor+"/abort", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = unix.Write(file, []byte("1"))
	_ = unix.Close(file)
}
