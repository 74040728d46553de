package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

type scenario struct {
	name string
	run  func(context.Context, *world) error
}

// all are the scenarios; each begins and ends with no disk attached.
func all() []scenario {
	return []scenario{
		{"a disk looks like EBS's", looksLikeEBS},
		{"ext4: format, write, detach, attach, read", lifeOf("ext4", "")},
		{"xfs: format, write, detach, attach, read", lifeOf("xfs", "")},
		{"ext4: grow while mounted", growthOf("ext4", "")},
		{"xfs: grow while mounted", growthOf("xfs", "")},
		{"BOSH's layout, ext4: make, write, detach, attach, read", lifeOf("ext4", bosh)},
		{"BOSH's layout, ext4: grow while mounted", growthOf("ext4", bosh)},
		{"BOSH's layout, xfs: grow while mounted", growthOf("xfs", bosh)},
		{"a raw device: write, grow, detach, attach, read", rawDevice},
		{"stage waits for a disk that comes late", comesLate},
		{"stage of a disk that does not come fails", neverComes},
		{"a disk that is pulled out while mounted can be unmounted", pulledOut},
		{"a plugin that is killed knows its mounts again", restarted},
		{"another disk's data is left alone", foreignData},
	}
}

// shortWait is how long a test waits for what must not come.
const shortWait = 3 * time.Second

// The ids of two volumes.
const (
	volumeA = "vol-0a00000000000000a"
	volumeB = "vol-0b00000000000000b"
)

// attached makes a volume of 1 GiB and attaches it.
func (w *world) attached(ctx context.Context, id string) (*disk, error) {
	d, err := w.newDisk(id)
	if err != nil {
		return nil, err
	}
	return d, d.attach(ctx)
}

func looksLikeEBS(ctx context.Context, w *world) error {
	d, err := w.attached(ctx, volumeA)
	if err != nil {
		return err
	}
	for attribute, want := range map[string]string{"model": ebsModel, "serial": d.serial()} {
		got, err := os.ReadFile(filepath.Join("/sys/class/nvme", d.controller, attribute))
		if err != nil {
			return err
		}
		if text := strings.TrimSpace(string(got)); text != want {
			return fmt.Errorf("%s is %q, want %q", attribute, text, want)
		}
	}
	return nil
}

// lifeOf keeps data over a detach and an attach under another name. A second disk is always there to be mistaken for it.
func lifeOf(kind, layout string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		other, err := w.attached(ctx, volumeB)
		if err != nil {
			return err
		}
		d, err := w.attached(ctx, volumeA)
		if err != nil {
			return err
		}
		c, first := claim{w, volumeA, kind, layout}, d.node()
		if err := c.mount(ctx); err != nil {
			return err
		}
		if err := errors.Join(c.isMounted(d), c.save("written before the detach")); err != nil {
			return err
		}
		// Both go and come in the other order, so that the names change hands.
		if err := lane.InOrder(ctx, c.unmount, d.detach, other.detach, d.attach, other.attach); err != nil {
			return err
		}
		if d.node() == first {
			return fmt.Errorf("the disk is %s again: nothing is proven", first)
		}
		if err := c.mount(ctx); err != nil {
			return err
		}
		if err := errors.Join(c.isMounted(d), c.holds("written before the detach")); err != nil {
			return err
		}
		if err := c.unmount(ctx); err != nil {
			return err
		}
		return isEmpty(other.node())
	}
}

// growthOf grows a file system that is mounted and written to.
func growthOf(kind, layout string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		d, err := w.attached(ctx, volumeA)
		if err != nil {
			return err
		}
		c := claim{w, volumeA, kind, layout}
		if err := c.mount(ctx); err != nil {
			return err
		}
		if err := c.save("written before the growth"); err != nil {
			return err
		}
		before, err := c.total(ctx)
		if err != nil {
			return err
		}
		if err := d.grow(); err != nil {
			return err
		}
		if err := c.expand(ctx); err != nil {
			return err
		}
		after, err := c.total(ctx)
		if err != nil {
			return err
		}
		if grown := after - before; grown < gib*9/10 {
			return fmt.Errorf("the file system has %d bytes more, want about %d", grown, gib)
		}
		return errors.Join(c.isMounted(d), c.holds("written before the growth"), c.expand(ctx), c.unmount(ctx))
	}
}

func rawDevice(ctx context.Context, w *world) error {
	d, err := w.attached(ctx, volumeA)
	if err != nil {
		return err
	}
	c := claim{w, volumeA, raw, ""}
	if err := c.mount(ctx); err != nil {
		return err
	}
	text := []byte("written to the raw device")
	if err := overwrite(c.target(), text); err != nil {
		return err
	}
	if err := d.grow(); err != nil {
		return err
	}
	if err := lane.InOrder(ctx, c.expand, c.unmount, d.detach, d.attach, c.mount); err != nil {
		return err
	}
	got := make([]byte, len(text))
	f, err := os.Open(c.target())
	if err != nil {
		return err
	}
	_, err = f.ReadAt(got, 0)
	if err == nil && !bytes.Equal(got, text) {
		err = fmt.Errorf("the device holds %q, want %q", got, text)
	}
	return errors.Join(err, f.Close(), c.unmount(ctx))
}

