package mount

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Unstage takes the volume's mount away from stagingPath, and its tunnel. What is not mounted is no error. What programs have
// written is sent to the server first.
//
// Kinds: Pending (that is not done within the deadline, or the server does not answer: the mount stays), InUse (published, or
// used by a process), Conflict (a mount of something else), Internal (the server refused data, which is lost; told once).
func (n *NFS) Unstage(ctx context.Context, handle, stagingPath string) error {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return fault.New(fault.NotFound, "unstage", handle, "%v", err)
	}
	return n.unmounting(ctx, "unstage", h, func(t *task) error {
		point, tunnelled, err := n.takeAway(ctx, t, h, stagingPath, stagedLabel(h.String()))
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		_ = n.losses.take(h.String()) // nothing is left that it could be about
		if n.Tunnels == nil {
			return nil
		}
		// Also without a mount: an earlier call may have come as far as this.
		if err := n.Tunnels.Close(ctx, h.Root, point); err != nil && tunnelled {
			return fault.Wrap("close tunnel", h.Root, err)
		}
		return nil
	})
}

// Unpublish takes the volume away from targetPath and removes the empty directory. What is not there is no error; a mount
// of something else is a Conflict, one in use is InUse, and both stay.
func (n *NFS) Unpublish(ctx context.Context, handle, targetPath string) error {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return fault.New(fault.NotFound, "unpublish", handle, "%v", err)
	}
	return n.unmounting(ctx, "unpublish", h, func(t *task) error {
		point, _, err := n.takeAway(ctx, t, h, targetPath, publishedLabel(h.String()))
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		return t.run(ctx, "remove", point, func() error { return removeTarget(point) })
	})
}

// unmounting runs fn as the volume's only operation, without measurements, which would keep its mounts busy.
func (n *NFS) unmounting(ctx context.Context, op string, h volume.Handle, fn func(*task) error) error {
	return n.work(ctx, op, h.String(), func(t *task) error {
		release, err := n.measures.stop(ctx, h.String())
		if err != nil {
			return err
		}
		defer release()
		return fn(t)
	})
}

// takeAway unmounts the volume's mounts at a path with their label, and returns the path as the mount table shows it.
func (n *NFS) takeAway(ctx context.Context, t *task, h volume.Handle, path string, l label) (point string, tunnelled bool, err error) {
	for first := true; ; first = false {
		at, err := n.locate(ctx, t, path)
		if err != nil {
			return at.point, tunnelled, err
		}
		if first && l == stagedLabel(h.String()) {
			if err := inUse(at, h.String()); err != nil {
				return at.point, tunnelled, err
			}
		}
		if !at.mounted {
			return at.point, tunnelled, t.run(ctx, "remove label", at.point, func() error { return takeLabel(at.point) })
		}
		if !at.shows(l, "") {
			return at.point, false, fault.New(fault.Conflict, "unmount", at.point, "%s (%s) is mounted there, which is not %s; it was left alone", at.entry.source, at.entry.fsType, h)
		}
		tunnelled = tunnelled || at.entry.value("addr") == loopback
		if err := n.unmount(ctx, t, h, at, l); err != nil {
			return at.point, tunnelled, err
		}
	}
}

// unmount takes one mount away. As long as the volume is staged, what was written is kept there, and nothing is asked of the
// server. Otherwise all that was written is sent to it first.
func (n *NFS) unmount(ctx context.Context, t *task, h volume.Handle, at spot, l label) error {
	if at.kept(l) {
		return n.unmountTarget(ctx, t, at.point)
	}
	if slices.Contains(at.entry.super, "ro") { // nothing can have been written
		return n.unmountPlain(ctx, t, at.point)
	}
	stale, err := n.flush(ctx, t, h, at)
	if err != nil {
		return err
	}
	if !stale {
		return n.unmountPlain(ctx, t, at.point)
	}
	if n.Lost != nil {
		n.Lost(at.point)
	}
	return n.detach(ctx, t, at.point)
}

// kept reports whether what was written through the mount there, which the label is for, is kept where the volume was staged:
// by a mount of the same superblock. An earlier release's has no label; a target may count any other mount without one, since
// what was written is kept as long as one is left, and sent before the last goes.
func (p spot) kept(l label) bool {
	staged := p.mounts.apart(p.mounts.labelled(stagedLabel(l.handle())), p.point)
	return slices.ContainsFunc(staged, func(e entry) bool { return e.number == p.entry.number }) ||
		l == publishedLabel(l.handle()) && len(p.unlabelled()) > 0
}

// unmountTarget unmounts a target, lazily where a process that waits for a dead server keeps it busy, as it would for ever.
func (n *NFS) unmountTarget(ctx context.Context, t *task, point string) error {
	err := n.unmountPlain(ctx, t, point)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	dead, lookErr := n.dead(ctx, t, point)
	if lookErr != nil || !dead {
		return errors.Join(lookErr, err)
	}
	return n.detach(ctx, t, point)
}

// dead reports whether a server has not answered for as long as the node is patient. It is an error if there was no time
// to be patient.
func (n *NFS) dead(ctx context.Context, t *task, point string) (bool, error) {
	life, cancel := soon(ctx, n.Patience)
	defer cancel()
	begin := time.Now()
	_, err := n.children.run(ctx, life, t, order{Do: "look", Path: point})
	if !fault.Is(err, fault.Unavailable) {
		return false, nil // it says something, though it may be an error
	}
	if time.Since(begin) < n.Patience {
		return false, err
	}
	return true, nil
}

// unmountPlain waits for the server. When ctx ends the child goes on, and keeps the volume: what was written is not lost.
func (n *NFS) unmountPlain(ctx context.Context, t *task, point string) error {
	_, err := n.children.run(ctx, context.WithoutCancel(ctx), t, order{Do: "unmount", Path: point})
	switch {
	case errors.Is(err, unix.EBUSY):
		return &fault.Error{Op: "unmount", Subject: point, Kind: fault.InUse, Message: "it is in use" + holders(point), Err: unix.EBUSY}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // somebody else was faster
		return nil
	}
	return err
}

// detach takes away a stale mount, in use or not.
func (n *NFS) detach(ctx context.Context, t *task, point string) error {
	_, err := n.children.run(ctx, context.WithoutCancel(ctx), t, order{Do: "unmount", Path: point, Flags: unix.MNT_DETACH})
	return err
}
