package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	releaseLimit = 10 * time.Second // how long users of a disk are waited for
	patientTries = 3                // tries before an unmounted file system is thawed: others may be about to let go of it
)

// exclusive proves that nobody on this host has the disk mounted or is changing it, in any mount namespace. It waits a
// moment, since a mkfs that a killed node plugin began may still be at work. It opens without writing: udev reads the
// partition table again, and takes partitions away meanwhile, whenever somebody closes a disk that he could have written.
//
// A file system that is frozen and mounted nowhere on the host is thawed, where that is known: nothing else would end it. Kinds: InUse (with the disk's users), Pending (a
// tool that an earlier node plugin began).
func (b *Block) exclusive(ctx context.Context, t *task, d device) error {
	tries := 0
	err := poll(ctx, min(b.deviceWait, releaseLimit), busyErrno, func(ctx context.Context) error {
		tries++
		return t.run(ctx, "open", d.node, func() error {
			err := d.openAlone()
			if !busyErrno(err) || tries <= patientTries {
				return err
			}
			if frozen := thawUnmounted(d); frozen != nil {
				return errors.Join(err, frozen)
			}
			return d.openAlone()
		})
	})
	if !busyErrno(err) {
		return fault.Wrap("open", d.node, err)
	}
	return b.inUse(ctx, t, d, "open", err)
}

func (d device) openAlone() error {
	f, err := d.open(os.O_RDONLY | unix.O_EXCL)
	if err != nil {
		return err
	}
	return f.Close()
}

// released proves that nothing in the kernel holds the handle's disk any more: a mount in another mount namespace and a
// frozen file system keep it although it is mounted nowhere here, and whoever detached it then would lose what is not
// written yet. A disk that is not there is not held.
func (b *Block) released(ctx context.Context, t *task, handle string) error {
	var d device
	err := t.run(ctx, "find device", handle, func() (err error) {
		d, err = b.sysfs.ready(serialOf(handle), 0)
		return err
	})
	if errors.Is(err, errNoDevice) {
		return nil
	}
	if err != nil {
		return err
	}
	mounts, err := readTable()
	if err != nil {
		return err
	}
	if targets := rawTargets(mounts, d, ""); len(targets) > 0 {
		return fault.New(fault.InUse, "unstage", handle, "the volume is still published at %s; unpublish it there first", targets[0])
	}
	return b.exclusive(ctx, t, d)
}

// living is a file system that the kernel has on a disk or its first partition, mounted or not.
type living struct {
	device
	fsType string
}

// living returns them. It is their sysfs entries that tell: https://docs.kernel.org/admin-guide/ext4.html, "/sys entries".
func (d device) living() []living {
	var out []living
	for _, part := range []device{d, {node: d.node + "p1", number: d.first, serial: d.serial}} {
		link, err := os.Readlink(filepath.Join("/sys/dev/block", part.number.String()))
		if err != nil || part.number == (devno{}) {
			continue
		}
		name := filepath.Base(link)
		for fsType, pattern := range map[string]string{volume.Ext4: "ext4/" + name, volume.XFS: "xfs/" + name, volume.Btrfs: "btrfs/*/devices/" + name} {
			if found, _ := filepath.Glob("/sys/fs/" + pattern); len(found) > 0 { // the patterns are constant but for a device's name
				out = append(out, living{part, fsType})
			}
		}
	}
	return out
}

// initialPIDs is the inode of the pid namespace that a host starts with: PROC_PID_INIT_INO, include/linux/proc_ns.h.
const initialPIDs = 0xeffffffc

// hostVisible reports whether this process sees those of the whole host.
func hostVisible() bool {
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/pid", &st) == nil && st.Ino == initialPIDs
}

// thawUnmounted ends the freeze (fsfreeze, FIFREEZE) of a file system whose last mount is gone: the frozen state keeps it,
// and no path leads to it any more. What is mounted in another namespace stays as it is, and so does everything where that is
// not known: the freeze may be that of a backup at work.
func thawUnmounted(d device) error {
	alive := d.living()
	if len(alive) == 0 || !hostVisible() || len(d.mountedAt()) > 0 || len(d.mountedElsewhere()) > 0 {
		return nil
	}
	for _, l := range alive {
		if err := thaw(l.device, l.fsType); err != nil {
			return fmt.Errorf("its %s is frozen, and does not thaw: %w", l.fsType, err)
		}
	}
	return nil
}

