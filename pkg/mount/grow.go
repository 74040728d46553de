package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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

// Expand grows what is at path, a staging or a target path, to the size of its disk, and waits for the disk to have at
// least requiredBytes (0: whatever it has). What is mounted decides whether it is a raw disk, a partition, and which file
// system. It returns the disk's size in bytes after it has proven that the file system reaches the end of the disk, or of
// the partition that does.
//
// Kinds: Unavailable (the disk has not grown on this node yet), NotFound (nothing of the volume is at path), InUse (the
// mount is read-only), Denied (ext4 without CAP_SYS_RESOURCE), Internal (the kernel said yes but nothing grew).
func (b *Block) Expand(ctx context.Context, plan volume.BlockPlan, path string, requiredBytes int64) (bytes int64, err error) {
	err = b.work(ctx, "expand", plan.Handle, func(t *task) error {
		d, err := b.sysfs.wait(ctx, t, plan.Serial, requiredBytes, b.deviceWait)
		if err != nil {
			return err
		}
		_, e, raw, err := b.seen(ctx, t, path)
		if err != nil {
			return err
		}
		n, known := e.device()
		if !known || !d.shows(n) {
			return fault.New(fault.NotFound, "check mount", path, "%s is mounted there, and not volume %s", e.source, plan.Handle)
		}
		if bytes, err = b.bytes(ctx, t, d); err != nil || raw {
			return err
		}
		return b.grow(ctx, t, b.sysfs.at(d, n), e.fsType)
	})
	if err != nil {
		return 0, err
	}
	return bytes, nil
}

// seen returns what is mounted at path. A bound device node comes as an entry with the disk's number.
func (b *Block) seen(ctx context.Context, t *task, path string) (point string, e entry, raw bool, err error) {
	point, err = resolve(ctx, t, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", entry{}, false, err
	}
	mounts, err := readTable()
	if err != nil {
		return "", entry{}, false, err
	}
	e, ok := mounts.at(point)
	if !ok {
		return "", entry{}, false, fault.New(fault.NotFound, "check mount", path, "nothing is mounted there")
	}
	n, raw := deviceAt(e, true)
	if raw {
		e = entry{number: n, source: e.source}
	}
	return point, e, raw, nil
}

func (b *Block) bytes(ctx context.Context, t *task, d device) (size int64, err error) {
	err = t.run(ctx, "measure", d.node, func() (err error) {
		size, err = d.bytes()
		return err
	})
	if err != nil {
		return 0, err
	}
	return size, nil
}

// growStaged grows a file system at stage: a snapshot may have been restored into a larger disk. Where the kernel does
// not allow ext4 to grow while mounted, it grows before its first use, unmounted; one that is in use already stays
// mounted and small, which Expand then says. So does one with clusters, which resize2fs only grows by force.
func (b *Block) growStaged(ctx context.Context, t *task, d device, plan volume.BlockPlan, point string, inUse bool) error {
	if plan.ReadOnly {
		return nil
	}
	err := b.grow(ctx, t, d, plan.FSType)
	if plan.FSType != volume.Ext4 || !errors.Is(err, unix.EPERM) {
		return err
	}
	if inUse || clustered(d.node) {
		return nil
	}
	if err := b.unmount(ctx, t, point, 0); err != nil {
		return err
	}
	if err := b.repair(ctx, t, d, "-f", "-p"); err != nil { // resize2fs insists on it
		return err
	}
	if err := b.tools.write(ctx, t, "resize2fs", d.node); err != nil {
		return fault.Wrap("grow", d.node, err)
	}
	if err := b.mount(ctx, t, d, plan, point); err != nil {
		return err
	}
	return b.grow(ctx, t, d, plan.FSType)
}

// grow enlarges a mounted file system to the size of its disk or partition, which grows first, and proves it. A file
// system that has that size is left alone.
func (b *Block) grow(ctx context.Context, t *task, d device, fsType string) error {
	mounts, err := readTable()
	if err != nil {
		return err
	}
	point := ""
	for _, e := range mounts.of(d.number) {
		if !e.readOnly() {
			point = e.point
		}
	}
	if point == "" {
		return fault.New(fault.InUse, "grow", d.node, "it is mounted read-only; publish it read-write to grow the file system")
	}
	if d.disk != "" {
		if err := b.growPartition(ctx, t, d); err != nil {
			return err
		}
	}
	return t.run(ctx, "grow", d.node, func() error { return growAt(d, fsType, point) })
}

