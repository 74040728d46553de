package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// condition is what a mount at one of a volume's own paths is to that volume.
type condition int

const (
	absent   condition = iota // nothing is mounted there
	foreign                   // another disk or another kind of file system
	gone                      // of an earlier attachment, whose disk is not there any more
	dead                      // of the volume's disk, but the file system was shut down
	readOnly                  // of the volume's disk, but the kernel made it read-only after an error
	outdated                  // of the volume's disk, but without what its journal has
	sound
)

// shutDown is how newer kernels show that ext4 was shut down; it still answers with what it has in memory.
const shutDown = "shutdown"

// examine returns what is mounted at one of the paths of the disk's volume, and its condition.
func (b *Block) examine(ctx context.Context, t *task, d device, point string) (e entry, is condition, err error) {
	mounts, err := readTable()
	if err != nil {
		return e, absent, err
	}
	e, ok := mounts.at(point)
	if !ok {
		return e, absent, nil
	}
	n, raw := deviceAt(e)
	known := raw
	if !raw {
		n, known = e.device()
	}
	switch {
	case known && d.shows(n) && raw:
		return e, sound, nil
	case !known || !d.shows(n):
		if isGone, err := b.sysfs.gone(e); isGone || err != nil {
			return e, gone, err
		}
		return e, foreign, nil
	}
	err = t.run(ctx, "look at", point, func() error { return alive(e) })
	switch {
	case (err == nil || errors.Is(err, unix.EROFS)) && unreplayedMount(e):
		return e, outdated, nil
	case errors.Is(err, unix.EROFS), err == nil && (mounts.failed(e) || ext4Ended(n)):
		return e, readOnly, nil
	case corrupted(err) && ext4Errors(n) && !slices.Contains(e.super, shutDown):
		return e, readOnly, nil // what is still readable stays at its targets
	case corrupted(err):
		return e, dead, nil
	case err != nil:
		return e, foreign, err
	}
	return e, sound, nil
}

// unreplayedMount reports whether the file system was mounted without its journal, as earlier versions of the driver did for
// readers. How the kernels show it: noload is norecovery in newer ones.
func unreplayedMount(e entry) bool {
	return slices.ContainsFunc(e.super, func(o string) bool {
		return o == "noload" || o == "norecovery" || o == "nologreplay" || o == "rescue=nologreplay"
	})
}

// skipsJournal reports whether the plan's options say that the journal is not to be replayed.
func skipsJournal(plan volume.BlockPlan) bool {
	return plan.Options.Has("noload") || plan.Options.Has("norecovery")
}

// failed reports whether the kernel made the mount's file system read-only after an error: newer kernels say so, older
// ones show a file system that is read-only under a mount that is not.
func (t table) failed(e entry) bool {
	return slices.Contains(e.super, "emergency_ro") ||
		slices.Contains(e.super, "ro") && slices.ContainsFunc(t, func(f entry) bool { return f.number == e.number && !slices.Contains(f.options, "ro") })
}

// ext4Errors reports whether the kernel found errors in an ext4 since it was checked last.
func ext4Errors(n devno) bool {
	link, err := os.Readlink(filepath.Join("/sys/dev/block", n.String()))
	if err != nil {
		return false
	}
	count, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(link), "errors_count"))
	return err == nil && strings.TrimSpace(string(count)) != "0"
}

// ext4Ended reports whether errors have ended writing to an ext4, as its option errors= says. Linux 6.1.176 shows that
// nowhere else: the mount is writable, and fsync(2) succeeds.
func ext4Ended(n devno) bool {
	link, err := os.Readlink(filepath.Join("/sys/dev/block", n.String()))
	if err != nil || !ext4Errors(n) {
		return false
	}
	options, err := os.ReadFile(filepath.Join("/proc/fs/ext4", filepath.Base(link), "options"))
	return err == nil && slices.Contains(strings.Split(string(options), "\n"), "errors=remount-ro")
}

// nodeName is how the node of a disk or of its first partition is called.
var nodeName = regexp.MustCompile(`^nvme[0-9]+n[0-9]+(p1)?$`)

// gone reports whether a mount was made from a disk's node and the kernel has no such disk any more. Its number and name
// are not used again while a file system is mounted; a bound node says itself that it was deleted.
func (s sysfs) gone(e entry) (bool, error) {
	root, deleted := strings.CutSuffix(e.root, "//deleted")
	n, raw := deviceAt(e)
	if raw {
		if deleted || !nodeName.MatchString(filepath.Base(root)) {
			return deleted && nodeName.MatchString(filepath.Base(root)), nil
		}
	} else {
		if filepath.Dir(e.source) != filepath.Clean(s.deviceRoot) || !nodeName.MatchString(filepath.Base(e.source)) {
			return false, nil
		}
		var known bool
		if n, known = e.device(); !known { // btrfs has no number but its node's
			return true, nil
		}
	}
	_, err := s.byNumber(n)
	if errors.Is(err, errNoDevice) {
		return true, nil
	}
	return false, err
}

