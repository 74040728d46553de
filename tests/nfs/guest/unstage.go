package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// sub is a claim of a directory that exists, in a pod of its own.
func (w *world) sub(name string) (claim, error) {
	c := w.root(w.one)
	c.handle, c.pod = fsA+":/"+name, name
	return c, os.MkdirAll(filepath.Join(w.a.Root(), name), 0o755)
}

// writtenBeforeUnstage proves that what a killed program wrote is on the server when unstage answers, although the superblock
// is another volume's as well, so that unmounting alone sends nothing.
func writtenBeforeUnstage(ctx context.Context, w *world) error {
	root := w.root(w.one)
	sub, err := w.sub("sub")
	if err := errors.Join(err, lane.InOrder(ctx, root.mount, sub.mount)); err != nil {
		return err
	}
	err = errors.Join(sub.buffer(func() error { return inside.Cut(ctx, w.a.PID()) }), within(ctx, 20*time.Second, sub.unpublish), inside.Mend(ctx, w.a.PID()))
	if err != nil {
		return err
	}
	err = lane.Eventually(ctx, "unstage", func() error { return sub.unstage(ctx) })
	return errors.Join(err, arrived(filepath.Join(w.a.Root(), "sub/buffered")), root.unmount(ctx))
}

// keptUntilBack proves that a pod can go although its server does not answer, and that what it wrote is not given up: not at
// the end of the call's time, not by another plugin.
func keptUntilBack(ctx context.Context, w *world) error {
	c := w.root(w.one)
	if err := c.mount(ctx); err != nil {
		return err
	}
	err := errors.Join(c.buffer(func() error { return inside.Cut(ctx, w.a.PID()) }), within(ctx, 20*time.Second, c.unpublish), gone(c.target()))
	for range 2 {
		err = errors.Join(err, refused(within(ctx, 13*time.Second, c.unstage), codes.Aborted, "stays mounted", "umount -f -l "+c.staging()), c.shows("type=nfs4"), w.one.restart(ctx))
	}
	if err := errors.Join(err, inside.Mend(ctx, w.a.PID())); err != nil {
		return err
	}
	err = lane.Eventually(ctx, "unstage", func() error { return c.unstage(ctx) })
	if err := errors.Join(err, arrived(filepath.Join(w.a.Root(), "buffered"))); err != nil {
		return err
	}
	return abandoned(ctx, w)
}

// abandoned proves that an operator can give up a server that never comes back.
func abandoned(ctx context.Context, w *world) error {
	c := w.root(w.one)
	c.handle, c.address = fsB, plainB
	if err := lane.InOrder(ctx, c.mount, func(ctx context.Context) error { return inside.Cut(ctx, w.b.PID()) }, c.unpublish); err != nil {
		return err
	}
	err := refused(within(ctx, 13*time.Second, c.unstage), codes.Aborted, "umount -f -l")
	err = errors.Join(err, unix.Unmount(c.staging(), unix.MNT_FORCE|unix.MNT_DETACH), within(ctx, 10*time.Second, c.unstage), inside.Mend(ctx, w.b.PID()))
	if err != nil {
		return err
	}
	return lane.Eventually(ctx, "mount again", func() error { return lane.InOrder(ctx, c.mount, c.unmount) })
}

// refusedWrites proves that data which the server does not take is reported, once.
func refusedWrites(ctx context.Context, w *world) error {
	c := w.root(w.one)
	if err := c.mount(ctx); err != nil {
		return err
	}
	small := func(program string) error {
		return inside.Run(ctx, "nsenter", w.a.Command("/init", program, "/srv")[1:]...)
	}
	err := errors.Join(small("shrink"), c.buffer(func() error { return inside.Cut(ctx, w.a.PID()) }), c.unpublish(ctx), inside.Mend(ctx, w.a.PID()))
	if err != nil {
		return errors.Join(err, small("grow"))
	}
	err = lane.Eventually(ctx, "the error", func() error {
		err := c.unstage(ctx)
		if err == nil {
			return errors.New("unstage answered OK")
		}
		return refused(err, codes.Internal, "did not take all", "no space left on device")
	})
	return errors.Join(err, c.shows("type=nfs4"), c.unstage(ctx), nothingStaged(c), small("grow"))
}

// nothingStaged proves that nothing is mounted where the volume was staged.
func nothingStaged(c claim) error {
	if options, err := c.mountOptions(c.staging()); err == nil {
		return fmt.Errorf("still mounted: %q", options)
	}
	return nil
}

// renamedDirectory proves that a volume is known by its mount, and not by the name of its directory, which the kernel shows
// as it is now.
func renamedDirectory(ctx context.Context, w *world) error {
	root := w.root(w.one)
	if err := root.mount(ctx); err != nil {
		return err
	}
	for _, fate := range []string{"renamed", "replaced", "removed"} {
		sub, err := w.sub("base/" + fate)
		if err := errors.Join(err, sub.mount(ctx), sub.save("file", fate)); err != nil {
			return err
		}
		switch path := root.file("base/" + fate); fate {
		case "removed":
			err = errors.Join(os.Remove(sub.file("file")), os.Remove(path))
		case "replaced":
			err = errors.Join(os.Rename(path, root.file("elsewhere")), os.Mkdir(path, 0o755))
		default:
			err = os.Rename(path, root.file("moved"))
		}
		if err := errors.Join(err, w.one.restart(ctx)); err != nil {
			return err
		}
		if fate != "removed" {
			second := sub
			second.pod = "second"
			err = lane.InOrder(ctx, sub.stage, sub.stats, second.publish, func(context.Context) error { return second.holds("file", fate) }, second.unpublish, sub.publish)
		}
		if err := errors.Join(err, sub.unmount(ctx), nothingStaged(sub)); err != nil {
			return fmt.Errorf("%s: %w", fate, err)
		}
	}
	return root.unmount(ctx)
}

// unstageInUse proves that a published volume, and its tunnel, are not taken from its pod.
func unstageInUse(ctx context.Context, w *world) error {
	for _, c := range []claim{w.root(w.one), w.secret(fsA, secretA, "secret")} {
		if err := c.mount(ctx); err != nil {
			return err
		}
		writing, err := c.startWriter()
		if err != nil {
			return err
		}
		err = refused(c.unstage(ctx), codes.FailedPrecondition, c.target())
		err = errors.Join(err, writing.more(5), c.stats(ctx), unix.Unmount(c.staging(), 0), refused(c.unstage(ctx), codes.FailedPrecondition, c.target()))
		if err := errors.Join(err, writing.more(5), writing.end(), c.unmount(ctx), nothingStaged(c)); err != nil {
			return err
		}
	}
	return nil
}
