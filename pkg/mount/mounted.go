package mount

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// ioctls that golang.org/x/sys does not name; values for amd64 and arm64.
const (
	ext4Resize     = 0x40086610 // EXT4_IOC_RESIZE_FS, linux/ext4.h
	xfsGeometry    = 0x80705864 // XFS_IOC_FSGEOMETRY_V1, xfs_fs.h
	xfsGrowData    = 0x4010586e // XFS_IOC_FSGROWFSDATA, xfs_fs.h
	btrfsResize    = 0x50009403 // BTRFS_IOC_RESIZE, linux/btrfs.h
	btrfsDevInfo   = 0xd000941e // BTRFS_IOC_DEV_INFO
	btrfsFSInfo    = 0x8400941f // BTRFS_IOC_FS_INFO
	xfsGeometryLen = 112
)

// extent is how large a file system is, exactly: statfs counts its overhead out.
type extent struct {
	bytes int64
	slack int64  // a file system may end this much before its disk: it grows in steps
	block int64  // bytes per block
	id    uint64 // btrfs: the disk's number in the file system; xfs: share of inodes in percent
}

func (e extent) reaches(diskBytes int64) bool { return diskBytes-e.bytes < e.slack }

// mounted is a file system by its root directory, and the disk that it is proven to be on.
type mounted struct {
	d      device
	fsType string
	dir    *os.File
	disk   *os.File
}

// openMounted opens the mount's directory and the disk. That the directory is on the disk is proven by what the kernel says
// of the open directory: its device number, or for btrfs, which has an anonymous one, the disk that the file system names.
func openMounted(d device, e entry) (*mounted, error) {
	dir, err := e.openDir()
	if err != nil {
		return nil, err
	}
	m := &mounted{d: d, fsType: e.fsType, dir: dir}
	if m.disk, err = d.open(os.O_RDONLY); err == nil {
		err = m.prove()
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *mounted) close() {
	_ = m.dir.Close()
	if m.disk != nil {
		_ = m.disk.Close()
	}
}

// prove compares the disk with that of the open directory.
func (m *mounted) prove() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(m.dir.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: m.dir.Name(), Err: err}
	}
	is := number(st.Dev)
	if m.fsType == volume.Btrfs {
		info, err := readBtrfs(m.dir)
		if err != nil {
			return fault.Wrap("read file system", m.dir.Name(), err)
		}
		is = devno{}
		if unix.Stat(info.path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			is = number(st.Rdev)
		}
	}
	if is != m.d.number {
		return fault.New(fault.Conflict, "check mount", m.dir.Name(), "what is mounted there is on block device %s and not on %s (%s); nothing was touched", is, m.d.node, m.d.number)
	}
	return nil
}

func (m *mounted) grow() error {
	target, err := m.disk.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	before, err := m.measure()
	if err != nil || before.reaches(target) {
		return err
	}
	log := followKernelLog(m.d.number, m.fsType)
	defer log.close()
	if err := enlarge(m.dir, m.fsType, before, target); err != nil {
		return log.explain(growError(m, before, target, err))
	}
	after, err := m.measure()
	if err != nil {
		return err
	}
	return proveGrown(m.d, m.fsType, before, after, target)
}

// measure reads the size of the file system, through the same descriptors as it grows.
func (m *mounted) measure() (extent, error) {
	var e extent
	var err error
	switch m.fsType {
	case volume.Ext4:
		e, err = measureExt4(m.dir, m.disk)
	case volume.XFS:
		var g [xfsGeometryLen]byte
		err = ioctl(m.dir, xfsGeometry, unsafe.Pointer(&g))
		block := int64(binary.NativeEndian.Uint32(g[0:]))
		e = extent{bytes: int64(binary.NativeEndian.Uint64(g[32:])) * block, block: block, slack: 1 << 20, id: uint64(binary.NativeEndian.Uint32(g[28:]))}
	case volume.Btrfs:
		var info btrfsInfo
		info, err = readBtrfs(m.dir)
		e = extent{bytes: info.bytes, slack: 1 << 20, id: info.id}
	default:
		err = fmt.Errorf("the size of %s is not known", m.fsType)
	}
	if err != nil {
		return extent{}, fault.Wrap("measure file system", m.d.node, err)
	}
	return e, nil
}

