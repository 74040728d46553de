package lifecycle

import (
	"context"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
)

// resumeFiles makes mount targets of an earlier run answer again.
func (e *Engine) resumeFiles(ctx context.Context) error {
	var targets []*store.MountTarget
	e.store.Read(func() { targets = e.store.MountTargets.All(store.Truth) })
	for _, m := range targets {
		if m.State == store.Creating || m.State == store.Error {
			continue // its time is still to come
		}
		if err := e.files.Serve(ctx, m.FileSystem, m.IP); err != nil {
			return fmt.Errorf("resume mount target %s: %w", m.ID, err)
		}
	}
	return nil
}

// due is the change that a record is due to make now, from its truth.
func (e *Engine) dueChange(c store.Change) bool { return c.To != "" && !c.At.After(e.clock.Now()) }

// stepFileSystem makes a file system's due change; one that is gone takes its access points with it.
func (e *Engine) stepFileSystem(ctx context.Context, id string) error {
	var f *store.FileSystem
	var ok bool
	e.store.Read(func() { f, ok = e.store.FileSystems.Get(id) })
	if !ok || !e.dueChange(f.Change) {
		return nil
	}
	if f.Change.To == store.Gone {
		if err := e.files.Remove(ctx, id); err != nil {
			return err
		}
	}
	return e.store.Update(func() error {
		if f.Change.To != store.Gone {
			f, _ := e.store.FileSystems.Edit(id)
			f.State, f.Change = f.Change.To, store.Change{}
			return nil
		}
		for _, a := range e.store.AccessPoints.All(store.Truth) {
			if a.FileSystem == id {
				e.store.AccessPoints.Drop(a.ID)
			}
		}
		e.store.FileSystems.Drop(id)
		return nil
	})
}

func (e *Engine) stepMountTarget(ctx context.Context, id string) error {
	var m *store.MountTarget
	var ok bool
	e.store.Read(func() { m, ok = e.store.MountTargets.Get(id) })
	if !ok || !e.dueChange(m.Change) {
		return nil
	}
	var err error
	switch m.Change.To {
	case store.Gone:
		err = e.files.Stop(ctx, m.FileSystem, m.IP)
	case store.Available:
		err = e.files.Serve(ctx, m.FileSystem, m.IP)
	}
	if err != nil {
		return err
	}
	return e.store.Update(func() error {
		if m.Change.To == store.Gone {
			e.store.MountTargets.Drop(id)
			return nil
		}
		m, _ := e.store.MountTargets.Edit(id)
		m.State, m.Change = m.Change.To, store.Change{}
		return nil
	})
}

func (e *Engine) stepAccessPoint(id string) error {
	return e.store.Update(func() error {
		a, ok := e.store.AccessPoints.Get(id)
		switch {
		case !ok || !e.dueChange(a.Change):
		case a.Change.To == store.Gone:
			e.store.AccessPoints.Drop(id)
		default:
			a, _ := e.store.AccessPoints.Edit(id)
			a.State, a.Change = a.Change.To, store.Change{}
		}
		return nil
	})
}

// wipeFiles drops all file systems with what is in them; the network stays.
func (e *Engine) wipeFiles(ctx context.Context) error {
	var systems []*store.FileSystem
	var targets []*store.MountTarget
	e.store.Read(func() {
		systems, targets = e.store.FileSystems.All(store.Truth), e.store.MountTargets.All(store.Truth)
	})
	for _, m := range targets {
		if err := e.files.Stop(ctx, m.FileSystem, m.IP); err != nil {
			return fmt.Errorf("wipe mount target %s: %w", m.ID, err)
		}
	}
	for _, f := range systems {
		if err := e.files.Remove(ctx, f.ID); err != nil {
			return fmt.Errorf("wipe file system %s: %w", f.ID, err)
		}
	}
	return e.store.Update(func() error {
		for _, m := range targets {
			e.store.MountTargets.Drop(m.ID)
		}
		for _, a := range e.store.AccessPoints.All(store.Truth) {
			e.store.AccessPoints.Drop(a.ID)
		}
		for _, f := range systems {
			e.store.FileSystems.Drop(f.ID)
		}
		return nil
	})
}
