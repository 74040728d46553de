package mount

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Publish makes a staged volume visible at targetPath, which it creates: a directory for a file system, a file that is
// the device for a raw plan. readOnly makes this target read-only, whatever the plan says.
//
// Kinds: InUse (not attached, not staged, published elsewhere although the plan has one target, or a raw device that is
// published the other way), Conflict (the target has another mount), Invalid (path), Pending and UnknownOutcome (deadline).
func (b *Block) Publish(ctx context.Context, plan volume.BlockPlan, stagingPath, targetPath string, readOnly bool) error {
	readOnly = readOnly || plan.ReadOnly
	return b.work(ctx, "publish", plan.Handle, func(t *task) error {
		target, err := resolve(ctx, t, targetPath)
		if err != nil {
			return err
		}
		d, err := b.present(ctx, t, plan)
		if err != nil {
			return err
		}
		source := d.node
		if !plan.Raw {
			if source, err = b.source(ctx, t, d, plan, stagingPath, target, readOnly); err != nil {
				return err
			}
		}
		published, err := b.published(ctx, t, d, target, readOnly)
		if err != nil || published {
			return err
		}
		if plan.OneTarget {
			if err := onlyTarget(d, source, target); err != nil {
				return err
			}
		}
		if plan.Raw {
			if err := b.guardRaw(ctx, t, d, target, readOnly); err != nil {
				return err
			}
		}
		return t.run(ctx, "publish", target, func() error {
			if err := makeTarget(target, plan.Raw); err != nil {
				return err
			}
			return bind(source, target, readOnly, false)
		})
	})
}

// present returns the plan's disk, which must be attached by now.
func (b *Block) present(ctx context.Context, t *task, plan volume.BlockPlan) (d device, err error) {
	err = t.run(ctx, "find device", plan.Serial, func() (err error) {
		d, err = b.sysfs.ready(plan.Serial, 0)
		return err
	})
	if errors.Is(err, errNoDevice) {
		err = fault.New(fault.InUse, "find device", plan.Serial, "the volume is not attached to this node; attach and stage it first")
	}
	if err != nil {
		return device{}, err
	}
	return d, nil
}

// source returns the staging path as the mount table shows it, if the plan's disk is mounted there and answers. What is left
// of an earlier attachment, was shut down, mounted without its journal or, for a writer, made read-only by the kernel is staged
// again first: kubelet repeats only this call for a pod that it has.
func (b *Block) source(ctx context.Context, t *task, d device, plan volume.BlockPlan, stagingPath, target string, readOnlyTarget bool) (string, error) {
	point, err := resolve(ctx, t, stagingPath)
	if err != nil {
		return "", err
	}
	own := []string{point}
	_, is, err := b.examine(ctx, t, d, point)
	switch {
	case err != nil:
		return "", err
	case is == sound, is == readOnly && readOnlyTarget, is == outdated && skipsJournal(plan):
		return point, nil
	case is == dead: // and so is the target, if it shows the volume
		own = append(own, target)
	case is == gone && plan.FSType == volume.Btrfs: // kernels before 6.7 mount it again only after all that is left of it is gone
		reader := plan
		reader.ReadOnly = true // what is read-only at the target is not looked at yet
		if _, _, err := b.clear(ctx, t, d, reader, target); err != nil {
			return "", err
		}
	case is == absent:
		if _, is, err = b.examine(ctx, t, d, target); err != nil {
			return "", err
		}
	}
	if is == absent || is == foreign || is == sound {
		return "", fault.New(fault.InUse, "check mount", point, "disk %s is not mounted there; stage the volume first", d.node)
	}
	plan.MayFormat = false // it was staged before
	if err := b.stage(ctx, t, d, plan, own...); err != nil {
		return "", fault.Wrap("stage again", point, err)
	}
	return point, nil
}

