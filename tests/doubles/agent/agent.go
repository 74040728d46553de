package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Agent is one VM's agent.
type Agent struct {
	DeviceRoot string // what the VM sees as /dev
	Dir        string // what the VM sees as /var/vcap
	FS         string // persistent_disk_fs: ext4 (also if empty) or xfs
	// Partitioner is agent.json's PartitionerType: parted, as today's stemcells have it, or empty, as old ones.
	Partitioner string
	// NoGrowth makes every resize2fs fail, as a kernel does that refuses it.
	NoGrowth bool

	hints  map[string]string
	points map[string]string // mount point → partition
}

// Store is where the persistent disk is mounted.
func (a *Agent) Store() string { return filepath.Join(a.Dir, "store") }

func (a *Agent) migration() string { return filepath.Join(a.Dir, "store_migration_target") }

// AddPersistentDisk keeps the hint.
func (a *Agent) AddPersistentDisk(cid, hint string) error {
	if a.hints == nil {
		a.hints = map[string]string{}
	}
	a.hints[cid] = hint
	return nil
}

// RemovePersistentDisk forgets the hint.
func (a *Agent) RemovePersistentDisk(cid string) error { delete(a.hints, cid); return nil }

// ListDisk lists the disks that are mounted.
func (a *Agent) ListDisk() []string {
	var list []string
	for cid := range a.hints {
		if device, err := a.look(cid); err == nil && a.pointOf(device+"p1") != "" {
			list = append(list, cid)
		}
	}
	return list
}

// pointOf is where a partition is mounted, or "".
func (a *Agent) pointOf(part string) string {
	for point, is := range a.points {
		if is == part {
			return point
		}
	}
	return ""
}

func (a *Agent) mount(ctx context.Context, part, point string) error {
	if err := os.MkdirAll(point, 0o700); err != nil {
		return err
	}
	if _, err := a.run(ctx, "", "mount", part, point); err != nil {
		return err
	}
	if a.points == nil {
		a.points = map[string]string{}
	}
	a.points[point] = part
	return nil
}

func (a *Agent) unmount(ctx context.Context, point string) error {
	if _, err := a.run(ctx, "", "umount", point); err != nil {
		return err
	}
	delete(a.points, point)
	return nil
}

// path is where a disk's hint says that the disk is.
func (a *Agent) path(cid string) (string, error) {
	hint, ok := a.hints[cid]
	if !ok {
		return "", fmt.Errorf("disk %s was not added", cid)
	}
	path, below := strings.CutPrefix(hint, "/dev/")
	if !below {
		return "", fmt.Errorf("hint %q is no device", hint)
	}
	return filepath.Join(a.DeviceRoot, path), nil
}

// look resolves a hint without waiting for the device.
func (a *Agent) look(cid string) (string, error) {
	path, err := a.path(cid)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// device resolves a hint as the mapped resolver does: within 30 s, links followed.
func (a *Agent) device(ctx context.Context, cid string) (string, error) {
	path, err := a.path(cid)
	if err != nil {
		return "", err
	}
	return a.wait(ctx, path)
}

// wait waits until a device's node is there and leads to the device that there is now.
func (a *Agent) wait(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			var f *os.File
			if f, err = os.Open(real); err == nil {
				return real, f.Close()
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("Timed out getting real device path for %s: %w", path, err) //nolint:staticcheck // the agent's own words
		case <-tick.C:
		}
	}
}

// first is the disk's partition 1. A kernel that knows no GPT is told of it.
func (a *Agent) first(ctx context.Context, device string) (string, error) {
	if _, err := os.Stat(device + "p1"); err != nil {
		_, _ = a.run(ctx, "", "partx", "--add", device) // the kernel may know it already, and only the node comes late
	}
	return a.wait(ctx, device+"p1")
}

// MountDisk partitions and formats where the agent does, and mounts partition 1 at the store, or where it will be
// migrated from there. What is at the store already, by a growth that failed too, is mounted.
func (a *Agent) MountDisk(ctx context.Context, cid string) error {
	device, err := a.device(ctx, cid)
	if err != nil {
		return err
	}
	if err := a.Adjust(ctx, device); err != nil {
		return err
	}
	part, err := a.first(ctx, device)
	if err != nil {
		return err
	}
	point := a.Store()
	switch a.points[point] {
	case part:
		return nil
	case "":
	default:
		point = a.migration()
	}
	return a.mount(ctx, part, point)
}

// UnmountDisk really unmounts. A device that is gone is not mounted.
func (a *Agent) UnmountDisk(ctx context.Context, cid string) error {
	device, err := a.look(cid)
	if err != nil {
		return nil //nolint:nilerr // the agent waits for it, and then ignores it
	}
	if point := a.pointOf(device + "p1"); point != "" {
		return a.unmount(ctx, point)
	}
	return nil
}

// MigrateDisk copies the store, read-only, to the migration target, and mounts that as the store.
func (a *Agent) MigrateDisk(ctx context.Context) error {
	part := a.points[a.migration()]
	if a.points[a.Store()] == "" || part == "" {
		return fmt.Errorf("nothing to migrate: mounted are %v", a.points)
	}
	if _, err := a.run(ctx, "", "mount", "-o", "remount,ro", a.Store()); err != nil {
		return err
	}
	if _, err := a.run(ctx, "", "sh", "-c", `(tar -C "$0" --xattrs --sparse -cf - .) | (tar -C "$1" --xattrs --sparse -xpf -)`, a.Store(), a.migration()); err != nil {
		return err
	}
	for _, point := range []string{a.Store(), a.migration()} {
		if err := a.unmount(ctx, point); err != nil {
			return err
		}
	}
	return a.mount(ctx, part, a.Store())
}

// AddDynamicDisk only makes a link to the resolved device.
func (a *Agent) AddDynamicDisk(cid, hint string) error {
	if err := a.AddPersistentDisk(cid, hint); err != nil {
		return err
	}
	device, err := a.device(context.Background(), cid)
	delete(a.hints, cid)
	if err != nil {
		return err
	}
	link := a.Dynamic(cid)
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(device, link)
}

// Dynamic is the link of a dynamic disk.
func (a *Agent) Dynamic(cid string) string {
	return filepath.Join(a.Dir, "data", "dynamic_disks", cid)
}

// RemoveDynamicDisk removes the link.
func (a *Agent) RemoveDynamicDisk(cid string) error { return os.Remove(a.Dynamic(cid)) }

// Lost unmounts all as the end of the VM does, whatever is open.
func (a *Agent) Lost() {
	for point := range a.points {
		_ = unix.Unmount(point, unix.MNT_DETACH) // the VM is gone
		delete(a.points, point)
	}
}

func (a *Agent) run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(stdin)
	if path, err := exec.LookPath(name); err != nil || path == "" {
		for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
			if _, err := os.Stat(dir + name); err == nil {
				cmd.Path, cmd.Err = dir+name, nil
			}
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}
