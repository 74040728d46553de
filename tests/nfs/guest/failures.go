package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// within gives a call some time, and proves that it answers then.
func within(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := time.Now()
	err := call(short)
	if took := time.Since(begin); took > limit+time.Second {
		return fmt.Errorf("the call took %s, and had %s", took, limit)
	}
	return err
}

func closedPort(ctx context.Context, w *world) error {
	c := w.root(w.one)
	c.address = nobody
	return errors.Join(refused(within(ctx, 20*time.Second, c.stage), codes.Unavailable, "nobody serves NFS there"), c.unstage(ctx))
}

func swallowed(ctx context.Context, w *world) error {
	if err := inside.Cut(ctx, w.empty.PID()); err != nil {
		return err
	}
	c := w.root(w.one)
	c.address = nobody
	err := within(ctx, 5*time.Second, c.stage)
	if err == nil {
		err = errors.New("a server that does not answer was mounted")
	} else {
		err = nil
	}
	// Nothing is left of it that would hold the volume.
	return errors.Join(err, lane.Eventually(ctx, "unstage", func() error { return c.unstage(ctx) }), inside.Mend(ctx, w.empty.PID()))
}

// pluginKilled proves that a mount outlives the plugin, and that the next plugin knows it.
func pluginKilled(ctx context.Context, w *world) error {
	c := w.root(w.one)
	if err := c.mount(ctx); err != nil {
		return err
	}
	writing, err := c.startWriter()
	if err != nil {
		return err
	}
	err = errors.Join(w.one.restart(ctx), writing.more(5), c.mount(ctx), c.stats(ctx), writing.more(5), writing.end())
	return errors.Join(err, c.unmount(ctx))
}

// killedWhileMounting proves that a plugin that is killed at any moment of mounting or unmounting leaves what the next one
// completes: a directory that is made once, and no mount too many.
func killedWhileMounting(ctx context.Context, w *world) error {
	for i, after := range []time.Duration{30 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond} {
		c := w.directory(w.one, fmt.Sprintf("/killed/%d", i), fmt.Sprintf("pvc-killed-%d", i))
		err := lane.InOrder(ctx,
			func(ctx context.Context) error { return c.killed(ctx, after, c.stage) },
			c.mount,
			func(context.Context) error {
				return errors.Join(belongs(filepath.Join(w.a.Root(), "killed", fmt.Sprint(i)), 1000, 2000, 0o2770), c.touch("mine"))
			},
			c.unpublish,
			func(ctx context.Context) error { return c.killed(ctx, after, c.unstage) },
			c.unmount)
		if err != nil {
			return fmt.Errorf("after %s: %w", after, err)
		}
	}
	return nil
}

// killed kills the plugin some time after a call has begun, which then may fail.
func (c claim) killed(ctx context.Context, after time.Duration, call func(context.Context) error) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = call(ctx) // its plugin is killed
	}()
	select {
	case <-time.After(after):
	case <-done:
	}
	err := c.restart(ctx)
	<-done
	return err
}

// serverBack proves that a hard mount waits, that the plugin does not, and that nothing is lost.
func serverBack(ctx context.Context, w *world) error {
	c := w.root(w.one)
	if err := c.mount(ctx); err != nil {
		return err
	}
	writing, err := c.startWriter()
	if err != nil {
		return err
	}
	if err := w.a.Stop(); err != nil {
		return err
	}
	err = within(ctx, 15*time.Second, c.stats)
	err = errors.Join(refused(err, codes.Unavailable, "has not answered"), c.ailments(ctx, "INACCESSIBLE MountDoesNotAnswer"), w.a.Start(), writing.more(5), writing.end(), c.stats(ctx), c.ailments(ctx))
	return errors.Join(err, c.unmount(ctx))
}

// unexported proves that stale mounts are seen, taken away, and made anew by a publish.
func unexported(ctx context.Context, w *world) error {
	c := w.root(w.one)
	if err := lane.InOrder(ctx, c.mount, func(context.Context) error { return w.a.Unexport() }); err != nil {
		return err
	}
	err := errors.Join(
		refused(within(ctx, 15*time.Second, c.stats), codes.Unavailable, "no longer answers"),
		within(ctx, 20*time.Second, c.unpublish), gone(c.target()))
	if err := errors.Join(err, w.a.Export()); err != nil {
		return err
	}
	// The staged mount may be stale or may work again: the kubelet only publishes.
	err = lane.Eventually(ctx, "publish after the export is back", func() error { return c.publish(ctx) })
	if err := errors.Join(err, c.save("file", "text"), w.a.Unexport()); err != nil {
		return err
	}
	return errors.Join(within(ctx, 40*time.Second, c.unmount), w.a.Export())
}
