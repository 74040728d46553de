package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// Where mount targets move to.
const plainMoved, secretMoved = "10.1.0.7", "10.1.0.8"

// twoMountTargets proves that volumes of one file system do not disturb each other where they came through two mount targets,
// which the kernel joins under the address of one.
func twoMountTargets(ctx context.Context, w *world) error {
	root := w.root(w.one)
	sub, err := w.sub("sub")
	sub.address = plainMoved
	if err := errors.Join(err, w.a.Add(ctx, plainMoved), lane.InOrder(ctx, root.mount, sub.mount)); err != nil {
		return err
	}
	second := sub
	second.pod = "second"
	err = lane.InOrder(ctx, root.unmount, w.one.restart, sub.stage, sub.publish, sub.stats, second.publish, second.unpublish, root.mount, sub.unmount, root.stage, root.publish, root.unmount)
	return errors.Join(err, w.a.Drop(ctx, plainMoved))
}

// movedMountTarget proves that the error names the dead connection that the kernel keeps, and who keeps it, and that all goes
// on when the old address answers again. Unmounting by force is no way out: mounts from the new address still hang then.
func movedMountTarget(ctx context.Context, w *world) error {
	root := w.root(w.one)
	sub, err := w.sub("sub")
	sub.address = plainMoved
	if err := errors.Join(err, root.mount(ctx), w.a.Add(ctx, plainMoved), w.a.Drop(ctx, plainA)); err != nil {
		return err
	}
	err = refused(within(ctx, 20*time.Second, sub.stage), codes.Unavailable, plainA+", which does not answer", root.staging(), root.target())
	err = errors.Join(err, w.a.Add(ctx, plainA))
	err = errors.Join(err, lane.Eventually(ctx, "stage once the old address answers", func() error { return within(ctx, 20*time.Second, sub.stage) }))
	return errors.Join(err, root.stats(ctx), sub.unstage(ctx), root.unmount(ctx), w.a.Drop(ctx, plainMoved))
}

// movedTunnel proves that a tunnel follows its mount target, and that programs which write through it go on.
func movedTunnel(ctx context.Context, w *world) error {
	root, sub := w.secret(fsA, secretA, "root"), w.secret(fsA+":/sub", secretMoved, "sub")
	if _, err := w.sub("sub"); err != nil {
		return err
	}
	if err := root.mount(ctx); err != nil {
		return err
	}
	writing, err := root.startWriter()
	if err != nil {
		return err
	}
	moved, err := w.openTerminal(ctx, fsA, secretMoved, plainA)
	if err := errors.Join(err, w.terminals[0].close()); err != nil {
		return err
	}
	err = errors.Join(sub.mount(ctx), writing.more(5), writing.end(), root.stats(ctx), sub.unmount(ctx))
	// Back again, by a stage of the volume that is mounted.
	back, backErr := w.openTerminal(ctx, fsA, secretA, plainA)
	if err := errors.Join(err, backErr); err != nil {
		return err
	}
	w.terminals[0] = back
	err = errors.Join(root.stage(ctx), moved.close(), root.save("file", "text"), root.stats(ctx), root.unmount(ctx))
	if back.count() == 0 {
		err = errors.Join(err, errors.New("nothing came through the mount target that it moved back to"))
	}
	return err
}

// expiredCertificate proves that the caller learns why a tunnel fails, wherever it asks.
func expiredCertificate(ctx context.Context, w *world) error {
	root, sub := w.secret(fsA, secretA, "root"), w.secret(fsA+":/sub", secretA, "sub")
	if _, err := w.sub("sub"); err != nil {
		return err
	}
	if err := root.mount(ctx); err != nil {
		return err
	}
	good, _ := w.terminals[0].certificate(nil)
	expired, err := w.authority.issue(certified(fsA), time.Now().Add(-time.Minute))
	if err != nil {
		return err
	}
	w.terminals[0].show(expired)
	w.terminals[0].cut()
	const why = "certificate has expired"
	err = refused(within(ctx, 15*time.Second, root.stats), codes.Unavailable, why, "within 10s")
	err = errors.Join(err, root.says(ctx, why), refused(within(ctx, 5*time.Second, sub.stage), codes.PermissionDenied, why),
		refused(within(ctx, 15*time.Second, root.stage), codes.PermissionDenied, why))
	w.terminals[0].show(good)
	return errors.Join(err, lane.Eventually(ctx, "stats", func() error { return root.stats(ctx) }), sub.mount(ctx), sub.unmount(ctx), root.unmount(ctx))
}

// sharedStats proves that many who measure a mount that hangs wait together, and that nobody waits for them.
func sharedStats(ctx context.Context, w *world) error {
	c := w.root(w.one)
	if err := errors.Join(c.mount(ctx), inside.Cut(ctx, w.a.PID())); err != nil {
		return err
	}
	measure := func(begun chan<- struct{}) error {
		var all sync.WaitGroup
		errs := make([]error, 5)
		for i := range errs {
			all.Go(func() { errs[i] = within(ctx, 15*time.Second, c.stats) })
		}
		close(begun)
		all.Wait()
		for i, err := range errs {
			errs[i] = refused(err, codes.Unavailable, "has not answered within 10s")
		}
		return errors.Join(errs...)
	}
	if err := measure(make(chan struct{})); err != nil {
		return errors.Join(err, inside.Mend(ctx, w.a.PID()))
	}
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = measure(begun) // whatever it says, since the volume goes away
	}()
	<-begun
	err := within(ctx, 5*time.Second, c.unpublish)
	<-ended
	return errors.Join(err, gone(c.target()), inside.Mend(ctx, w.a.PID()), lane.Eventually(ctx, "unstage", func() error { return c.unstage(ctx) }))
}