// thaw thaws a living file system through a mount that nobody sees.
func thaw(d device, fsType string) error {
	tree, err := livingMount(d, fsType, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(tree) }()
	dir, err := unix.Openat(tree, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer func() { _ = unix.Close(dir) }()
	err = unix.IoctlSetInt(dir, fithaw, 0)
	if errors.Is(err, unix.EINVAL) { // not frozen
		return nil
	}
	return os.NewSyscallError("FITHAW", err)
}

// livingMount gives a living file system a mount that no path leads to; closing it unmounts. The file system may end right
// before; then it is mounted without a change to the disk, if it was read-only.
func livingMount(d device, fsType string, attrs int) (int, error) {
	noReplay := map[string]string{volume.Ext4: "noload", volume.XFS: "norecovery", volume.Btrfs: "rescue=nologreplay"}
	tree, err := detachedMount(d.node, fsType, []string{"ro", noReplay[fsType]}, attrs)
	if errors.Is(err, unix.EBUSY) { // it is writable
		return detachedMount(d.node, fsType, nil, attrs)
	}
	return tree, err
}

const fithaw = 0xc0045878 // FITHAW, linux/fs.h

func detachedMount(node, fsType string, options []string, attrs int) (int, error) {
	fs, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, kernelError("mount", node, err)
	}
	defer func() { _ = unix.Close(fs) }()
	if _, err := configure(fs, node, options); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, mountError(fs, node, err)
	}
	tree, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	return tree, os.NewSyscallError("fsmount", err)
}

// users says who uses the disk, as far as it is visible from here.
func (d device) users() string {
	var out []string
	for _, point := range d.mountedAt() {
		out = append(out, "it is mounted at "+point)
	}
	out = append(out, d.mountedElsewhere()...)
	for _, n := range []devno{d.number, d.first} {
		above, _ := os.ReadDir(filepath.Join("/sys/dev/block", n.String(), "holders"))
		for _, e := range above {
			out = append(out, "block device "+e.Name()+" lies on it")
		}
	}
	if len(out) > 0 {
		return strings.Join(out, "; ")
	}
	if alive := d.living(); len(alive) > 0 {
		who := fmt.Sprintf("the kernel still has its %s file system, which no process that is visible from here has mounted; find the container on the host with `grep -l %s /proc/*/mountinfo`, and end it", alive[0].fsType, d.node)
		if !hostVisible() {
			who += fmt.Sprintf("; if there is none, a backup left it frozen: mount %s on the host, end the freeze there with `fsfreeze -u`, and unmount it", alive[0].node)
		}
		return who
	}
	for _, p := range processesWith(d.openIn) {
		out = append(out, "process "+p+" has it open")
	}
	if len(out) > 0 {
		return strings.Join(out, "; ")
	}
	return "no process of it is visible from here; find it on the host with lsblk and fuser"
}

// openIn reports whether a descriptor of a process, at its path in /proc, is one of the disk. No file system is asked.
func (d device) openIn(link string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, link, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && d.shows(devno{st.Rdev_major, st.Rdev_minor})
}

// mountedAt returns where the disk's file systems are mounted in this mount namespace.
func (d device) mountedAt() []string {
	mounts, err := readTable()
	if err != nil {
		return nil
	}
	return mounts.pointsOf(d)
}

func (t table) pointsOf(d device) []string {
	var out []string
	for _, e := range t {
		if n, ok := e.device(); ok && d.shows(n) {
			out = append(out, e.point)
		}
	}
	return out
}

// mountedElsewhere names, of every other mount namespace that has the disk mounted, a process and where it has it.
func (d device) mountedElsewhere() []string {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil
	}
	seen := []string{own}
	processes, _ := filepath.Glob("/proc/[0-9]*") // the pattern is constant
	var out []string
	for _, p := range processes {
		namespace, err := os.Readlink(p + "/ns/mnt")
		if err != nil || slices.Contains(seen, namespace) {
			continue
		}
		content, err := os.ReadFile(p + "/mountinfo")
		if err != nil || len(content) == 0 { // it ends right now
			continue
		}
		seen = append(seen, namespace)
		mounts, err := parseTable(content)
		if points := mounts.pointsOf(d); err == nil && len(points) > 0 {
			pid := filepath.Base(p)
			out = append(out, fmt.Sprintf("process %s has it mounted at %s in its own mount namespace; end it, or `nsenter -m -t %s umount %s`",
				processName(pid), points[0], pid, points[0]))
		}
	}
	return out
}
