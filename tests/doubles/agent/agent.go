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

	hints   map[string]string
	mounted map[string]string // cid → mount point
}

// Store is where the persistent disk is mounted.
func (a *Agent) Store() string { return filepath.Join(a.Dir, "store") }

func (a *Agent) migration() string { return filepath.Join(a.Dir, "store_migration_target") }

// AddPersistentDisk keeps the hint.
func (a *Agent) AddPersistentDisk(cid, hint string) error {
	if a.hints == nil {
		a.hints, a.mounted = map[string]string{}, map[string]string{}
	}
	a.hints[cid] = hint
	return nil
}

// RemovePersistentDisk forgets the hint.
func (a *Agent) RemovePersistentDisk(cid string) error { delete(a.hints, cid); return nil }

// ListDisk lists what is mounted.
func (a *Agent) ListDisk() []string {
	var list []string
	for cid := range a.mounted {
		list = append(list, cid)
	}
	return list
}

// device resolves a hint as the mapped resolver does: within 30 s, links followed.
func (a *Agent) device(ctx context.Context, cid string) (string, error) {
	hint, ok := a.hints[cid]
	if !ok {
		return "", fmt.Errorf("disk %s was not added", cid)
	}
	path, below := strings.CutPrefix(hint, "/dev/")
	if !below {
		return "", fmt.Errorf("hint %q is no device", hint)
	}
	return a.wait(ctx, filepath.Join(a.DeviceRoot, path))
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
// migrated from there.
func (a *Agent) MountDisk(ctx context.Context, cid string) error {
	if _, done := a.mounted[cid]; done {
		return nil
	}
	device, err := a.device(ctx, cid)
	if err != nil {
		return err
	}
	if err := a.Adjust(ctx, device); err != nil {
		return err
	}
	point := a.Store()
	for _, used := range a.mounted {
		if used == point {
			point = a.migration()
		}
	}
	if err := os.MkdirAll(point, 0o700); err != nil {
		return err
	}
	part, err := a.first(ctx, device)
	if err != nil {
		return err
	}
	if _, err := a.run(ctx, "", "mount", part, point); err != nil {
		return err
	}
	a.mounted[cid] = point
	return nil
}

// UnmountDisk really unmounts.
func (a *Agent) UnmountDisk(ctx context.Context, cid string) error {
	point, ok := a.mounted[cid]
	if !ok {
		return nil
	}
	if _, err := a.run(ctx, "", "umount", point); err != nil {
		return err
	}
	delete(a.mounted, cid)
	return nil
}

// MigrateDisk copies the store, read-only, to the migration target, and mounts that as the store.
func (a *Agent) MigrateDisk(ctx context.Context) error {
	var from, to string
	for cid, point := range a.mounted {
		if point == a.Store() {
			from = cid
		} else {
			to = cid
		}
	}
	if from == "" || to == "" {
		return fmt.Errorf("nothing to migrate: mounted are %v", a.mounted)
	}
	if _, err := a.run(ctx, "", "mount", "-o", "remount,ro", a.Store()); err != nil {
		return err
	}
	if _, err := a.run(ctx, "", "sh", "-c", `(tar -C "$0" --xattrs --sparse -cf - .) | (tar -C "$1" --xattrs --sparse -xpf -)`, a.Store(), a.migration()); err != nil {
		return err
	}
	for _, cid := range []string{from, to} {
		if err := a.UnmountDisk(ctx, cid); err != nil {
			return err
		}
	}
	return a.MountDisk(ctx, to)
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
	for cid, point := range a.mounted {
		_ = unix.Unmount(point, unix.MNT_DETACH) // the VM is gone
		delete(a.mounted, cid)
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