// published reports whether the target shows the disk already, in the right way. A mount of it that is gone or no longer
// answers is taken away.
func (b *Block) published(ctx context.Context, t *task, d device, target string, wantReadOnly bool) (bool, error) {
	for {
		e, is, err := b.examine(ctx, t, d, target)
		switch {
		case err != nil || is == absent:
			return false, err
		case is == foreign:
			return false, fault.New(fault.Conflict, "check mount", target, "%s is mounted there, and not disk %s; unmount it first if it is not needed", b.describe(e), d.node)
		case is == gone || is == dead:
			if err := b.unmount(ctx, t, target, unix.MNT_DETACH); err != nil {
				return false, err
			}
		case e.readOnly() != wantReadOnly:
			return false, fault.New(fault.Conflict, "check mount", target, "the volume is published there, but read-only is %t and not %t; unpublish it first", e.readOnly(), wantReadOnly)
		default:
			return true, nil
		}
	}
}

// onlyTarget proves that the disk is seen at no other path than where it is staged: CSI specification, NodePublishVolume,
// access mode SINGLE_NODE_SINGLE_WRITER.
func onlyTarget(d device, staging, target string) error {
	mounts, err := readTable()
	if err != nil {
		return err
	}
	others := rawTargets(mounts, d, target)
	for _, e := range mounts.apart(append(mounts.of(d.number), mounts.of(d.first)...), staging, target) {
		others = append(others, e.point)
	}
	if len(others) > 0 {
		return fault.New(fault.InUse, "publish", target, "the volume is published at %s already, and its access mode allows one path; unpublish it there first", others[0])
	}
	return nil
}

// deviceAt returns the number of the disk whose node is bound at a mount's point; the node is never the root of what is mounted.
func deviceAt(e entry) (devno, bool) {
	var st unix.Stat_t
	if e.root == "/" || unix.Lstat(e.point, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return devno{}, false
	}
	return number(st.Rdev), true
}

func makeTarget(target string, raw bool) error {
	st, err := os.Lstat(target)
	switch {
	case err == nil && raw != st.IsDir() && (st.IsDir() || st.Mode().IsRegular()):
		return nil
	case err == nil:
		return fault.New(fault.Invalid, "make target", target, "something of another type is there already; move it away")
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case !raw:
		return kernelError("make target", target, os.Mkdir(target, 0o750))
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return kernelError("make target", target, err)
	}
	return f.Close()
}

// Unpublish takes the volume away from targetPath and removes the empty file or directory. What is not there is no
// error; a mount of another disk is a Conflict, one in use is InUse, and both stay.
func (b *Block) Unpublish(ctx context.Context, handle, targetPath string) error {
	return b.work(ctx, "unpublish", handle, func(t *task) error {
		target, err := takeAway(ctx, t, targetPath, func(_ table, e entry) error {
			_, raw := deviceAt(e)
			n, flags, err := b.owned(e, handle)
			if err == nil {
				err = b.unmount(ctx, t, e.point, flags)
			}
			if err == nil && raw {
				b.release(ctx, t, n)
			}
			return err
		})
		if err != nil || target == "" {
			return err
		}
		return t.run(ctx, "remove", target, func() error { return removeTarget(target) })
	})
}

// rawTargets lists where the disk's node is bound, apart from one target.
func rawTargets(mounts table, d device, target string) []string {
	var st unix.Stat_t
	if unix.Lstat(d.node, &st) != nil {
		return nil
	}
	var out []string
	for _, e := range mounts {
		if e.number != number(st.Dev) || path.Base(e.root) != d.name || mounts.among(e, []string{target}) {
			continue
		}
		if n, ok := deviceAt(e); ok && n == d.number {
			out = append(out, e.point)
		}
	}
	return out
}

// guardRaw makes the disk itself read-only or writable before it is handed out: a read-only bind mount does not stop writes to
// a device node, so the kernel's flag on the disk is the only protection.
func (b *Block) guardRaw(ctx context.Context, t *task, d device, target string, readOnly bool) error {
	return t.run(ctx, "guard", d.node, func() error { return guard(d, readOnly, target) })
}
