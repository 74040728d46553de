package mount

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Unstage takes the volume's mount away from stagingPath, and its tunnel. What is not mounted is no error; a mount of
// something else is a Conflict, one in use is InUse, and both stay. What programs have written is sent to the server
// first; of a server that does not answer for a while the mount is taken away by force.
func (n *NFS) Unstage(ctx context.Context, handle, stagingPath string) error {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return fault.New(fault.NotFound, "unstage", handle, "%v", err)
	}
	return n.work(ctx, "unstage", handle, func(t *task) error {
		point, tunnelled, err := n.takeAway(ctx, t, h, stagingPath)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil || n.Tunnels == nil {
			return err
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
	return n.work(ctx, "unpublish", handle, func(t *task) error {
		point, _, err := n.takeAway(ctx, t, h, targetPath)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		return t.run(ctx, "remove", point, func() error { return removeTarget(point) })
	})
}

// takeAway unmounts the handle's mounts at a path, and returns the path as the mount table shows it.
func (n *NFS) takeAway(ctx context.Context, t *task, h volume.Handle, path string) (point string, tunnelled bool, err error) {
	for {
		at, err := n.locate(ctx, t, path)
		if err != nil || !at.mounted {
			return at.point, tunnelled, err
		}
		if !at.entry.shows(h.Path) {
			return at.point, false, fault.New(fault.Conflict, "unmount", at.point, "%s (%s) is mounted there, which is not %s; it was left alone", at.entry.source, at.entry.fsType, h)
		}
		tunnelled = tunnelled || at.entry.value("addr") == loopback
		if err := n.unmount(ctx, t, at); err != nil {
			return at.point, tunnelled, err
		}
	}
}

// unmount takes one mount away. The last one of a file system is only taken away after all that was written has reached
// the server; before others nothing is sent, so that nothing can hang.
func (n *NFS) unmount(ctx context.Context, t *task, at spot) error {
	if at.shared {
		err := n.unmountPlain(ctx, t, at.point)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		// A process that waits for a dead server holds it for ever.
		dead, lookErr := n.dead(ctx, t, at.point)
		if lookErr != nil || !dead {
			return errors.Join(lookErr, err)
		}
		return n.force(ctx, t, at.point, unix.MNT_DETACH)
	}
	dead, err := n.dead(ctx, t, at.point)
	switch {
	case err != nil:
		return err
	case dead:
		return n.force(ctx, t, at.point, unix.MNT_DETACH|unix.MNT_FORCE)
	default:
		return n.unmountPlain(ctx, t, at.point)
	}
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

// forceLimit is how long the kernel may take to give up.
const forceLimit = 5 * time.Second

// force takes away a mount whose server does not answer. The child may hang in what the kernel still wants to send, and is
// killed then; by that time the mount is gone.
func (n *NFS) force(ctx context.Context, t *task, point string, flags int) error {
	life, cancel := soon(ctx, forceLimit)
	defer cancel()
	_, err := n.children.run(ctx, life, t, order{Do: "unmount", Path: point, Flags: flags})
	mounts, tableErr := readTable()
	if tableErr != nil {
		return tableErr
	}
	if _, still := mounts.at(point); still {
		return errors.Join(fault.New(fault.Unavailable, "unmount", point, "the server does not answer, and the mount does not go away by force"), err)
	}
	if n.Forced != nil {
		n.Forced(point)
	}
	return nil
}
