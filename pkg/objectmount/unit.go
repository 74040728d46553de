package objectmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// unit is one mount of a bucket: its program, where it is staged, and where it is published.
type unit struct {
	m      *Mounts
	id     string
	handle string

	lock   chan struct{} // holds one token while nobody has the unit; it guards all below
	record               // Staging is empty until the unit is mounted
	gone   bool          // it is no longer among the mounts
	over   chan struct{} // closed when it is gone
}

func newUnit(m *Mounts, id, handle string) *unit {
	u := &unit{m: m, id: id, handle: handle, lock: make(chan struct{}, 1), over: make(chan struct{})}
	u.lock <- struct{}{}
	return u
}

func (u *unit) take(ctx context.Context) error {
	select {
	case <-u.lock:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Pending, "wait for", u.handle, "an earlier operation on this volume has not come back yet; try again")
	}
}

func (u *unit) release() { u.lock <- struct{}{} }

func (u *unit) dir() string   { return filepath.Join(u.m.Dir, u.id) }
func (u *unit) cache() string { return filepath.Join(u.m.Cache, u.id) }

// mount mounts the bucket for the first time. What was made is taken away again if that fails.
func (u *unit) mount(ctx context.Context, r record) (err error) {
	if err := u.m.vacate(u.handle, r.Staging); err != nil {
		return err
	}
	if err := mount.IsDir(r.Staging); err != nil {
		return err
	}
	u.record = r
	defer func() {
		if err != nil {
			err = errors.Join(err, u.discard())
		}
	}()
	if err := u.m.openFolder(); err != nil {
		return err
	}
	if err := os.MkdirAll(u.dir(), 0o700); err != nil {
		return err
	}
	if err := u.note(u.dir()); err != nil {
		return err
	}
	if err := u.start(ctx); err != nil {
		return err
	}
	u.m.work.Go(u.keep)
	return nil
}

// renew takes other credentials, such as those of a secret that was changed, also for the program that runs. Those that
// the bucket refuses change nothing.
func (u *unit) renew(ctx context.Context, own *volume.ObjectCredentials) error {
	if was := u.Credentials; was == own || was != nil && own != nil && *was == *own {
		return nil
	}
	if u.Access != nil && u.Process != nil && u.Process.alive() {
		if _, err := u.m.Gate.Open(ctx, u.id, u.Plan, own, u.Access); err != nil {
			return err
		}
	}
	u.Credentials = own
	return u.note(u.dir())
}

// vacate makes sure that nothing is mounted at a staging path but what a mounter left that could not note it any more.
func (m *Mounts) vacate(handle, point string) error {
	layers, err := mount.Layers(point)
	if err != nil {
		return err
	}
	for _, l := range slices.Backward(layers) {
		if !m.ours(l, handle) && !isShield(l) {
			return fault.New(fault.Conflict, "check mount", point, "%s (%s) is mounted there, and not %s; unmount it first if it is not needed", l.Source, l.FSType, handle)
		}
		if err := mount.Unmount(point, true); err != nil {
			return err
		}
	}
	return nil
}

// ours reports whether a layer is a mount of the volume.
func (m *Mounts) ours(l mount.Layer, handle string) bool {
	return l.FSType == "fuse."+m.Program.Name() && l.Source == handle
}

func isShield(l mount.Layer) bool { return l.FSType == "tmpfs" && l.Source == shielded }

// start starts the program at the staging path, above an empty tmpfs, and waits until the bucket is mounted.
func (u *unit) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, u.m.Wait)
	defer cancel()
	below, err := u.shield(u.Staging)
	if err != nil {
		return err
	}
	reserve, err := u.reserve()
	if err != nil {
		return err
	}
	if err := u.m.Program.Check(ctx, u.Plan); err != nil {
		return err
	}
	access, err := u.m.Gate.Open(ctx, u.id, u.Plan, u.Credentials, nil)
	if err != nil {
		return err
	}
	u.Access = &access
	if err := errors.Join(os.RemoveAll(u.cache()), os.MkdirAll(u.cache(), 0o700)); err != nil {
		return err
	}
	c, err := u.m.Program.Command(Bucket{
		Plan: u.Plan, Access: access, Point: u.Staging, Source: u.handle, Dir: u.dir(), Cache: u.cache(), Reserve: reserve,
	})
	if err != nil {
		return err
	}
	if u.Process, err = start(c, u.dir()); err != nil {
		return err
	}
	u.bound(ctx)
	seen, err := u.ready(ctx, below)
	u.Device = seen.Device
	if err == nil {
		err = u.note(u.dir())
	}
	if err != nil {
		err = errors.Join(err, u.stop())
	}
	return err
}

// bound limits the memory of the program. Without that it goes on, and a shortage of memory that it shares with the mounter is
// its own end first.
func (u *unit) bound(ctx context.Context) {
	if u.m.Memory == 0 {
		return
	}
	log := klog.FromContext(ctx).WithValues("volume", u.handle)
	err := u.m.groups.put(u.id, u.Process.ID)
	if err != nil {
		log.Info("A mount has no control group of its own", "reason", err.Error())
		u.m.tellUnbounded(err)
	}
	if err != nil || u.m.groups == nil {
		if err := preferOnOutOfMemory(u.Process.ID); err != nil {
			log.Info("A program may outlive the mounter when they are out of memory", "reason", err.Error())
		}
	}
	u.Kills = u.m.groups.kills(u.id)
}

