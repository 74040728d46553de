package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
)

const (
	// retryAfter is how soon a device that is busy, or a disk that failed, is tried again (emulated time).
	retryAfter = time.Second
	// TokenLife is how long EC2 remembers the client token of a volume, whatever becomes of the volume. AWS documents no
	// number; users of the EBS CSI driver measured about twelve hours.
	TokenLife = 12 * time.Hour
	// terminatedLife is how long a terminated instance stays visible:
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html
	terminatedLife = time.Hour
	// workers bounds the changes that are made at one time.
	workers = 8
)

// Engine makes changes come true at their time. Its owner calls [Engine.Run].
type Engine struct {
	store  *store.Store
	disks  storage.Storage
	files  storage.FileServer
	clock  *clock.Clock
	times  Times
	locks  locks
	rounds sync.RWMutex // held for reading while changes are made, so that Settle can wait for all
}

// New makes an engine over the state, the disks and what serves files.
func New(s *store.Store, disks storage.Storage, files storage.FileServer, c *clock.Clock, t Times) *Engine {
	return &Engine{store: s, disks: disks, files: files, clock: c, times: t, locks: locks{held: map[string]*lock{}}}
}

// Times are the durations that the engine was made with.
func (e *Engine) Times() Times { return e.times }

// After is the change to a state that begins now and takes a time from the range, fixed by seed, what and id.
func (e *Engine) After(r Range, to, what, id string) store.Change {
	f := e.store.Fraction("time of "+what, id)
	return store.Change{To: to, At: e.clock.Now().Add(r.Min + time.Duration(f*float64(r.Max-r.Min)))}
}

// Resume brings back what an earlier run on the same folder left: instances' trees and attached devices.
// What that run had not finished making was never answered, and is dropped.
func (e *Engine) Resume(ctx context.Context) error {
	var instances []*store.Instance
	var volumes []*store.Volume
	var snapshots []*store.Snapshot
	e.store.Read(func() {
		instances, volumes = e.store.Instances.All(store.Truth), e.store.Volumes.All(store.Truth)
		snapshots = e.store.Snapshots.All(store.Truth)
	})
	for _, i := range instances {
		if err := e.disks.AddInstance(ctx, i.ID); err != nil {
			return fmt.Errorf("resume instance %s: %w", i.ID, err)
		}
	}
	for _, s := range snapshots {
		if !s.Prepared && !s.Public {
			if err := e.drop(ctx, s.ID, e.store.Snapshots.Drop); err != nil {
				return fmt.Errorf("resume snapshot %s: %w", s.ID, err)
			}
		}
	}
	for _, v := range volumes {
		if err := e.resumeVolume(ctx, v); err != nil {
			return fmt.Errorf("resume volume %s: %w", v.ID, err)
		}
	}
	return e.resumeFiles(ctx)
}

func (e *Engine) resumeVolume(ctx context.Context, v *store.Volume) error {
	if v.State == store.Gone {
		return nil
	}
	if !v.Prepared {
		return e.drop(ctx, v.ID, e.store.Volumes.Drop)
	}
	for _, a := range v.Attachments {
		if a.State == store.Attaching {
			continue // its time is still to come
		}
		if err := e.disks.Attach(ctx, a.Instance, v.ID); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) drop(ctx context.Context, id string, drop func(string)) error {
	if err := e.disks.Remove(ctx, id); err != nil {
		return err
	}
	return e.store.Update(func() error { drop(id); return nil })
}

// Run makes changes at their time until the context ends.
func (e *Engine) Run(ctx context.Context) {
	for ctx.Err() == nil {
		e.round(ctx)
		_ = e.clock.Wait(ctx, e.store.NextDue(), e.store.Wake()) // the loop sees the context's end
	}
}

// Settle makes every change that is due now, and returns when it is made, by whomever.
func (e *Engine) Settle(ctx context.Context) {
	for ctx.Err() == nil {
		e.round(ctx)
		e.rounds.Lock() // waits for the rounds of others
		next := e.store.NextDue()
		e.rounds.Unlock()
		if next.IsZero() || next.After(e.clock.Now()) {
			return
		}
	}
}

// round makes what is due now.
func (e *Engine) round(ctx context.Context) {
	e.rounds.RLock()
	defer e.rounds.RUnlock()
	var group sync.WaitGroup
	slots := make(chan struct{}, workers)
	for _, d := range e.store.TakeDue() {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			e.Step(ctx, d.Kind, d.ID)
		})
	}
	group.Wait()
}

// Step makes all changes of one record that are due now. What fails is logged and tried again a second later.
func (e *Engine) Step(ctx context.Context, kind, id string) {
	defer e.locks.lock(id)()
	for ctx.Err() == nil {
		again, err := e.step(ctx, kind, id)
		if err != nil {
			klog.FromContext(ctx).Error(err, "A change failed and will be tried again", "kind", kind, "id", id)
			e.store.PutDue(store.Due{Kind: kind, ID: id, At: e.clock.Now().Add(retryAfter)})
			return
		}
		if !again {
			return
		}
	}
}

func (e *Engine) step(ctx context.Context, kind, id string) (again bool, err error) {
	switch kind {
	case store.Volumes:
		return e.stepVolume(ctx, id)
	case store.Snapshots:
		return e.stepSnapshot(id)
	case store.Instances:
		return e.stepInstance(id)
	case store.FileSystems:
		return false, e.stepFileSystem(ctx, id)
	case store.MountTargets:
		return false, e.stepMountTarget(ctx, id)
	case store.AccessPoints:
		return false, e.stepAccessPoint(id)
	}
	return false, nil
}

// locks are one lock per id.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	mu    sync.Mutex
	users int
}

// lock waits for all the ids and returns what frees them.
func (l *locks) lock(ids ...string) (unlock func()) {
	slices.Sort(ids) // one order for all, so that two callers cannot wait for each other
	ids = slices.Compact(ids)
	taken := make([]*lock, len(ids))
	for i, id := range ids {
		l.mu.Lock()
		if l.held[id] == nil {
			l.held[id] = &lock{}
		}
		taken[i] = l.held[id]
		taken[i].users++
		l.mu.Unlock()
		taken[i].mu.Lock()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, id := range ids {
			taken[i].mu.Unlock()
			if taken[i].users--; taken[i].users == 0 {
				delete(l.held, id)
			}
		}
	}
}
