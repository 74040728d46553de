package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
)

// PrepareVolume makes the volume's bytes, empty or a copy of its snapshot or source as they are now;
// from then on the volume's time runs. It does nothing if they exist.
func (e *Engine) PrepareVolume(ctx context.Context, id string) error {
	v, ok := e.volume(id)
	if !ok || v.Prepared {
		return nil
	}
	from := v.Snapshot
	if v.Source != "" {
		from = v.Source
	}
	size := int64(v.SizeGiB) * store.GiB
	var err error
	if from != "" && e.hasBytes(from) {
		defer e.locks.lock(id, from)()
		err = e.disks.Copy(ctx, from, id, size)
	} else {
		defer e.locks.lock(id)()
		err = e.disks.CreateVolume(ctx, id, size)
	}
	if err != nil {
		return fmt.Errorf("make the bytes of %s: %w", id, err)
	}
	to := store.Available
	switch {
	case v.Doomed:
		to = store.Gone
	case v.Fails:
		to = store.Error
	}
	change := e.After(e.times.Volume, to, "create", id)
	return e.editVolume(id, func(v *store.Volume) { v.Prepared, v.Change = true, change })
}

// hasBytes says whether there is something to copy: other accounts' public snapshots are only names.
func (e *Engine) hasBytes(id string) (ok bool) {
	e.store.Read(func() {
		if s, found := e.store.Snapshots.Get(id); found {
			ok = s.Prepared && !s.Public
		}
		if v, found := e.store.Volumes.Get(id); found {
			ok = v.Prepared && v.State != store.Gone
		}
	})
	return ok
}

func (e *Engine) volume(id string) (v *store.Volume, ok bool) {
	e.store.Read(func() { v, ok = e.store.Volumes.Get(id) })
	return v, ok
}

func (e *Engine) editVolume(id string, change func(*store.Volume)) error {
	return e.store.Update(func() error {
		if v, ok := e.store.Volumes.Edit(id); ok {
			change(v)
		}
		return nil
	})
}

// stepVolume makes the volume's next due change; its lock is held.
func (e *Engine) stepVolume(ctx context.Context, id string) (again bool, err error) {
	v, ok := e.volume(id)
	if !ok {
		return false, nil
	}
	self, a, m := v.Due(e.clock.Now())
	switch {
	case self:
		return true, e.changeVolume(ctx, v)
	case a != nil && a.Change.To == store.Attached:
		return true, e.attach(ctx, v, a.Instance)
	case a != nil:
		return true, e.detach(ctx, v, *a)
	case m != nil:
		return true, e.modify(ctx, v, *m)
	}
	return false, nil
}

func (e *Engine) changeVolume(ctx context.Context, v *store.Volume) error {
	switch {
	case v.State == store.Gone: // its token has lived its time
		return e.store.Update(func() error { e.store.Volumes.Drop(v.ID); return nil })
	case v.Change.To == store.Gone:
		if err := e.disks.Remove(ctx, v.ID); err != nil {
			return err
		}
		return e.store.Update(func() error { e.forget(v); return nil })
	}
	return e.editVolume(v.ID, func(v *store.Volume) { v.State, v.Change = v.Change.To, store.Change{} })
}

// forget drops a volume, or keeps its name while its client token lives.
func (e *Engine) forget(v *store.Volume) {
	if v.Token == "" {
		e.store.Volumes.Drop(v.ID)
		return
	}
	e.store.Volumes.Put(&store.Volume{
		ID: v.ID, Zone: v.Zone, Shape: v.Shape, Created: v.Created, Encrypted: v.Encrypted, KMSKey: v.KMSKey,
		Snapshot: v.Snapshot, Source: v.Source, Token: v.Token, TokenRequest: v.TokenRequest,
		State: store.Gone, Change: store.Change{To: store.Gone, At: v.Created.Add(TokenLife)},
	})
}

func (e *Engine) attach(ctx context.Context, v *store.Volume, instance string) error {
	if err := e.disks.Attach(ctx, instance, v.ID); err != nil {
		return err
	}
	return e.editVolume(v.ID, func(v *store.Volume) {
		if a := v.Attachment(instance); a != nil {
			a.State, a.Change = store.Attached, store.Change{}
		}
	})
}

func (e *Engine) detach(ctx context.Context, v *store.Volume, a store.Attachment) error {
	err := e.disks.Detach(ctx, a.Instance, v.ID, a.Force)
	if errors.Is(err, storage.ErrBusy) {
		retry := store.Change{To: a.Change.To, At: e.clock.Now().Add(retryAfter)}
		return e.editVolume(v.ID, func(v *store.Volume) {
			if a := v.Attachment(a.Instance); a != nil {
				a.State, a.Change = store.Busy, retry
			}
		})
	}
	if err != nil {
		return err
	}
	remove := e.After(e.times.Delete, store.Gone, "delete", v.ID)
	return e.editVolume(v.ID, func(v *store.Volume) {
		v.Attachments = slices.DeleteFunc(v.Attachments, func(b store.Attachment) bool { return b.Instance == a.Instance })
		if v.DeleteDetached && len(v.Attachments) == 0 {
			v.State, v.Change = store.Deleting, remove
		}
	})
}

// modify begins or ends a modification's optimizing; the new size is there as soon as it begins.
func (e *Engine) modify(ctx context.Context, v *store.Volume, m store.Modification) error {
	if m.Change.To == store.Optimizing && m.Target.SizeGiB > m.Original.SizeGiB {
		if err := e.disks.Grow(ctx, v.ID, int64(m.Target.SizeGiB)*store.GiB); err != nil {
			return err
		}
	}
	return e.editVolume(v.ID, func(v *store.Volume) {
		m := v.Current()
		m.State = m.Change.To
		m.Change = store.Change{}
		if m.State == store.Optimizing {
			v.Shape = m.Target
			m.Change = store.Change{To: store.Completed, At: m.Completes}
		}
	})
}
