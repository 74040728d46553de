package devices

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	sectorSize = 512
	loopMajor  = 7
	// model is what an EBS volume answers to NVMe Identify; the field is 40 bytes, padded with spaces.
	// https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html
	model = "Amazon Elastic Block Store"
	// rootDiskBytes is the size of the root disk that an instance shows as nvme0n1.
	rootDiskBytes = 8 << 30
	// rootDevno is of the major number that NVMe disks and partitions have, and the last that the kernel would give away.
	rootDevno = "259:1048575"
)

// nvmeTree is the folder with one instance's "dev" and "sys", laid out as a Nitro instance shows them.
type nvmeTree string

func (d nvmeTree) path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// init makes the empty trees and the root disk.
func (d nvmeTree) init() error {
	for _, dir := range []string{"dev/disk/by-id", "sys/class/nvme", "sys/class/block", "sys/block"} {
		if err := os.MkdirAll(d.path(dir), 0o755); err != nil {
			return err
		}
	}
	root := "vol-0" + strings.TrimPrefix(filepath.Base(string(d)), "i-")
	if err := d.controller("nvme0", serialOf(root)); err != nil {
		return err
	}
	return d.namespace("nvme0", rootDevno, rootDiskBytes)
}

func serialOf(volumeID string) string { return strings.ReplaceAll(volumeID, "-", "") }

// names maps the controllers of attached volumes ("nvme1") to volume ids.
func (d nvmeTree) names() (map[string]string, error) {
	entries, err := os.ReadDir(d.path("sys/class/nvme"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := map[string]string{}
	for _, e := range entries {
		if e.Name() == "nvme0" {
			continue
		}
		serial, err := os.ReadFile(d.path("sys/class/nvme", e.Name(), "serial"))
		if err != nil {
			return nil, err
		}
		out[e.Name()] = "vol-" + strings.TrimPrefix(strings.TrimSpace(string(serial)), "vol")
	}
	return out, nil
}

// find returns the controller that shows the volume, or the first free name.
func (d nvmeTree) find(volumeID string) (name string, shown bool, err error) {
	names, err := d.names()
	if err != nil {
		return "", false, err
	}
	for name, id := range names {
		if id == volumeID {
			return name, true, nil
		}
	}
	for i := 1; ; i++ {
		if name = "nvme" + strconv.Itoa(i); names[name] == "" {
			return name, false, nil
		}
	}
}

// show makes all entries of the volume on /dev/loop<n>. The entry in class/nvme comes first, since it says whose name it
// is; what the node looks at comes last.
func (d nvmeTree) show(volumeID string, n int) error {
	name, _, err := d.find(volumeID)
	if err != nil {
		return err
	}
	bytes, err := loopBytes(n)
	if err != nil {
		return err
	}
	if err := d.controller(name, serialOf(volumeID)); err != nil {
		return err
	}
	if err := blockNode(d.path("dev", name+"n1"), unix.Mkdev(loopMajor, uint32(n))); err != nil {
		return err
	}
	return errors.Join(
		d.namespace(name, fmt.Sprintf("%d:%d", loopMajor, n), bytes),
		symlink("../../"+name+"n1", d.link(volumeID)))
}

func (d nvmeTree) link(volumeID string) string {
	return d.path("dev/disk/by-id", "nvme-"+strings.ReplaceAll(model, " ", "_")+"_"+serialOf(volumeID))
}

// hide removes all entries of the volume, in the reverse order of show.
func (d nvmeTree) hide(volumeID string) error {
	name, shown, err := d.find(volumeID)
	if err != nil || !shown {
		return err
	}
	return errors.Join(d.withdraw(volumeID), os.RemoveAll(d.path("sys/class/nvme", name)))
}

// withdraw removes the disk and leaves the controller, which keeps the name for the volume.
func (d nvmeTree) withdraw(volumeID string) error {
	name, shown, err := d.find(volumeID)
	if err != nil || !shown {
		return err
	}
	disk := name + "n1"
	if err := d.dropPartitions(disk, nil); err != nil {
		return err
	}
	for _, path := range []string{d.link(volumeID), d.path("sys/class/block", disk), d.path("sys/block", disk), d.path("dev", disk)} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// resize updates the size that the volume's entries show.
func (d nvmeTree) resize(volumeID string, bytes int64) error {
	name, shown, err := d.find(volumeID)
	if err != nil || !shown {
		return err
	}
	return writeFile(d.path("sys/block", name+"n1", "size"), strconv.FormatInt(bytes/sectorSize, 10))
}

func (d nvmeTree) controller(name, serial string) error {
	return d.directory(d.path("sys/class/nvme", name), map[string]string{
		"serial": fmt.Sprintf("%-20s", serial), "model": fmt.Sprintf("%-40s", model), "state": "live",
	})
}

func (d nvmeTree) namespace(name, devno string, bytes int64) error {
	disk := name + "n1"
	dir := d.path("sys/block", disk)
	err := d.directory(dir, map[string]string{"dev": devno, "size": strconv.FormatInt(bytes/sectorSize, 10), "ro": "0"})
	return errors.Join(err,
		symlink("../../class/nvme/"+name, filepath.Join(dir, "device")),
		symlink("../../block/"+disk, d.path("sys/class/block", disk)))
}

// blockNode makes a device node, anew where an old one stands for another device.
func blockNode(path string, devno uint64) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err == nil {
		if st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == devno {
			return nil
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := unix.Mknod(path, unix.S_IFBLK|0o660, int(devno)); err != nil {
		return fmt.Errorf("make node %s: %w", path, err)
	}
	return nil
}

// directory makes dir with the files in it appear at once, or rewrites them where it exists.
func (d nvmeTree) directory(dir string, files map[string]string) error {
	target := dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if target, err = os.MkdirTemp(string(d), "new-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(target) }()
		if err := os.Chmod(target, 0o755); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(target, name), content); err != nil {
			return err
		}
	}
	if target == dir {
		return nil
	}
	return os.Rename(target, dir)
}

// writeFile replaces a file at once, so that no reader sees half of it. An equal file is left alone.
func writeFile(path, content string) error {
	content += "\n"
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(tmp, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func symlink(target, path string) error {
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}
