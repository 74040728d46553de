package objectmount

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Config says how buckets are mounted. Empty fields have the defaults.
type Config struct {
	Program Program
	Gate    Gate
	Dir     string        // private folder for what is noted and for credentials; on tmpfs, or one is mounted there
	Cache   string        // folder for files that are being read and written
	Reserve int64         // what the disk below Cache must keep free at least, in MiB
	Memory  int64         // most memory of each program, in MiB; 0 is without limit, and without a control group
	Wait    time.Duration // longest wait until a bucket is mounted; default 1 minute, a shorter deadline goes first
	// Patience is how long a program may answer nothing, and what was written before an unmount may take to arrive; then
	// the program is ended, and what it had not uploaded is lost. Default 10 minutes.
	Patience time.Duration
	// Lost is told of each mount that was lost and is there again; may be nil. It must not wait.
	Lost func(Loss)
	// Unbounded is told why a program's memory has no limit although Memory says so; may be nil. It must not wait.
	Unbounded func(reason string)
}

// Loss is a mount that was lost. Containers that had it see it again only if they take mounts from the host, or start anew.
type Loss struct {
	Handle  string
	Targets []string
	Reason  string
	// OutOfMemory says that the program was ended for the memory that it took beyond Config.Memory.
	OutOfMemory bool
}

// Mounts are the buckets that are mounted on this machine. Its methods are idempotent, may be called concurrently, and
// answer at their context's deadline whatever the server does. Paths must be absolute.
type Mounts struct {
	Config
	ctx  context.Context //nolint:containedctx // of the goroutines that watch mounts, not of a call
	end  context.CancelFunc
	work sync.WaitGroup // those goroutines
	asks sync.WaitGroup // goroutines that wait for programs to answer

	groups *groups // nil: programs stay in the mounter's own

	mu    sync.Mutex // guards units
	units map[string]*unit
}

// Open takes over what an earlier mounter left: programs that run go on, others are started anew. The caller must call Close.
func Open(ctx context.Context, c Config) (*Mounts, error) {
	for limit, usual := range map[*time.Duration]time.Duration{&c.Wait: time.Minute, &c.Patience: 10 * time.Minute} {
		if *limit == 0 {
			*limit = usual
		}
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a mounter that never mounts a bucket makes no folders for it
		return nil, err
	}
	m := &Mounts{Config: c, units: map[string]*unit{}}
	m.ctx, m.end = context.WithCancel(ctx)
	if err := m.divide(); err != nil {
		klog.FromContext(ctx).Info("Mounts share the mounter's control group: one that runs out of memory may end others", "reason", err.Error())
		m.tellUnbounded(err)
	}
	for _, e := range entries {
		dir := filepath.Join(c.Dir, e.Name())
		r, err := readRecord(dir)
		switch {
		case err != nil:
			m.Close()
			return nil, err
		case r == nil:
			err = os.RemoveAll(dir) // nothing was mounted yet
		default:
			u := newUnit(m, e.Name(), r.Plan.Handle)
			u.record = *r
			m.units[u.id] = u
			u.takeOver() //nolint:contextcheck // it outlives this call
		}
		if err != nil {
			m.Close()
			return nil, err
		}
	}
	return m, nil
}

// divide prepares a control group for each program.
func (m *Mounts) divide() error {
	if m.Memory == 0 {
		return nil
	}
	v, err := ownView()
	if err != nil {
		return err
	}
	m.groups, err = v.open(m.Memory << 20)
	return err
}

func (m *Mounts) tellUnbounded(reason error) {
	if m.Unbounded != nil {
		m.Unbounded(reason.Error())
	}
}

// Close ends the watching. What is mounted stays mounted, and its programs run on.
func (m *Mounts) Close() {
	m.end()
	m.work.Wait()
	answered := make(chan struct{})
	go func() { m.asks.Wait(); close(answered) }()
	select {
	case <-answered:
	case <-time.After(time.Second): // a program that hangs answers only at its end
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.units {
		if u.Process != nil {
			u.Process.release()
		}
	}
}

// Len is how many buckets are mounted.
func (m *Mounts) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.units)
}

// mountID names the mount of a volume at a place.
func mountID(handle, staging string) string {
	return volume.Token("object-mount", handle, staging)[:24]
}

// hold returns the unit with that name, locked: the caller must release it. make says to make one; nil where there is none.
func (m *Mounts) hold(ctx context.Context, id, handle string, make bool) (*unit, error) {
	for {
		m.mu.Lock()
		u, ok := m.units[id]
		if !ok && !make {
			m.mu.Unlock()
			return nil, nil
		}
		if !ok {
			u = newUnit(m, id, handle)
			m.units[id] = u
		}
		m.mu.Unlock()
		if err := u.take(ctx); err != nil {
			return nil, err
		}
		if !u.gone {
			return u, nil
		}
		u.release()
	}
}

