package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskbridge/diskbridge/tests/lane"
)

const (
	gib       = int64(1) << 30 // what a volume has at first
	grownSize = 2 * gib
	// ebsModel is what every EBS volume says: https://docs.aws.amazon.com/ebs/latest/userguide/nvme-ebs-volumes.html
	ebsModel = "Amazon Elastic Block Store"
	nvmet    = "/sys/kernel/config/nvmet"
	port     = nvmet + "/ports/1"
	fabrics  = "/dev/nvme-fabrics"
)

// openPort makes the target that disks are attached through.
func openPort() error {
	return errors.Join(os.Mkdir(port, 0o755),
		set(port, "addr_trtype", "tcp"), set(port, "addr_adrfam", "ipv4"), set(port, "addr_traddr", "127.0.0.1"), set(port, "addr_trsvcid", "4420"))
}

// set writes one attribute of configfs or sysfs.
func set(dir, attribute, value string) error {
	return os.WriteFile(filepath.Join(dir, attribute), []byte(value), 0)
}

// disk is an EBS volume of this machine's own EC2: a sparse file behind an NVMe controller.
type disk struct {
	id         string // vol-…
	controller string // nvme0 while it is attached
}

func (d *disk) serial() string    { return strings.ReplaceAll(d.id, "-", "") }
func (d *disk) file() string      { return "/disks/" + d.id }
func (d *disk) nqn() string       { return "nqn.2026-01.io.diskbridge:" + d.id }
func (d *disk) subsystem() string { return nvmet + "/subsystems/" + d.nqn() }

// newDisk makes a volume of 1 GiB; it is not attached.
func (w *world) newDisk(id string) (*disk, error) {
	d := &disk{id: id}
	w.disks = append(w.disks, d)
	if err := os.WriteFile(d.file(), nil, 0o600); err != nil {
		return nil, err
	}
	namespace := d.subsystem() + "/namespaces/1"
	return d, errors.Join(os.Truncate(d.file(), gib),
		os.Mkdir(d.subsystem(), 0o755),
		set(d.subsystem(), "attr_model", ebsModel), set(d.subsystem(), "attr_serial", d.serial()), set(d.subsystem(), "attr_allow_any_host", "1"),
		os.Mkdir(namespace, 0o755),
		set(namespace, "device_path", d.file()), set(namespace, "buffered_io", "1"), set(namespace, "enable", "1"),
		os.Symlink(d.subsystem(), port+"/subsystems/"+d.nqn()))
}

// attach plugs the volume in and waits until its block device is there.
func (d *disk) attach(ctx context.Context) error {
	if err := d.plug(); err != nil {
		return fmt.Errorf("attach %s: %w", d.id, err)
	}
	return lane.Eventually(ctx, "the device of "+d.id, func() error {
		if _, err := os.Stat(d.sysfs()); err != nil {
			return err
		}
		_, err := os.Stat(d.node())
		return err
	})
}

// plug plugs the volume in; its block device comes a little later.
func (d *disk) plug() error {
	f, err := os.OpenFile(fabrics, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("transport=tcp,traddr=127.0.0.1,trsvcid=4420,nr_io_queues=1,nqn=" + d.nqn())
	if err != nil {
		return errors.Join(err, f.Close())
	}
	answer := make([]byte, 128)
	n, err := f.Read(answer)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	var instance int
	if _, err := fmt.Sscanf(string(answer[:n]), "instance=%d", &instance); err != nil {
		return fmt.Errorf("the kernel answers %q: %w", answer[:n], err)
	}
	d.controller = fmt.Sprintf("nvme%d", instance)
	return nil
}

func (d *disk) node() string  { return "/dev/" + d.controller + "n1" }
func (d *disk) sysfs() string { return "/sys/class/block/" + d.controller + "n1" }

// detach pulls the volume out, in use or not, and waits until its block device is gone.
func (d *disk) detach(ctx context.Context) error {
	if d.controller == "" {
		return nil
	}
	if err := set("/sys/class/nvme/"+d.controller, "delete_controller", "1"); err != nil {
		return fmt.Errorf("detach %s: %w", d.id, err)
	}
	err := lane.Eventually(ctx, "no device of "+d.id, func() error {
		if _, err := os.Stat(d.node()); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%s is still there", d.node()))
		}
		return nil
	})
	d.controller = ""
	return err
}

// grow makes the volume larger while it is attached.
func (d *disk) grow() error {
	return errors.Join(os.Truncate(d.file(), grownSize), set(d.subsystem()+"/namespaces/1", "revalidate_size", "1"))
}

// delete removes a volume that is not attached.
func (d *disk) delete() error {
	return errors.Join(os.Remove(port+"/subsystems/"+d.nqn()), os.Remove(d.subsystem()+"/namespaces/1"), os.Remove(d.subsystem()), os.Remove(d.file()))
}