// measureExt4 reads the superblock from the disk's page cache, where the kernel's ext4 keeps it: the mounted file system and
// the open disk share it. Since no ioctl tells the size before Linux 6.18, what statfs(2) says of the open directory must
// fit: it counts some of the superblock's blocks as overhead. The layout is at
// https://docs.kernel.org/filesystems/ext4/super.html
func measureExt4(dir, disk *os.File) (extent, error) {
	sb, err := superblock(disk)
	if err != nil {
		return extent{}, err
	}
	blocks := int64(binary.LittleEndian.Uint32(sb[0x4:]))
	if binary.LittleEndian.Uint32(sb[0x60:])&0x80 != 0 { // 64bit
		blocks |= int64(binary.LittleEndian.Uint32(sb[0x150:])) << 32
	}
	block := int64(1024) << (binary.LittleEndian.Uint32(sb[0x18:]) & 0x7)
	group := int64(binary.LittleEndian.Uint32(sb[0x20:])) * block
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return extent{}, &os.PathError{Op: "statfs", Path: dir.Name(), Err: err}
	}
	if st.Type != unix.EXT4_SUPER_MAGIC || st.Bsize != block || int64(st.Blocks) > blocks {
		return extent{}, fmt.Errorf("the superblock on the disk (%d blocks of %d bytes) is not that of what is mounted (%d of %d)", blocks, block, st.Blocks, st.Bsize)
	}
	// A last group that is too small for its own tables is left out. They are much smaller than a group of clusters.
	return extent{bytes: blocks * block, block: block, slack: min(group, 128<<20)}, nil
}

func superblock(disk *os.File) (sb [1024]byte, err error) {
	if _, err = disk.ReadAt(sb[:], 1024); err == nil && binary.LittleEndian.Uint16(sb[0x38:]) != 0xef53 {
		err = errors.New("there is no ext4 superblock")
	}
	return sb, err
}

// clustered reports whether an ext4 has the feature bigalloc.
func clustered(d device) bool {
	f, err := d.open(os.O_RDONLY)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	sb, err := superblock(f)
	return err == nil && binary.LittleEndian.Uint32(sb[0x64:])&0x200 != 0
}

// btrfsInfo is what the kernel says of a btrfs on one disk.
type btrfsInfo struct {
	id    uint64 // the disk's number in the file system
	bytes int64  // of the disk that the file system uses
	path  string // the disk's node, as the kernel knows it
}

// readBtrfs asks for the only disk of a btrfs: struct btrfs_ioctl_dev_info_args, linux/btrfs.h.
func readBtrfs(dir *os.File) (btrfsInfo, error) {
	var info [1024]byte
	if err := ioctl(dir, btrfsFSInfo, unsafe.Pointer(&info)); err != nil {
		return btrfsInfo{}, err
	}
	if n := binary.NativeEndian.Uint64(info[8:]); n != 1 {
		return btrfsInfo{}, fmt.Errorf("the btrfs file system has %d disks; only one is supported", n)
	}
	id := binary.NativeEndian.Uint64(info[0:])
	var dev [4096]byte
	binary.NativeEndian.PutUint64(dev[0:], id)
	if err := ioctl(dir, btrfsDevInfo, unsafe.Pointer(&dev)); err != nil {
		return btrfsInfo{}, err
	}
	return btrfsInfo{id: id, bytes: int64(binary.NativeEndian.Uint64(dev[32:])), path: unix.ByteSliceToString(dev[4096-1024:])}, nil
}

func enlarge(dir *os.File, fsType string, now extent, target int64) error {
	switch fsType {
	case volume.Ext4:
		blocks := uint64(target / now.block)
		return ioctl(dir, ext4Resize, unsafe.Pointer(&blocks))
	case volume.XFS:
		request := struct {
			blocks       uint64
			inodePercent uint32
			_            uint32
		}{blocks: uint64(target / now.block), inodePercent: uint32(now.id)}
		return ioctl(dir, xfsGrowData, unsafe.Pointer(&request))
	default:
		var request [4096]byte
		copy(request[8:], fmt.Sprintf("%d:max", now.id))
		return ioctl(dir, btrfsResize, unsafe.Pointer(&request))
	}
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