// holdAll returns all units of a volume, locked, also with an error.
func (m *Mounts) holdAll(ctx context.Context, handle string) (units []*unit, err error) {
	m.mu.Lock()
	var ids []string
	for id, u := range m.units {
		if u.handle == handle {
			ids = append(ids, id)
		}
	}
	m.mu.Unlock()
	slices.Sort(ids) // so that nobody waits for the other
	for _, id := range ids {
		u, err := m.hold(ctx, id, handle, false)
		if err != nil {
			return units, err
		}
		if u != nil {
			units = append(units, u)
		}
	}
	return units, nil
}

// drop forgets a unit that is locked.
func (m *Mounts) drop(u *unit) {
	u.gone = true
	close(u.over)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.units, u.id)
}

// Stage mounts the plan's bucket on stagingPath, an existing directory. own are the credentials of a secret, nil stands for
// the mounter's. A mount that was lost is made anew.
//
// Kinds: what the [Gate] and the [Program] say; Unavailable (not mounted in time), Conflict (the path has another mount, or
// the volume is mounted there in another way), Invalid (path), Pending (deadline).
func (m *Mounts) Stage(ctx context.Context, plan volume.ObjectPlan, stagingPath string, own *volume.ObjectCredentials) error {
	return m.on(ctx, "stage", plan.Handle, stagingPath, true, func(u *unit, point string) error {
		if u.Staging == "" {
			return u.mount(ctx, record{Plan: plan, Staging: point, Credentials: own})
		}
		if err := u.same(plan); err != nil {
			return err
		}
		if err := u.renew(ctx, own); err != nil {
			return err
		}
		return u.sound(ctx)
	})
}

// Publish makes a staged volume visible at targetPath, a directory that it creates. readOnly makes this target read-only.
//
// Kinds: InUse (not staged, or published elsewhere although the plan has one target), Conflict (the target has another
// mount, or the volume is staged in another way), Invalid (path), Pending (deadline).
func (m *Mounts) Publish(ctx context.Context, plan volume.ObjectPlan, stagingPath, targetPath string, readOnly bool) error {
	return m.on(ctx, "publish", plan.Handle, stagingPath, false, func(u *unit, point string) error {
		if u == nil || !u.Ending.IsZero() {
			return fault.New(fault.InUse, "check mount", point, "%s is not mounted there; stage the volume first", plan.Handle)
		}
		if err := u.same(plan); err != nil {
			return err
		}
		if err := u.sound(ctx); err != nil {
			return err
		}
		return u.publish(targetPath, readOnly || plan.ReadOnly, plan.OneTarget)
	})
}

// Unpublish takes the volume away from targetPath and removes the empty directory. What is not there is no error; a mount of
// something else is a Conflict, one in use is InUse, and both stay.
func (m *Mounts) Unpublish(ctx context.Context, handle, targetPath string) error {
	const op = "unpublish"
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return fault.New(fault.NotFound, op, handle, "%v", err)
	}
	return fault.Wrap(op, handle, m.unpublish(ctx, h, targetPath))
}

// Unstage takes the volume's mount away from stagingPath, and waits until all that was written is in the bucket. What is not
// mounted is no error; a mount of something else is a Conflict, one in use is InUse, and both stay. Pending: what was
// written is still on its way; ask again.
func (m *Mounts) Unstage(ctx context.Context, handle, stagingPath string) error {
	const op = "unstage"
	var over <-chan struct{}
	err := m.on(ctx, op, handle, stagingPath, false, func(u *unit, point string) error {
		if u == nil {
			return m.clear(handle, point)
		}
		over = u.over
		return u.unmount()
	})
	if err != nil || over == nil {
		return err
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Pending, op, handle, "what programs wrote is still being uploaded; ask again")
	}
}

// on does something to the mount of a volume at a place; u is nil where there is none, unless make says to make it.
func (m *Mounts) on(ctx context.Context, op, handle, path string, make bool, do func(u *unit, point string) error) error {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return fault.New(fault.NotFound, op, handle, "%v", err)
	}
	point, err := mount.Place(path)
	if errors.Is(err, fs.ErrNotExist) && op == "unstage" {
		return nil
	}
	if err != nil {
		return fault.Wrap(op, handle, err)
	}
	u, err := m.hold(ctx, mountID(h.String(), point), h.String(), make)
	if err != nil {
		return fault.Wrap(op, handle, err)
	}
	if u != nil {
		defer u.release()
	}
	err = do(u, point)
	if u != nil && u.Staging == "" && !u.gone {
		m.drop(u) // it did not come to be
	}
	return fault.Wrap(op, handle, err)
}
