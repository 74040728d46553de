package lifecycle

import (
	"context"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
)

// PrepareSnapshot copies the snapshot's volume as it is now; from then on the snapshot's time runs.
// It does nothing if that was done.
func (e *Engine) PrepareSnapshot(ctx context.Context, id string) error {
	var s *store.Snapshot
	var ok bool
	e.store.Read(func() { s, ok = e.store.Snapshots.Get(id) })
	if !ok || s.Prepared {
		return nil
	}
	defer e.locks.lock(id, s.Volume)()
	if err := e.disks.Copy(ctx, s.Volume, id, int64(s.SizeGiB)*store.GiB); err != nil {
		return fmt.Errorf("copy %s to %s: %w", s.Volume, id, err)
	}
	to := store.Completed
	if s.Fails {
		to = store.Error
	}
	change := e.After(e.times.Snapshot, to, "snapshot", id)
	return e.store.Update(func() error {
		if s, ok := e.store.Snapshots.Edit(id); ok {
			s.Prepared, s.Change = true, change
		}
		return nil
	})
}

// RemoveBytes drops the bytes of a snapshot or a volume that is no more.
func (e *Engine) RemoveBytes(ctx context.Context, id string) error {
	defer e.locks.lock(id)()
	return e.disks.Remove(ctx, id)
}

// AddInstance makes a new instance's trees.
func (e *Engine) AddInstance(ctx context.Context, id string) error {
	return e.disks.AddInstance(ctx, id)
}

// Roots are what the instance should take for /dev and /sys; empty if there are none.
func (e *Engine) Roots(instance string) (deviceRoot, sysfsRoot string) {
	return e.disks.Roots(instance)
}

func (e *Engine) stepSnapshot(id string) (again bool, err error) {
	now := e.clock.Now()
	return false, e.store.Update(func() error {
		if s, ok := e.store.Snapshots.Get(id); !ok || !s.Due(now) {
			return nil
		}
		s, _ := e.store.Snapshots.Edit(id)
		if s.Change.To == store.Completed {
			s.Completed = s.Change.At
		}
		s.State, s.Change = s.Change.To, store.Change{}
		return nil
	})
}

func (e *Engine) stepInstance(id string) (again bool, err error) {
	now := e.clock.Now()
	err = e.store.Update(func() error {
		if i, ok := e.store.Instances.Get(id); !ok || !i.Due(now) {
			return nil
		}
		i, _ := e.store.Instances.Edit(id)
		again = true
		i.State, i.Change = i.Change.To, store.Change{}
		switch i.State {
		case store.Terminated:
			i.Change = store.Change{To: store.Gone, At: now.Add(terminatedLife)}
			e.releaseVolumes(id)
		case store.Gone:
			e.store.Instances.Drop(id)
		}
		return nil
	})
	return again, err
}

// releaseVolumes makes a terminated instance's volumes detach at once; some are deleted then.
func (e *Engine) releaseVolumes(instance string) {
	for _, v := range e.store.Volumes.All(store.Truth) {
		if v.Attachment(instance) == nil {
			continue
		}
		v, _ = e.store.Volumes.Edit(v.ID)
		a := v.Attachment(instance)
		a.State, a.Force = store.Detaching, true
		a.Change = store.Change{To: store.Gone, At: e.clock.Now()}
		v.DeleteDetached = v.DeleteDetached || a.DeleteOnTermination
	}
}

// Wipe drops all volumes, the account's snapshots and all file systems with their bytes, whatever holds them.
func (e *Engine) Wipe(ctx context.Context) error {
	var volumes []*store.Volume
	var snapshots []*store.Snapshot
	e.store.Read(func() {
		volumes, snapshots = e.store.Volumes.All(store.Truth), e.store.Snapshots.All(store.Truth)
	})
	for _, v := range volumes {
		if err := e.wipeVolume(ctx, v.ID); err != nil {
			return fmt.Errorf("wipe volume %s: %w", v.ID, err)
		}
	}
	for _, s := range snapshots {
		if s.Public {
			continue
		}
		if err := e.wipeSnapshot(ctx, s.ID); err != nil {
			return fmt.Errorf("wipe snapshot %s: %w", s.ID, err)
		}
	}
	return e.wipeFiles(ctx)
}

func (e *Engine) wipeVolume(ctx context.Context, id string) error {
	defer e.locks.lock(id)()
	v, ok := e.volume(id)
	if !ok {
		return nil
	}
	for _, a := range v.Attachments {
		if err := e.disks.Detach(ctx, a.Instance, id, true); err != nil {
			return err
		}
	}
	return e.drop(ctx, id, e.store.Volumes.Drop)
}

func (e *Engine) wipeSnapshot(ctx context.Context, id string) error {
	defer e.locks.lock(id)()
	return e.drop(ctx, id, e.store.Snapshots.Drop)
}
