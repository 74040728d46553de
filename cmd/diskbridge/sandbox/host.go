package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mounts returns the mount points at or below dir in this process's mount table, the deepest last.
func Mounts(dir string) ([]string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = table.Close() }() // it was only read
	var points []string
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// proc(5): the fifth field is the mount point, with blanks and backslashes as octal escapes.
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if point == real || strings.HasPrefix(point, real+"/") {
			points = append(points, point)
		}
	}
	return points, lines.Err()
}

// Loop is a loop device in use.
type Loop struct {
	Device  string // such as /dev/loop3
	Backing string // the file behind it
}

// String implements fmt.Stringer.
func (l Loop) String() string { return l.Device + " on " + l.Backing }

// Loops returns the loop devices whose backing file is below dir.
func Loops(dir string) ([]Loop, error) {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		real = dir
	} else if err != nil {
		return nil, err
	}
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var loops []Loop
	for _, file := range files {
		backing, err := os.ReadFile(file)
		if err != nil {
			continue // it was detached between the two looks
		}
		if path := strings.TrimSpace(string(backing)); strings.HasPrefix(path, real+"/") {
			loops = append(loops, Loop{Device: "/dev/" + strings.Split(file, "/")[3], Backing: path})
		}
	}
	return loops, nil
}

// DetachLoops detaches the loop devices whose backing file is below dir.
func DetachLoops(dir string) error {
	loops, err := Loops(dir)
	for _, l := range loops {
		device, e := os.Open(l.Device)
		if e == nil {
			e = errors.Join(unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0), device.Close())
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("detach %s: %w", l, e))
		}
	}
	return err
}

// UnmountAll takes away every mount below dir, the newest first, also one that is in use.
func UnmountAll(dir string) error {
	points, err := Mounts(dir)
	if err != nil {
		return err
	}
	slices.Reverse(points)
	for _, point := range points {
		if e := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); e != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", point, e))
		}
	}
	return err
}

// RemoveTree removes dir, unless something is still mounted below it: then
// nothing is touched, for a removal would reach through the mount.
func RemoveTree(dir string) error {
	points, err := Mounts(dir)
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("%s is kept: still mounted are %s", dir, strings.Join(points, ", "))
	}
	return os.RemoveAll(dir)
}

// AllowsDevices reports whether device nodes below dir can be opened (no nodev mount).
func AllowsDevices(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Flags&unix.ST_NODEV == 0
}
