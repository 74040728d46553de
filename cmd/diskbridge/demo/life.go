package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

const (
	before = "written before the snapshot\n"
	after  = "written after the snapshot\n"
)

// lives plays the whole life of a disk of every kind.
func (s *scene) lives(ctx context.Context) error {
	for _, kind := range []string{"ext4", "xfs", "btrfs", raw} {
		if err := s.life(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// life takes one disk from provisioning to deletion, on both nodes.
func (s *scene) life(ctx context.Context, kind string) error {
	if kind == raw {
		s.section("A raw block device")
	} else {
		s.section("A file system: %s", kind)
	}
	here, there := s.nodes[0], s.nodes[1]
	d, err := s.provision(ctx, kind, kind, 1, "")
	if err != nil {
		return err
	}
	var snapshot string
	return inOrder(
		func() error { return s.use(ctx, d, here) },
		func() error { return s.write(ctx, d, "before", before) },
		func() (err error) { snapshot, err = s.snapshot(ctx, d); return err },
		func() error { return s.write(ctx, d, "after", after) },
		func() error { return s.expand(ctx, d) },
		func() error { return s.restore(ctx, d, snapshot) },
		func() error { return s.deleteSnapshot(ctx, snapshot) },
		func() error { return s.release(ctx, d) },
		func() error { return s.use(ctx, d, there) },
		func() error { return s.read(ctx, d, "before", before) },
		func() error { return s.read(ctx, d, "after", after) },
		func() error { return s.retire(ctx, d) },
	)
}

// restore puts the snapshot into a larger new volume, uses it beside its source
// and proves that it holds the past and not the present.
func (s *scene) restore(ctx context.Context, source *disk, snapshot string) error {
	d, err := s.provision(ctx, source.name+"-restored", source.kind, 2, snapshot)
	if err != nil {
		return err
	}
	return inOrder(
		func() error { return s.use(ctx, d, source.attachedTo) },
		func() error { return s.read(ctx, d, "before", before) },
		func() error { return s.absent(ctx, d, "after", after) },
		func() error { return s.grown(ctx, d) },
		func() error { return s.retire(ctx, d) },
	)
}

// expand doubles the disk while the pod uses it; ext4 where it may not grow
// mounted is unmounted, and grows on its way back.
func (s *scene) expand(ctx context.Context, d *disk) error {
	if err := s.expandVolume(ctx, d); err != nil {
		return err
	}
	if d.kind == "ext4" && !mayGrowMountedExt4() {
		s.note("this machine withholds CAP_SYS_RESOURCE, without which the kernel refuses to grow a mounted ext4:")
		s.note("the pod lets go of the disk for a moment, and ext4 grows unmounted")
		return inOrder(
			func() error { return s.unmount(ctx, d) },
			func() error { return s.mount(ctx, d) },
			func() error { return s.grown(ctx, d) },
		)
	}
	err := s.step(ctx, "tell the node", func(ctx context.Context) (string, error) {
		_, err := d.attachedTo.csi.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
			VolumeId: d.id, VolumePath: d.target(), StagingTargetPath: d.staging(),
			CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib}, VolumeCapability: d.capability()})
		return "", err
	})
	if err != nil {
		return err
	}
	return s.grown(ctx, d)
}

func (s *scene) expandVolume(ctx context.Context, d *disk) error {
	return s.step(ctx, "expand to 2 GiB", func(ctx context.Context) (string, error) {
		answer, err := s.controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: d.id, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib}, VolumeCapability: d.capability()})
		if err == nil && answer.GetCapacityBytes() != 2*gib {
			err = fmt.Errorf("the driver answered %d bytes", answer.GetCapacityBytes())
		}
		return d.id, err
	})
}

// grown measures what the pod sees; a file system may keep up to a fifth for itself.
func (s *scene) grown(ctx context.Context, d *disk) error {
	return s.step(ctx, "measure it in the pod", func(context.Context) (string, error) {
		size, err := d.size()
		switch {
		case err != nil:
			return "", err
		case size < 2*gib*8/10:
			return "", fmt.Errorf("the pod sees only %d MiB of 2 GiB", size>>20)
		}
		return fmt.Sprintf("%d MiB", size>>20), nil
	})
}

// size is what the pod sees, in bytes.
func (d *disk) size() (int64, error) {
	if d.kind != raw {
		var fs unix.Statfs_t
		err := unix.Statfs(d.target(), &fs)
		return int64(fs.Blocks) * fs.Bsize, err
	}
	f, err := os.Open(d.target())
	if err != nil {
		return 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	return size, errors.Join(err, f.Close())
}

// place says where in the pod a text is: a file of that name, or an offset of the device.
func (d *disk) place(name string) (path string, offset int64) {
	switch {
	case d.kind != raw:
		return filepath.Join(d.target(), name), 0
	case name == "before":
		return d.target(), 1 << 20
	default:
		return d.target(), 2 << 20
	}
}

func (s *scene) write(ctx context.Context, d *disk, name, text string) error {
	path, offset := d.place(name)
	return s.step(ctx, fmt.Sprintf("write %q", name), func(context.Context) (string, error) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
		if err != nil {
			return "", err
		}
		_, err = f.WriteAt([]byte(text), offset)
		return s.short(path), errors.Join(err, f.Sync(), f.Close())
	})
}

func (s *scene) read(ctx context.Context, d *disk, name, want string) error {
	return s.step(ctx, fmt.Sprintf("read %q back", name), func(context.Context) (string, error) {
		got, err := d.text(name, len(want))
		if err == nil && got != want {
			err = fmt.Errorf("it holds %q instead of %q", got, want)
		}
		return fmt.Sprintf("%q", want[:len(want)-1]), err
	})
}

// absent proves that what was written after the snapshot is not in it.
func (s *scene) absent(ctx context.Context, d *disk, name, unwanted string) error {
	return s.step(ctx, fmt.Sprintf("look for %q", name), func(context.Context) (string, error) {
		got, err := d.text(name, len(unwanted))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "absent, as it should be", nil
		case err != nil:
			return "", err
		case d.kind != raw || got == unwanted:
			return "", errors.New("it is in the snapshot although it was written later")
		}
		return "absent, as it should be", nil
	})
}

func (d *disk) text(name string, length int) (string, error) {
	path, offset := d.place(name)
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	text := make([]byte, length)
	_, err = f.ReadAt(text, offset)
	return string(text), errors.Join(err, f.Close())
}

// mayGrowMountedExt4 reports whether this process, and so its children, have CAP_SYS_RESOURCE.
func mayGrowMountedExt4() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// lifeOnPaper plays what a controller does alone, and says what is left out.
func (s *scene) lifeOnPaper(ctx context.Context) error {
	s.section("The controller half of a volume's life")
	s.note("left out, for they need root: loop devices, stage, publish, files, growing file systems")
	d, err := s.provision(ctx, "paper", "ext4", 1, "")
	if err != nil {
		return err
	}
	var snapshot string
	var copied *disk
	return inOrder(
		func() error { return s.attach(ctx, d, s.nodes[0]) },
		func() (err error) { snapshot, err = s.snapshot(ctx, d); return err },
		func() error { return s.expandVolume(ctx, d) },
		func() (err error) { copied, err = s.provision(ctx, "paper-restored", "ext4", 2, snapshot); return err },
		func() error { return s.deleteSnapshot(ctx, snapshot) },
		func() error { return s.retire(ctx, copied) },
		func() error { return s.release(ctx, d) },
		func() error { return s.attach(ctx, d, s.nodes[1]) },
		func() error { return s.retire(ctx, d) },
	)
}