// comesLate stages a volume that EC2 says is attached and whose device is not there yet.
func comesLate(ctx context.Context, w *world) error {
	d, err := w.newDisk(volumeA)
	if err != nil {
		return err
	}
	c := claim{w, volumeA, "ext4", ""}
	staged := make(chan error, 1)
	go func() {
		staged <- lane.Eventually(ctx, "stage", func() error {
			if err := c.stage(ctx); status.Code(err) == codes.Aborted {
				return err // the call below was first
			} else if err != nil {
				return fmt.Errorf("stage while the disk comes: %w", err)
			}
			return nil
		})
	}()
	// Another call for the same volume is refused as long as the first one waits.
	err = lane.Eventually(ctx, "the first call to wait", func() error {
		short, cancel := context.WithTimeout(ctx, shortWait/10)
		defer cancel()
		if err := c.stage(short); status.Code(err) != codes.Aborted {
			return fmt.Errorf("the second call answers %v, want Aborted", status.Convert(err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := errors.Join(d.attach(ctx), <-staged); err != nil {
		return err
	}
	return lane.InOrder(ctx, c.mount, func(context.Context) error { return c.isMounted(d) }, c.unmount)
}

func neverComes(ctx context.Context, w *world) error {
	if _, err := w.attached(ctx, volumeB); err != nil {
		return err
	}
	c := claim{w, volumeA, "ext4", ""}
	short, cancel := context.WithTimeout(ctx, shortWait)
	defer cancel()
	if err := c.stage(short); status.Code(err) != codes.DeadlineExceeded && status.Code(err) != codes.Unavailable {
		return fmt.Errorf("stage answers %v, want DeadlineExceeded or Unavailable", status.Convert(err))
	}
	if left, err := inside.MountedBelow(plugins); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("mounted: %v", left))
	}
	return c.unmount(ctx)
}

// pulledOut is a forced detach: the device is gone under a mounted file system.
func pulledOut(ctx context.Context, w *world) error {
	d, err := w.attached(ctx, volumeA)
	if err != nil {
		return err
	}
	c := claim{w, volumeA, "ext4", ""}
	if err := lane.InOrder(ctx, c.mount, func(context.Context) error { return c.save("may be lost") }, d.detach, c.unmount); err != nil {
		return err
	}
	// It comes back: the journal is replayed and the file that was synced is there.
	return lane.InOrder(ctx, d.attach, c.mount, func(context.Context) error { return errors.Join(c.isMounted(d), c.holds("may be lost")) }, c.unmount)
}

// restarted kills the plugin while a volume is mounted: the mount stays, and the next plugin grows it and takes it down.
func restarted(ctx context.Context, w *world) error {
	d, err := w.attached(ctx, volumeA)
	if err != nil {
		return err
	}
	c := claim{w, volumeA, "xfs", ""}
	if err := lane.InOrder(ctx, c.mount, w.restart); err != nil {
		return err
	}
	if err := errors.Join(c.isMounted(d), c.save("written without a plugin"), d.grow()); err != nil {
		return err
	}
	if err := lane.InOrder(ctx, c.mount, c.expand, w.restart, c.unmount, d.detach, d.attach, c.mount); err != nil {
		return err
	}
	return errors.Join(c.isMounted(d), c.holds("written without a plugin"), c.unmount(ctx))
}

// foreignData puts something on the disk that is no file system: it is never formatted away.
func foreignData(ctx context.Context, w *world) error {
	d, err := w.attached(ctx, volumeA)
	if err != nil {
		return err
	}
	text := []byte("somebody's own data, in no known form")
	if err := overwrite(d.node(), text); err != nil {
		return err
	}
	c := claim{w, volumeA, "xfs", ""}
	if err := c.stage(ctx); err == nil {
		return errors.New("a disk with data on it was staged")
	}
	got := make([]byte, len(text))
	f, err := os.Open(d.node())
	if err != nil {
		return err
	}
	_, err = f.ReadAt(got, 0)
	if err == nil && !bytes.Equal(got, text) {
		err = fmt.Errorf("the disk holds %q, want %q", got, text)
	}
	return errors.Join(err, f.Close(), c.unmount(ctx))
}

// save writes a file to the volume, down to the disk.
func (c claim) save(text string) error {
	return overwrite(filepath.Join(c.target(), "file"), []byte(text))
}

func (c claim) holds(text string) error {
	got, err := os.ReadFile(filepath.Join(c.target(), "file"))
	if err == nil && string(got) != text {
		err = fmt.Errorf("the file holds %q, want %q", got, text)
	}
	return err
}

// overwrite writes to the beginning of a file or device, down to the disk.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// isEmpty proves that nobody wrote to the beginning of a disk.
func isEmpty(node string) error {
	f, err := os.Open(node)
	if err != nil {
		return err
	}
	head := make([]byte, 1<<20)
	_, err = f.ReadAt(head, 0)
	if err == nil && !bytes.Equal(head, make([]byte, len(head))) {
		err = fmt.Errorf("somebody wrote to %s", node)
	}
	return errors.Join(err, f.Close())
}
