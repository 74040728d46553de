package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// mountAsBefore mounts a volume and its target as releases without labels did.
func (c claim) mountAsBefore(ctx context.Context) error {
	if err := c.stage(ctx); err != nil { // it opens the tunnel
		return err
	}
	shown, err := c.mountOptions(c.staging())
	if err := errors.Join(err, unix.Unmount(c.staging(), 0), unix.Unmount(c.staging(), 0)); err != nil { // the mount and its label
		return err
	}
	source, options := "", "nfsvers=4.1,hard,noresvport"
	for _, o := range shown {
		if value, ok := strings.CutPrefix(o, "source="); ok {
			source = value
		}
		if strings.HasPrefix(o, "port=") {
			options += "," + o
		}
	}
	return errors.Join(inside.Run(ctx, "mount.nfs4", source, c.staging(), "-n", "-o", options),
		os.MkdirAll(c.target(), 0o755), unix.Mount(c.staging(), c.target(), "", unix.MS_BIND, ""))
}

// mountedByEarlierRelease proves that volumes which a release without labels mounted stay in use after an upgrade of the plugin,
// for pods that have them and for new ones, and that a target of one can go while its server does not answer.
func mountedByEarlierRelease(ctx context.Context, w *world) error {
	for _, c := range []claim{w.root(w.one), w.secret(fsA, secretA, "secret")} {
		second := c
		second.pod = "second"
		err := lane.InOrder(ctx, c.mountAsBefore, w.one.restart, c.stats, c.stage, c.publish, second.publish, second.stats,
			func(context.Context) error { return errors.Join(c.save("file", "text"), second.holds("file", "text")) },
			second.unpublish, c.stats, c.unmount)
		if err := errors.Join(err, nothingStaged(c)); err != nil {
			return err
		}
	}
	c := w.root(w.one)
	if err := c.mountAsBefore(ctx); err != nil {
		return err
	}
	err := errors.Join(c.buffer(func() error { return inside.Cut(ctx, w.a.PID()) }), within(ctx, 20*time.Second, c.unpublish), gone(c.target()), inside.Mend(ctx, w.a.PID()))
	if err != nil {
		return err
	}
	err = lane.Eventually(ctx, "unstage", func() error { return c.unstage(ctx) })
	return errors.Join(err, nothingStaged(c), arrived(filepath.Join(w.a.Root(), "buffered")))
}