func growAt(d device, fsType, point string) error {
	dir, err := os.Open(point)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	target, err := d.bytes()
	if err != nil {
		return err
	}
	before, err := measure(dir, d, fsType)
	if err != nil || before.reaches(target) {
		return err
	}
	if err := enlarge(dir, fsType, before, target); err != nil {
		return growError(d, fsType, before, target, err)
	}
	after, err := measure(dir, d, fsType)
	if err != nil {
		return err
	}
	return proveGrown(d, fsType, before, after, target)
}

// proveGrown does not believe the kernel's success.
func proveGrown(d device, fsType string, before, after extent, target int64) error {
	if after.reaches(target) {
		return nil
	}
	return fault.New(fault.Internal, "grow", d.node, "the kernel reported success, but %s has %d bytes of the device's %d (before: %d)",
		fsType, after.bytes, target, before.bytes)
}

func growError(d device, fsType string, before extent, target int64, err error) error {
	e := &fault.Error{Op: "grow", Subject: d.node, Err: err,
		Message: fmt.Sprintf("%s stays at %d bytes on a device of %d", fsType, before.bytes, target)}
	switch {
	case fsType == volume.Ext4 && errors.Is(err, unix.EPERM):
		e.Kind = fault.Denied
		e.Message += "; ext4 grows while mounted only with CAP_SYS_RESOURCE, which the node plugin does not have here: add the capability, or unpublish and unstage the volume and stage it again, which grows it unmounted"
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
		e.Kind, e.Message = fault.Unsupported, e.Message+"; this kernel cannot grow it while mounted"
	}
	return e
}

// measure reads the size of a mounted file system.
func measure(dir *os.File, d device, fsType string) (extent, error) {
	var e extent
	var err error
	switch fsType {
	case volume.Ext4:
		e, err = measureExt4(d.node)
	case volume.XFS:
		var g [xfsGeometryLen]byte
		err = ioctl(dir, xfsGeometry, unsafe.Pointer(&g))
		block := int64(binary.NativeEndian.Uint32(g[0:]))
		e = extent{bytes: int64(binary.NativeEndian.Uint64(g[32:])) * block, block: block, slack: 1 << 20, id: uint64(binary.NativeEndian.Uint32(g[28:]))}
	case volume.Btrfs:
		e, err = measureBtrfs(dir)
	default:
		err = fmt.Errorf("the size of %s is not known", fsType)
	}
	if err != nil {
		return extent{}, fault.Wrap("measure file system", d.node, err)
	}
	return e, nil
}

// measureExt4 reads the superblock; the kernel keeps it current in the disk's page cache. Its layout is at
// https://docs.kernel.org/filesystems/ext4/super.html
func measureExt4(node string) (extent, error) {
	sb, err := superblock(node)
	if err != nil {
		return extent{}, err
	}
	blocks := int64(binary.LittleEndian.Uint32(sb[0x4:]))
	if binary.LittleEndian.Uint32(sb[0x60:])&0x80 != 0 { // 64bit
		blocks |= int64(binary.LittleEndian.Uint32(sb[0x150:])) << 32
	}
	block := int64(1024) << (binary.LittleEndian.Uint32(sb[0x18:]) & 0x7)
	group := int64(binary.LittleEndian.Uint32(sb[0x20:])) * block
	// A last group that is too small for its own tables is left out. They are much smaller than a group of clusters.
	return extent{bytes: blocks * block, block: block, slack: min(group, 128<<20)}, nil
}

func superblock(node string) (sb [1024]byte, err error) {
	f, err := os.Open(node)
	if err != nil {
		return sb, err
	}
	defer func() { _ = f.Close() }()
	if _, err = f.ReadAt(sb[:], 1024); err == nil && binary.LittleEndian.Uint16(sb[0x38:]) != 0xef53 {
		err = errors.New("there is no ext4 superblock")
	}
	return sb, err
}

// clustered reports whether an ext4 has the feature bigalloc.
func clustered(node string) bool {
	sb, err := superblock(node)
	return err == nil && binary.LittleEndian.Uint32(sb[0x64:])&0x200 != 0
}

func measureBtrfs(dir *os.File) (extent, error) {
	var info [1024]byte
	if err := ioctl(dir, btrfsFSInfo, unsafe.Pointer(&info)); err != nil {
		return extent{}, err
	}
	if n := binary.NativeEndian.Uint64(info[8:]); n != 1 {
		return extent{}, fmt.Errorf("the btrfs file system has %d disks; only one is supported", n)
	}
	id := binary.NativeEndian.Uint64(info[0:])
	var dev [4096]byte
	binary.NativeEndian.PutUint64(dev[0:], id)
	if err := ioctl(dir, btrfsDevInfo, unsafe.Pointer(&dev)); err != nil {
		return extent{}, err
	}
	return extent{bytes: int64(binary.NativeEndian.Uint64(dev[32:])), slack: 1 << 20, id: id}, nil
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
