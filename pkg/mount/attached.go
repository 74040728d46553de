package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Attached is an NVMe controller that the kernel shows.
type Attached struct {
	Model, Serial string
	Points        []string // where a disk of it, or a partition, or one's device node is mounted
	// Failed says that the kernel found an error in a file system of it, or made it read-only or shut it down after one.
	Failed bool
}

// Attached lists the NVMe controllers of this machine. It reads sysfs and the mount table only, so that no disk can make
// it wait. A machine without NVMe has none; what goes or comes right now may be missing.
func (b *Block) Attached() ([]Attached, error) {
	dir := filepath.Join(b.sysfs.sysfsRoot, "class/nvme")
	controllers, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list NVMe controllers: %w", err)
	}
	uses, err := b.sysfs.uses()
	if err != nil {
		return nil, err
	}
	var out []Attached
	for _, c := range controllers {
		model, errModel := os.ReadFile(filepath.Join(dir, c.Name(), "model"))
		serial, errSerial := os.ReadFile(filepath.Join(dir, c.Name(), "serial"))
		switch err := errors.Join(errModel, errSerial); {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV):
			continue
		case err != nil:
			return nil, fmt.Errorf("read NVMe controller %s: %w", c.Name(), err)
		}
		name := strings.TrimSpace(string(serial))
		out = append(out, Attached{Model: strings.TrimSpace(string(model)), Serial: name, Points: uses[name].points, Failed: uses[name].failed})
	}
	return out, nil
}

// use is what the mount table says of a disk.
type use struct {
	points []string
	failed bool
}

// uses maps serial numbers of disks to where they are mounted, and how.
func (s sysfs) uses() (map[string]use, error) {
	numbers, err := s.serials()
	if err != nil {
		return nil, err
	}
	mounts, err := readTable()
	if err != nil {
		return nil, err
	}
	devices := map[devno]bool{} // file systems with device nodes that can be bound
	var st unix.Stat_t
	if unix.Stat(s.deviceRoot, &st) == nil {
		devices[number(st.Dev)] = true
	}
	out := map[string]use{}
	for _, e := range mounts {
		n, ok := e.device()
		if devices[e.number] && diskName.MatchString(filepath.Base(e.root)) { // a raw device: what is mounted is its node
			n, ok = deviceAt(e)
		}
		if serial := numbers[n]; ok && serial != "" {
			u := out[serial]
			out[serial] = use{append(u.points, e.point), u.failed || mounts.failed(e) || slices.Contains(e.super, shutDown) || ext4Errors(e.number)}
		}
	}
	return out, nil
}

// serials maps the numbers of disks and of their partitions to the disks' serial numbers.
func (s sysfs) serials() (map[devno]string, error) {
	dir := filepath.Join(s.sysfsRoot, "class/block")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	out := map[devno]string{}
	for _, e := range entries {
		if !diskName.MatchString(e.Name()) {
			continue
		}
		d, err := s.read(e.Name())
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[d.number] = d.serial
		partitions, err := filepath.Glob(filepath.Join(dir, e.Name(), e.Name()+"p*", "dev"))
		if err != nil {
			return nil, err
		}
		for _, file := range partitions {
			text, err := os.ReadFile(file)
			if err != nil { // it goes right now
				continue
			}
			if n, err := parseDevno(strings.TrimSpace(string(text))); err == nil {
				out[n] = d.serial
			}
		}
	}
	return out, nil
}
