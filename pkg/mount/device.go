package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// device is a disk that was found by its serial number, or its first partition.
type device struct {
	name   string // nvme1n1 or nvme1n1p1
	node   string // its node below the device root
	serial string // of the disk
	number devno
	disk   string // of a partition: the disk's name
	first  devno  // of a disk: its first partition; zero if the kernel knows none
}

// shows reports whether n is the disk or its first partition.
func (d device) shows(n devno) bool { return n == d.number || n == d.first && n != devno{} }

// at returns which of the two n is: the disk or its first partition.
func (s sysfs) at(d device, n devno) device {
	if n != d.first || n == d.number {
		return d
	}
	return device{name: partition(d.name), node: filepath.Join(s.deviceRoot, partition(d.name)), serial: d.serial, number: n, disk: d.name}
}

// partition is the name of the first one; the disk's name ends in a digit.
func partition(disk string) string { return disk + "p1" }

// diskName leaves out partitions (nvme1n1p1) and the hidden paths of a multipath disk (nvme1c1n1).
var diskName = regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)

// errNoDevice means that no disk with the serial number is there now.
var errNoDevice = errors.New("no such device")

// sysfs knows the disks of a node by the kernel's own description. Links that udev makes are never needed.
type sysfs struct{ deviceRoot, sysfsRoot string }

// find returns the disk with that serial number, or errNoDevice.
func (s sysfs) find(serial string) (device, error) {
	return s.lookup(func(d device) bool { return d.serial == serial })
}

// byNumber returns the disk that has that device number, itself or as its first partition, or errNoDevice.
func (s sysfs) byNumber(n devno) (device, error) {
	return s.lookup(func(d device) bool { return d.shows(n) })
}

func (s sysfs) lookup(match func(device) bool) (device, error) {
	entries, err := os.ReadDir(filepath.Join(s.sysfsRoot, "class/block"))
	if err != nil {
		return device{}, fmt.Errorf("list disks: %w", err)
	}
	found := device{}
	for _, e := range entries {
		if !diskName.MatchString(e.Name()) {
			continue
		}
		d, err := s.read(e.Name())
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) { // it goes or comes right now
			continue
		}
		if err != nil {
			return device{}, err
		}
		if !match(d) {
			continue
		}
		if found.name != "" {
			return device{}, fault.New(fault.Conflict, "find device", d.serial, "both %s and %s answer to it; nothing was touched", found.name, d.name)
		}
		found = d
	}
	if found.name == "" {
		return device{}, errNoDevice
	}
	return found, nil
}

func (s sysfs) read(name string) (device, error) {
	dir := filepath.Join(s.sysfsRoot, "class/block", name)
	serial, err := os.ReadFile(filepath.Join(dir, "device/serial"))
	if err != nil {
		return device{}, err
	}
	dev, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return device{}, err
	}
	d := device{name: name, node: filepath.Join(s.deviceRoot, name), serial: strings.TrimSpace(string(serial))}
	if d.number, err = parseDevno(strings.TrimSpace(string(dev))); err != nil {
		return device{}, err
	}
	if dev, err = os.ReadFile(filepath.Join(dir, partition(name), "dev")); err == nil {
		d.first, err = parseDevno(strings.TrimSpace(string(dev)))
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return d, err
}

// verify proves that the node still leads to the disk with this serial number. It comes right before anything that
// reads or writes the disk.
func (s sysfs) verify(d device) error {
	disk := d.name
	if d.disk != "" {
		disk = d.disk
	}
	now, err := s.read(disk)
	if d.disk != "" {
		now = s.at(now, now.first)
	}
	if err != nil {
		return fault.New(fault.Unavailable, "verify device", d.node, "it disappeared: %v", err)
	}
	if now.name != d.name || now.serial != d.serial || now.number != d.number {
		return fault.New(fault.Conflict, "verify device", d.node, "it is now %s with serial number %q and no longer %s; nothing was touched",
			now.number, now.serial, d.serial)
	}
	var st unix.Stat_t
	if err := unix.Lstat(d.node, &st); err != nil {
		return &fault.Error{Op: "verify device", Subject: d.node, Kind: fault.Unavailable, Message: "sysfs shows the disk but its node is missing", Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK || number(st.Rdev) != d.number {
		return fault.New(fault.Conflict, "verify device", d.node, "the node is not block device %s, which has serial number %s; nothing was touched", d.number, d.serial)
	}
	return nil
}

// bytes returns the disk's size.
func (d device) bytes() (int64, error) {
	f, err := d.open(os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	return f.Seek(0, io.SeekEnd)
}

// wait returns the disk once it is there, verified and at least minBytes large. A disk appears some time after the
// cloud says that it is attached, and grows some time after the cloud says that it grew.
func (s sysfs) wait(ctx context.Context, t *task, serial string, minBytes int64, limit time.Duration) (device, error) {
	var found device
	err := poll(ctx, limit,
		func(err error) bool { return errors.Is(err, errNoDevice) || fault.Is(err, fault.Unavailable) },
		func(ctx context.Context) error {
			return t.run(ctx, "find device", serial, func() (err error) {
				found, err = s.ready(serial, minBytes)
				return err
			})
		})
	switch {
	case errors.Is(err, errNoDevice):
		return device{}, fault.New(fault.Unavailable, "find device", serial,
			"no disk with this serial number appeared below %s/class/block; check that the volume is attached to this node and that it is a Nitro instance (NVMe)", s.sysfsRoot)
	case err != nil:
		return device{}, err
	}
	return found, nil
}

func (s sysfs) ready(serial string, minBytes int64) (device, error) {
	d, err := s.find(serial)
	if err != nil {
		return device{}, err
	}
	if err := s.verify(d); err != nil {
		return device{}, err
	}
	size, err := d.bytes()
	if err == nil && size < minBytes {
		err = fault.New(fault.Unavailable, "wait for size", d.node, "the disk has %d bytes, %d are expected; the modification is not visible on this node yet", size, minBytes)
	}
	return d, err
}
