package devices

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

const loopControl = "/dev/loop-control"

func loopName(n int) string { return fmt.Sprintf("/dev/loop%d", n) }

// openLoop opens /dev/loop<n>, whose node it makes where nobody else does.
func openLoop(n, flags int) (*os.File, error) {
	name := loopName(n)
	f, err := os.OpenFile(name, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := unix.Mknod(name, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(n)))); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make node %s: %w", name, err)
	}
	return os.OpenFile(name, flags, 0)
}

// configureLoop puts the file on a free loop device and returns its number.
func configureLoop(ctx context.Context, image string) (int, error) {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = control.Close() }()
	for ctx.Err() == nil {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return 0, fmt.Errorf("find a free loop device: %w", err)
		}
		err = bindLoop(n, file)
		if errors.Is(err, unix.EBUSY) { // someone else was faster
			continue
		}
		return n, err
	}
	return 0, ctx.Err()
}

func bindLoop(n int, file *os.File) error {
	dev, err := openLoop(n, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }()
	// With partitions as real disks have them; only so does the kernel drop them together with the device.
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: sectorSize, Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_PARTSCAN}}
	// The path does not fit into this name; btrfs-progs takes two loop devices with one name for the same, so that a
	// shortened path would not do where two emulators run.
	copy(config.Info.File_name[:], fmt.Sprintf("%.16x", sha256.Sum256([]byte(file.Name()))))
	if err := unix.IoctlLoopConfigure(int(dev.Fd()), &config); err != nil {
		return fmt.Errorf("put %s on %s: %w", file.Name(), loopName(n), err)
	}
	// A disk that was attached is a new one; the kernel keeps the read-only flag of the loop device's last life.
	if err := unix.IoctlSetPointerInt(int(dev.Fd()), unix.BLKROSET, 0); err != nil {
		return errors.Join(fmt.Errorf("make %s writable: %w", loopName(n), err), clearLoop(n, file.Name()))
	}
	return nil
}

// backs reports whether the file is what loop device n stands for. The kernel's answer is device and inode, so a
// recreated file is another one.
func backs(n int, image string) bool {
	dev, err := openLoop(n, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer func() { _ = dev.Close() }()
	return fdBacks(dev, image)
}

func fdBacks(dev *os.File, image string) bool {
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err != nil {
		return false
	}
	var st unix.Stat_t
	return unix.Stat(image, &st) == nil && info.Device == st.Dev && info.Inode == st.Ino
}

// backedBy lists the loop devices whose files are, or were, in the folder, by volume id. Files that exist are told by device
// and inode: in a container that was started anew, the kernel gives the path of what the one before opened as it was there.
func backedBy(folder string) (map[string][]int, error) {
	images, err := imagesByInode(folder)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	out := map[string][]int{}
	for _, path := range paths {
		var n int
		content, err := os.ReadFile(path)
		if _, wrong := fmt.Sscanf(path, "/sys/block/loop%d/", &n); err != nil || wrong != nil { // released meanwhile
			continue
		}
		file := strings.TrimSuffix(strings.TrimSpace(string(content)), " (deleted)")
		id, isImage := strings.CutSuffix(filepath.Base(file), suffix)
		if filepath.Dir(file) != folder || !isImage {
			id = images[backing(n)]
		}
		if id != "" {
			out[id] = append(out[id], n)
		}
	}
	return out, nil
}

// inode tells files apart, whatever mount they are seen through.
type inode struct{ device, number uint64 }

// imagesByInode maps the folder's files to volume ids.
func imagesByInode(folder string) (map[inode]string, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
	out := map[inode]string{}
	for _, path := range paths {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			out[inode{st.Dev, st.Ino}] = strings.TrimSuffix(filepath.Base(path), suffix)
		}
	}
	return out, err
}

// backing is the file behind loop device n; none if it is free.
func backing(n int) inode {
	dev, err := openLoop(n, os.O_RDONLY)
	if err != nil {
		return inode{}
	}
	defer func() { _ = dev.Close() }()
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err != nil {
		return inode{}
	}
	return inode{info.Device, info.Inode}
}

func loopBytes(n int) (int64, error) {
	dev, err := openLoop(n, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer func() { _ = dev.Close() }()
	return dev.Seek(0, 2)
}

func growLoop(n int) error {
	dev, err := openLoop(n, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }()
	return unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_CAPACITY, 0)
}

// releaseLoop frees loop device n, or returns storage.ErrBusy and leaves it as it was while anybody has it mounted
// or open: the kernel itself would free it later, behind the user's back. Once it is known to be idle, and before
// it goes, withdraw runs.
func releaseLoop(ctx context.Context, n int, image string, withdraw func() error) error {
	dev, err := openLoop(n, os.O_RDWR|unix.O_EXCL)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s is mounted: %w", loopName(n), storage.ErrBusy)
	}
	if err != nil {
		return err
	}
	if err = errors.Join(dev.Sync(), withdraw()); err == nil && fdBacks(dev, image) {
		err = unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0)
	}
	if err = errors.Join(err, dev.Close()); err != nil {
		return fmt.Errorf("release %s: %w", loopName(n), err)
	}
	if gone(ctx, n, image) {
		return nil
	}
	return keepLoop(n, image)
}

// gone waits a moment for the last closer, such as a probing blkid.
func gone(ctx context.Context, n int, image string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for backs(n, image) {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// keepLoop takes back the order to free the device at its last close. That it had to is storage.ErrBusy; nil means that the
// device is free.
func keepLoop(n int, image string) error {
	dev, err := openLoop(n, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }()
	if !fdBacks(dev, image) {
		return nil
	}
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err != nil {
		return err
	}
	info.Flags &^= unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopSetStatus64(int(dev.Fd()), info); err != nil {
		return err
	}
	return fmt.Errorf("%s is open: %w", loopName(n), storage.ErrBusy)
}

// clearLoop frees loop device n if it stands for the image, or for one that was deleted; a used device goes at its last close.
func clearLoop(n int, image string) error {
	dev, err := openLoop(n, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }()
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(image, &st); err == nil && (st.Dev != info.Device || st.Ino != info.Inode) {
		return nil // taken by somebody else meanwhile
	}
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("release %s: %w", loopName(n), err)
	}
	return nil
}

// sharedUse returns storage.ErrBusy if the instance that has this tree has mounted the shared loop device n, or a
// partition of it, in any mount namespace of this host.
func sharedUse(n int, tree nvmeTree) error {
	seen, devnos := map[string]bool{}, map[string]bool{fmt.Sprintf("%d:%d", loopMajor, n): true}
	for _, part := range partitions()[n] {
		devnos[fmt.Sprintf("%d:%d", unix.Major(part), unix.Minor(part))] = true
	}
	tables, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return err
	}
	for _, table := range tables {
		namespace, err := os.Readlink(filepath.Join(filepath.Dir(table), "ns/mnt"))
		if err != nil || seen[namespace] {
			continue
		}
		seen[namespace] = true
		content, err := os.ReadFile(table)
		if err != nil { // the process ended
			delete(seen, namespace)
			continue
		}
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && devnos[fields[2]] && strings.Contains(line, " "+tree.path("dev")+"/") {
				return fmt.Errorf("%s is mounted at %s: %w", loopName(n), fields[4], storage.ErrBusy)
			}
		}
	}
	return nil
}
