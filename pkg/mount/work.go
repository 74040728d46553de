package mount

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// keeper gives each volume to one task at a time. A system call or tool that outlives its caller's deadline keeps the
// volume until it comes back, so that nobody works against it meanwhile.
type keeper struct {
	mu      sync.Mutex
	tasks   map[string]*task
	closing bool // no further tool may write, except in a task that is held
}

// task is one operation on one volume.
type task struct {
	keeper *keeper
	key    string
	users  int      // the operation itself and the calls it started; guarded by keeper.mu
	tool   *toolRun // that is writing to the volume's disk, or nil; guarded by keeper.mu
	held   *toolRun // several tools of which the last must not be left out, or nil; guarded by keeper.mu
	free   chan struct{}
}

// begin waits until nobody works on the volume, at most as long as ctx allows. The caller must end the task.
func (k *keeper) begin(ctx context.Context, key string) (*task, error) {
	for {
		k.mu.Lock()
		current, taken := k.tasks[key]
		if !taken {
			t := &task{keeper: k, key: key, users: 1, free: make(chan struct{})}
			k.tasks[key] = t
			k.mu.Unlock()
			return t, nil
		}
		k.mu.Unlock()
		select {
		case <-current.free:
		case <-ctx.Done():
			if tool := current.running(); tool != nil {
				return nil, fault.New(fault.Pending, "wait for", key, "%s; retry, and the call is answered when it is done", tool)
			}
			return nil, fault.New(fault.Pending, "wait for", key, "an earlier operation on this volume has not come back yet; try again")
		}
	}
}

func (t *task) end() {
	t.keeper.mu.Lock()
	defer t.keeper.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(t.keeper.tasks, t.key)
		close(t.free)
	}
}

// run calls fn and waits for it, at most until ctx ends. After an error of ctx, fn may still be running: the caller
// must not look at what fn writes.
func (t *task) run(ctx context.Context, what, subject string, fn func() error) error {
	t.keeper.mu.Lock()
	t.users++
	t.keeper.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		defer t.end() // drain waits for it
		done <- fn()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		if tool := t.running(); tool != nil {
			return fault.New(fault.Pending, what, subject, "%s, longer than the deadline, and goes on; retry, and the call is answered when it is done", tool)
		}
		return fault.New(fault.UnknownOutcome, what, subject, "it has not come back within the deadline and goes on; try again")
	}
}

// begins notes the tool that writes to the volume's disk until ends. Kinds: Unavailable (the process is about to end).
func (t *task) begins(tool *toolRun) (ends func(), err error) {
	if err := t.note(&t.tool, tool); err != nil {
		return nil, err
	}
	return func() { t.forget(&t.tool) }, nil
}

// hold keeps the process from ending until release, also between the tools that run until then. Kinds: as begins.
func (t *task) hold(tools *toolRun) (release func(), err error) {
	if err := t.note(&t.held, tools); err != nil {
		return nil, err
	}
	return func() { t.forget(&t.held) }, nil
}

func (t *task) note(where **toolRun, tool *toolRun) error {
	t.keeper.mu.Lock()
	defer t.keeper.mu.Unlock()
	if t.keeper.closing && t.held == nil {
		return fault.New(fault.Unavailable, "run", tool.name, "this process is about to end, and the tool would be killed while it writes to %s; retry when it has started again", tool.disk)
	}
	*where = tool
	return nil
}

func (t *task) forget(where **toolRun) {
	t.keeper.mu.Lock()
	defer t.keeper.mu.Unlock()
	*where = nil
}

func (t *task) running() *toolRun {
	t.keeper.mu.Lock()
	defer t.keeper.mu.Unlock()
	return t.now()
}

// now is what writes to the volume's disk; keeper.mu is held.
func (t *task) now() *toolRun {
	if t.tool != nil {
		return t.tool
	}
	return t.held
}

// finish lets no further tool write, except in tasks that are held, and returns what writes now.
func (k *keeper) finish() []string {
	k.mu.Lock()
	k.closing = true
	k.mu.Unlock()
	return k.writing()
}

// writing returns what tools are writing now.
func (k *keeper) writing() (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.tasks {
		if tool := t.now(); tool != nil {
			out = append(out, tool.String())
		}
	}
	slices.Sort(out)
	return out
}

// drain waits until no task is left.
func (k *keeper) drain(ctx context.Context) error {
	for {
		k.mu.Lock()
		var current *task
		for _, current = range k.tasks {
			break
		}
		k.mu.Unlock()
		if current == nil {
			return nil
		}
		select {
		case <-current.free:
		case <-ctx.Done():
			return fault.New(fault.Pending, "wait for", current.key, "an operation has not come back: %v", ctx.Err())
		}
	}
}

// soon returns a context that ends a little before ctx, so that an answer still reaches the caller, and no later than
// after limit.
func soon(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)*9/10)
	}
	return context.WithTimeout(ctx, limit)
}

// poll repeats try, ever more slowly, as long as again says so of its error, and returns the last such error when the
// time is over.
func poll(ctx context.Context, limit time.Duration, again func(error) bool, try func(context.Context) error) error {
	ctx, cancel := soon(ctx, limit)
	defer cancel()
	var last error
	for pause := 50 * time.Millisecond; ; pause = min(pause*3/2, time.Second) {
		err := try(ctx)
		switch {
		case err != nil && again(err):
			last = err
		case ctx.Err() != nil && last != nil: // the end of time cut this try short
			return last
		default:
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return last
		}
	}
}
