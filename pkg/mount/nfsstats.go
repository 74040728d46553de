package mount

import (
	"context"
	"errors"
	"sync"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Stats measures the volume at path, a staging or a target path; EFS answers what the whole file system holds. Calls for one
// path share an answer, and no other operation waits for them. Kinds: NotFound (nothing is mounted there, or something else),
// Unavailable (the server does not answer), Pending (the volume is being unmounted).
func (n *NFS) Stats(ctx context.Context, handle, path string) (Stats, error) {
	h, err := volume.ParseHandle(handle)
	if err != nil {
		return Stats{}, fault.New(fault.NotFound, "measure", handle, "%v", err)
	}
	s, err := n.measures.share(ctx, h.String(), path, func(ctx context.Context) (Stats, error) { return n.measure(ctx, h, path) })
	return s, fault.Wrap("measure", handle, err)
}

// measure ends when its child does, which it kills when ctx ends.
func (n *NFS) measure(ctx context.Context, h volume.Handle, path string) (Stats, error) {
	// A task of its own: it must not wait for one that hangs, and [NFS.Drain] waits for it.
	wait := context.WithoutCancel(ctx)
	t, err := n.keep.begin(wait, "measure "+h.String()+" "+path)
	if err != nil {
		return Stats{}, err
	}
	defer t.end()
	at, err := n.locate(wait, t, path)
	if err != nil || !at.shows(stagedLabel(h.String()), "") && !at.shows(publishedLabel(h.String()), "") {
		return Stats{}, fault.New(fault.NotFound, "check mount", path, "volume %s is not mounted there", h)
	}
	a, err := n.children.run(wait, ctx, t, order{Do: "measure", Path: at.point})
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		err = unmounting(path)
	case corrupted(err):
		err = &fault.Error{Op: "measure", Subject: at.point, Kind: fault.Unavailable, Message: "the mount no longer answers", Err: err}
	}
	return a.Stats, n.explain(wait, h.Root, at.entry, err)
}

func unmounting(path string) error {
	return fault.New(fault.Pending, "measure", path, "the volume is being unmounted; try again")
}

// measures lets calls that measure one mount share an answer, and keeps them off a mount that is being taken away, which
// they would keep busy.
type measures struct {
	mu      sync.Mutex
	running map[string]*measurement  // by handle and path
	closed  map[string]chan struct{} // by the handle of a volume that is being unmounted; closed at the end of that
}

type measurement struct {
	handle string
	cancel context.CancelFunc
	done   chan struct{} // closed when stats and err are there
	stats  Stats
	err    error
}

func newMeasures() *measures {
	return &measures{running: map[string]*measurement{}, closed: map[string]chan struct{}{}}
}

// share returns the answer of a measurement that is running, or of a new one. Its end does not depend on the first caller.
func (m *measures) share(ctx context.Context, handle, path string, do func(context.Context) (Stats, error)) (Stats, error) {
	one, err := m.join(ctx, handle, path, do)
	if err != nil {
		return Stats{}, err
	}
	wait, cancel := soon(ctx, 2*lookLimit)
	defer cancel()
	select {
	case <-one.done:
		return one.stats, one.err
	case <-wait.Done():
		return Stats{}, fault.New(fault.Unavailable, "measure", path, "the server has not answered within this call's time")
	}
}

func (m *measures) join(ctx context.Context, handle, path string, do func(context.Context) (Stats, error)) (*measurement, error) {
	key := handle + " " + path
	for {
		m.mu.Lock()
		one, closed := m.running[key], m.closed[handle]
		if closed == nil && one == nil {
			one = m.start(ctx, key, handle, do)
		}
		m.mu.Unlock()
		if closed == nil {
			return one, nil
		}
		select {
		case <-closed:
		case <-ctx.Done():
			return nil, unmounting(path)
		}
	}
}

// start needs the lock.
func (m *measures) start(ctx context.Context, key, handle string, do func(context.Context) (Stats, error)) *measurement {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookLimit)
	one := &measurement{handle: handle, cancel: cancel, done: make(chan struct{})}
	m.running[key] = one
	go func() {
		defer close(one.done)
		defer func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.running, key)
		}()
		defer cancel()
		one.stats, one.err = do(ctx)
	}()
	return one
}

// stop ends all measurements of a volume, and lets none begin until it is released.
func (m *measures) stop(ctx context.Context, handle string) (release func(), err error) {
	m.mu.Lock()
	opened := make(chan struct{})
	m.closed[handle] = opened
	var running []*measurement
	for _, one := range m.running {
		if one.handle == handle {
			running = append(running, one)
		}
	}
	m.mu.Unlock()
	release = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.closed, handle)
		close(opened)
	}
	for _, one := range running {
		one.cancel() // kills its child
		select {
		case <-one.done:
		case <-ctx.Done():
			release()
			return nil, fault.New(fault.Pending, "wait for", handle, "this volume is being measured; try again")
		}
	}
	return release, nil
}
