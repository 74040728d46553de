package mount

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// openDir opens the root directory of a mount that the table shows. What lies on the path is only opened after the
// kernel has said that it is this mount and a directory: programs that write to the volume can put anything else
// there, such as a FIFO, whose open(2) waits for ever.
func (e entry) openDir() (*os.File, error) {
	at, err := e.pin(unix.S_IFDIR)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(at) }()
	fd, err := unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: e.point, Err: err}
	}
	return os.NewFile(uintptr(fd), e.point), nil
}

// pin returns a descriptor (O_PATH) of what is mounted at the entry's point, proven to be the entry's mount and of that
// type. It asks no server of a network file system.
func (e entry) pin(fileType uint16) (int, error) {
	at, err := unix.Open(e.point, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: e.point, Err: err}
	}
	var st unix.Statx_t
	err = unix.Statx(at, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_MNT_ID, &st)
	switch {
	case err != nil:
		err = &os.PathError{Op: "statx", Path: e.point, Err: err}
	case st.Mask&unix.STATX_MNT_ID == 0:
		err = kernelError("open", e.point, unix.ENOSYS)
	case st.Mnt_id != uint64(e.id):
		err = fault.New(fault.Unavailable, "open", e.point, "another file system has been mounted there since the mount table was read; try again")
	case st.Mode&unix.S_IFMT != fileType:
		err = fault.New(fault.Conflict, "open", e.point, "what is mounted there is of another type than expected (mode %#o); it was not opened", st.Mode)
	}
	if err != nil {
		_ = unix.Close(at)
		return -1, err
	}
	return at, nil
}

// open opens the disk's node for reading, proven to be the disk's.
func (d device) open(flags int) (*os.File, error) {
	f, err := os.OpenFile(d.node, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFBLK || number(st.Rdev) != d.number) {
		err = fault.New(fault.Conflict, "open", d.node, "the node is not block device %s; nothing was touched", d.number)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// alive proves that a mounted file system answers and, if it is mounted for writing, can write. Not every kernel shows that
// it has ended writing after an error, but all let fsync(2) fail then, which is asked of the root directory: EROFS or EIO.
func alive(e entry) error {
	dir, err := e.openDir()
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := answers(dir); err != nil {
		return err
	}
	if err := unix.Fsync(int(dir.Fd())); isErrno(err, unix.EROFS, unix.EIO, unix.ESHUTDOWN, unix.EUCLEAN) {
		return &os.PathError{Op: "fsync", Path: e.point, Err: err}
	}
	return nil
}

// answers proves that a directory can be read.
func answers(dir *os.File) error {
	_, err := dir.Readdirnames(1)
	if err != nil && !isErrno(err, unix.EIO, unix.ESTALE, unix.ENOTCONN) { // io.EOF: empty
		return nil
	}
	return err
}
