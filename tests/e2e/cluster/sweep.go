package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sweepLimit bounds how long the kernel may take to let go of what ended processes held.
const sweepLimit = 30 * time.Second

// cgroup is the name of the control group of everything of this run folder.
func (p Paths) cgroup() string {
	return fmt.Sprintf("diskbridge-%x", sha256.Sum256([]byte(p.Run)))[:len("diskbridge-")+8]
}

// Sweep removes what the end of the namespaces leaves: processes' control groups, loop devices and files.
// It keeps the logs of the last run.
func (p Paths) Sweep() error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepLimit)
	defer cancel()
	err := errors.Join(Until(ctx, "control groups", p.sweepCgroups), Until(ctx, "loop devices", p.sweepLoops))
	if err != nil {
		return err
	}
	if err := p.keepLogs(); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(p.Run), os.MkdirAll(p.run("logs"), 0o755))
}

// Logs is where the logs of the last run are, with those of all containers.
func (p Paths) Logs() string { return p.Run + ".logs" }

// failed is a file in the logs that says where they belong: those of a failed run are kept.
func (p Paths) failed() string { return p.run("logs", ".failed") }

// keepFor makes the logs of this run a folder of their own, whose path it returns.
func (p Paths) keepFor(now time.Time) string {
	if before, err := os.ReadFile(p.failed()); err == nil {
		return string(before)
	}
	dir := filepath.Join(p.Kube, "failed", now.UTC().Format("20060102-150405"))
	if err := os.WriteFile(p.failed(), []byte(dir), 0o644); err != nil {
		return p.Logs()
	}
	return dir
}

func (p Paths) keepLogs() error {
	left, err := os.ReadDir(p.run("logs"))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(left) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	into := p.Logs()
	if dir, err := os.ReadFile(p.failed()); err == nil {
		into = string(dir)
	}
	if err := errors.Join(os.RemoveAll(into), os.MkdirAll(filepath.Dir(into), 0o755), os.Rename(p.run("logs"), into)); err != nil {
		return err
	}
	pods, err := filepath.Glob(p.run("*/var/log/pods"))
	for _, dir := range pods {
		node := filepath.Base(strings.TrimSuffix(dir, "/var/log/pods"))
		err = errors.Join(err, os.Rename(dir, filepath.Join(into, "pods-"+node)))
	}
	return err
}

func (p Paths) sweepCgroups(context.Context) error { return removeCgroups(p.cgroup()) }

// removeCgroups removes a control group with all below it, in which there must be no processes.
func removeCgroups(name string) error {
	groups, err := cgroups(name)
	for _, dir := range groups {
		err = errors.Join(err, unix.Rmdir(dir))
	}
	return err
}

// Cgroups are the control groups of this run, children first.
func (p Paths) Cgroups() ([]string, error) { return cgroups(p.cgroup()) }

// cgroups are a control group with all below it, in every hierarchy, children first.
func cgroups(name string) (dirs []string, err error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // what is gone is what is wanted
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Reverse(dirs)
	return dirs, nil
}

// sweepLoops frees the loop devices behind volumes, and those that kubelets made of them for pods with raw devices.
func (p Paths) sweepLoops(context.Context) error {
	left, err := p.Loops()
	for _, device := range left {
		file, wrong := os.Open(device)
		if wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		if wrong := unix.IoctlSetInt(int(file.Fd()), unix.LOOP_CLR_FD, 0); wrong != nil && !errors.Is(wrong, unix.ENXIO) {
			err = errors.Join(err, fmt.Errorf("free %s: %w", device, wrong))
		}
		_ = file.Close()
	}
	if err == nil && len(left) > 0 {
		left, err = p.Loops() // one that is still open is freed at its last close
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("still in use: %v", left)
		}
	}
	return err
}

// Loops are the loop devices that belong to this run: those behind volumes, and those that kubelets made of device nodes.
// The kernel gives paths as the process saw them that set the device up, so that files are told by their inodes too.
func (p Paths) Loops() ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	disks, err := p.disks()
	if err != nil {
		return nil, err
	}
	var ours []string
	for _, file := range files {
		device := "/dev/" + strings.Split(file, "/")[3]
		backing, err := os.ReadFile(file)
		if err != nil {
			continue // freed meanwhile
		}
		if strings.HasPrefix(string(backing), p.Run+"/") || disks[backingOf(device)] {
			ours = append(ours, device)
		}
	}
	return ours, nil
}

// inode tells files apart, whatever mount they are seen through.
type inode struct{ device, number uint64 }

// disks are the files behind volumes and the nodes of attached ones, of the emulator on the machine and of one in a pod.
func (p Paths) disks() (map[inode]bool, error) {
	found := map[inode]bool{}
	for _, emulator := range []string{p.AWS(), p.run("*/var/lib/diskbridge-emulator")} {
		for _, part := range []string{"instances/*/dev/*", "images/*"} {
			files, err := filepath.Glob(filepath.Join(emulator, part))
			if err != nil {
				return nil, err
			}
			for _, file := range files {
				var st unix.Stat_t
				if unix.Lstat(file, &st) == nil {
					found[inode{st.Dev, st.Ino}] = true
				}
			}
		}
	}
	return found, nil
}

// backingOf is what is behind a loop device; nothing if it is free.
func backingOf(device string) inode {
	file, err := os.Open(device)
	if err != nil {
		return inode{}
	}
	defer file.Close() //nolint:errcheck // read
	info, err := unix.IoctlLoopGetStatus64(int(file.Fd()))
	if err != nil {
		return inode{}
	}
	return inode{info.Device, info.Inode}
}