// owned proves that a mount is the handle's, as far as that can be known: a disk that is gone has no serial number any
// more. It returns the number of what is mounted, and how to unmount it: what is gone goes in use or not.
func (b *Block) owned(e entry, handle string) (n devno, flags int, err error) {
	n, known := deviceAt(e)
	if !known {
		n, known = e.device()
	}
	if isGone, err := b.sysfs.gone(e); isGone || err != nil {
		return n, unix.MNT_DETACH, err
	}
	if known {
		d, err := b.sysfs.byNumber(n)
		if err == nil && d.serial == serialOf(handle) {
			return n, 0, nil
		}
		if err != nil && !errors.Is(err, errNoDevice) {
			return n, 0, err
		}
	}
	return n, 0, fault.New(fault.Conflict, "unmount", e.point, "%s is mounted there, which is not %s; it was left alone", b.describe(e), handle)
}

// describe names what is mounted: the disk whose node is bound, or the file system.
func (b *Block) describe(e entry) string {
	n, raw := deviceAt(e)
	if !raw {
		if n, raw = e.device(); !raw {
			return e.source + " (" + e.fsType + ")"
		}
		if d, err := b.sysfs.byNumber(n); err == nil {
			return "disk " + d.node + " with serial number " + d.serial + " (" + e.fsType + ")"
		}
		return e.source + " (" + e.fsType + ")"
	}
	if d, err := b.sysfs.byNumber(n); err == nil {
		return "disk " + d.node + " with serial number " + d.serial
	}
	return "block device " + n.String()
}

// clear takes away what is mounted at the first of the volume's own points from earlier attachments, and what is dead, lacks
// what its journal has although the plan does not say so, or, for a writer, was made read-only by the kernel. It returns what is left.
func (b *Block) clear(ctx context.Context, t *task, d device, plan volume.BlockPlan, own ...string) (entry, condition, error) {
	for {
		e, is, err := b.examine(ctx, t, d, own[0])
		if err != nil {
			return e, is, err
		}
		switch {
		case is == gone: // in use or not: what still uses it reaches no disk
			err = b.unmount(ctx, t, own[0], unix.MNT_DETACH)
		case is == dead, is == outdated && !skipsJournal(plan), is == readOnly && !plan.ReadOnly:
			err = b.retire(ctx, t, d, e, is, own)
		default:
			return e, is, nil
		}
		if err != nil {
			return e, is, err
		}
	}
}

// retire unmounts a file system that is dead, outdated or was made read-only, so that it can be checked and mounted again.
// That needs its end: as long as anybody uses it, the kernel gives it to the next mount as it is. So it stays where it is then.
func (b *Block) retire(ctx context.Context, t *task, d device, e entry, is condition, own []string) error {
	why := map[condition]string{
		dead:     "the file system was shut down",
		readOnly: "the kernel made the file system read-only after an error (its log says which)",
		outdated: "the file system was mounted without its journal and lacks what was written last",
	}[is]
	inUse := func(by string) error {
		return fault.New(fault.InUse, "check mount", e.point, "%s; it can be checked and mounted again when nothing uses it any more, but %s", why, by)
	}
	mounts, err := readTable()
	if err != nil {
		return err
	}
	if others := mounts.apart(mounts.like(e), own...); len(others) > 0 {
		return inUse("it is published at " + others[0].point + ": unpublish it there, which restarting its pods does")
	}
	var elsewhere []string
	if err := t.run(ctx, "find users", d.node, func() error { elsewhere = d.mountedElsewhere(); return nil }); err != nil {
		return err
	}
	if len(elsewhere) > 0 {
		return inUse(strings.Join(elsewhere, "; "))
	}
	var taken []entry
	for _, point := range slices.Backward(own) {
		if taken, err = b.unmountAll(ctx, t, e, point, taken); err != nil {
			break
		}
	}
	if err == nil {
		if err = b.exclusive(ctx, t, d); fault.Is(err, fault.InUse) {
			err = inUse(err.Error())
		}
	}
	if err != nil && len(taken) > 0 { // a container that starts again would get the bare directory, and write to the node's own disk
		n, _ := e.device()
		err = errors.Join(err, t.run(ctx, "mount", e.point, func() error { return restore(d, n, taken) }))
	}
	return err
}

// unmountAll takes away what is seen at a point as long as it is of that file system, and adds it to what was taken.
func (b *Block) unmountAll(ctx context.Context, t *task, of entry, point string, taken []entry) ([]entry, error) {
	for {
		mounts, err := readTable()
		if err != nil {
			return taken, err
		}
		e, ok := mounts.at(point)
		if !ok || e.number != of.number {
			return taken, nil
		}
		if err := b.unmount(ctx, t, point, 0); err != nil {
			return taken, err
		}
		taken = append(taken, e)
	}
}

// restore mounts a file system again that is still alive in the kernel, everywhere and as it was: what was taken last comes first.
func restore(d device, n devno, taken []entry) error {
	var errs []error
	for _, l := range d.living() {
		if l.number != n {
			continue
		}
		for _, e := range slices.Backward(taken) {
			errs = append(errs, l.mountAgain(e))
		}
		break
	}
	return errors.Join(errs...)
}

func (l living) mountAgain(e entry) error {
	attrs := 0
	for _, o := range e.options {
		a, _ := attribute(o)
		attrs |= int(a)
		if o == "ro" {
			attrs |= unix.MOUNT_ATTR_RDONLY
		}
	}
	tree, err := livingMount(l.device, l.fsType, attrs)
	if err != nil {
		return err
	}
	return errors.Join(place(tree, e.point), unix.Close(tree))
}