// outOfMemory says that the program was ended for its memory; "" if not.
func (u *unit) outOfMemory() string {
	if u.m.groups.kills(u.id) <= u.Kills {
		return ""
	}
	return fmt.Sprintf("out of memory: its program needs more than --mount-memory=%d (MiB)", u.m.Memory)
}

// shield mounts the empty tmpfs on a point that has none, and takes away what is left of the volume's mounts above it.
func (u *unit) shield(point string) (below mount.Layer, err error) {
	for {
		layers, err := mount.Layers(point)
		if err != nil {
			return below, err
		}
		if len(layers) == 0 {
			err = mount.Shield(point, shielded)
		} else {
			switch top := layers[len(layers)-1]; {
			case isShield(top):
				return top, nil
			case u.m.ours(top, u.handle):
				err = mount.Unmount(point, true)
			default:
				err = fault.New(fault.Conflict, "check mount", point, "%s (%s) is mounted there", top.Source, top.FSType)
			}
		}
		if err != nil {
			return below, err
		}
	}
}

// stop ends the program for good; what it had not written is lost.
func (u *unit) stop() error {
	if u.Process == nil {
		return nil
	}
	abort(u.Device)
	if err := u.Process.kill(); err != nil {
		return err
	}
	u.Process.release()
	u.Process = nil
	return nil
}

// discard takes away all that there is of the mount, and forgets it. The program must have ended.
func (u *unit) discard() error {
	err := u.m.vacate(u.handle, u.Staging)
	err = errors.Join(err, u.m.Gate.Close(u.id), os.RemoveAll(u.cache()), os.RemoveAll(u.dir()))
	u.m.groups.drop(u.id)
	u.record = record{}
	return err
}

// sound makes sure that the bucket is mounted, now. A program that runs may hold what was not uploaded yet, and is not ended
// because of what somebody else did to its staging path.
func (u *unit) sound(ctx context.Context) error {
	if u.Process == nil || !u.Process.alive() {
		return u.repair(ctx)
	}
	layers, err := mount.Layers(u.Staging)
	if err != nil {
		return err
	}
	if n := len(layers); n > 0 {
		switch top := layers[n-1]; {
		case u.m.ours(top, u.handle) && top.Device == u.Device:
			return nil
		case !u.m.ours(top, u.handle) && !isShield(top):
			return fault.New(fault.Conflict, "check mount", u.Staging, "%s (%s) is mounted above %s; unmount it first", top.Source, top.FSType, u.handle)
		}
	}
	for _, t := range u.Targets {
		if found, err := u.restage(t); found || err != nil {
			return err
		}
	}
	return u.repair(ctx)
}

// restage makes the staging path show again what a target still shows.
func (u *unit) restage(t target) (found bool, err error) {
	layers, err := mount.Layers(t.Path)
	if n := len(layers); err != nil || n == 0 || layers[n-1].Device != u.Device || layers[n-1].ReadOnly && !u.Plan.ReadOnly {
		return false, err
	}
	if _, err := u.shield(u.Staging); err != nil {
		return false, err
	}
	return true, mount.Bind(t.Path, u.Staging, u.Plan.ReadOnly)
}

// unmount takes the mount away from its staging path. From then on the program has nothing to serve, and ends when all is written.
func (u *unit) unmount() error {
	for _, t := range u.Targets {
		layers, err := mount.Layers(t.Path)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(layers, func(l mount.Layer) bool { return u.m.ours(l, u.handle) }) {
			return fault.New(fault.InUse, "unmount", u.Staging, "the volume is still published at %s; unpublish it there first", t.Path)
		}
	}
	// Once no file is open for writing nothing is left to upload, whoever else still has the mount: a namespace that was
	// copied from the host's may have it for long.
	first := u.Ending.IsZero()
	settled := first && mount.Freeze(u.Staging) == nil
	if err := u.m.clear(u.handle, u.Staging); err != nil {
		if settled && !u.Plan.ReadOnly {
			err = errors.Join(err, mount.Thaw(u.Staging))
		}
		return err
	}
	u.Targets = nil
	if first {
		u.Ending, u.Settled = time.Now(), settled
	}
	if u.Process == nil || !u.Process.alive() { // keep waits for its next try
		return u.finish()
	}
	return u.note(u.dir())
}

// clear takes away the volume's mounts at a point, and the tmpfs below them.
func (m *Mounts) clear(handle, point string) error {
	for {
		layers, err := mount.Layers(point)
		if err != nil || len(layers) == 0 {
			return err
		}
		top := layers[len(layers)-1]
		if !m.ours(top, handle) && !isShield(top) {
			return fault.New(fault.Conflict, "unmount", point, "%s (%s) is mounted there, which is not %s; it was left alone", top.Source, top.FSType, handle)
		}
		if err := mount.Unmount(point, false); err != nil {
			return err
		}
	}
}

// finish forgets a mount that was taken away and whose program has ended.
func (u *unit) finish() error {
	if u.Process != nil {
		u.Process.release()
		u.Process = nil
	}
	err := u.discard()
	u.m.drop(u)
	return err
}
