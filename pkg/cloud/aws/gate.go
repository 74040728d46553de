package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxInFlight bounds the changing requests to one service at one time: more
	// only queue inside AWS and cost memory here.
	maxInFlight = 64
	// firstWindow is how many requests at one time are risked beyond the burst.
	firstWindow = 2
)

// Gate lets the requests to one service out, in the order in which they came, so that AWS
// refuses hardly any for their rate: as many as AWS documents at once; beyond that a few at
// one time, twice as many with every round that AWS takes; and once it refused one, as its
// bucket refills. It only saves refusals: what AWS answers is right.
// Requests that wait here are not built yet, and cost little.
type Gate struct {
	service  string
	mu       sync.Mutex
	lanes    map[string]*lane // by operation
	inFlight int              // changing requests of all lanes
}

// action is what AWS keeps a rate for.
type action struct{ service, operation string }

// changes reports whether the action is not a mere read.
func (a action) changes() bool { return !strings.HasPrefix(a.operation, "Describe") }

// lane is the queue of one action.
type lane struct {
	bucket
	changes  bool // its requests count towards maxInFlight
	queue    []*ticket
	timer    *time.Timer
	inFlight int
}

// ticket is one request that waits or is under way.
type ticket struct {
	granted chan struct{}
	sent    time.Time
	risked  bool // AWS was not known to have a token for it
}

// NewGate makes the gate of one service, as the SDK names it ("EC2"). Clients of one
// endpoint and account should share it.
func NewGate(service string) *Gate { return &Gate{service: service, lanes: map[string]*lane{}} }

// enter waits until a request may go out; again is one that AWS refused before and
// goes before the others. The caller must give the ticket back to leave.
func (g *Gate) enter(ctx context.Context, operation string, again bool) (*ticket, error) {
	t := &ticket{granted: make(chan struct{})}
	g.mu.Lock()
	l := g.lanes[operation]
	if l == nil {
		a := action{g.service, operation}
		l = &lane{changes: a.changes(), bucket: newBucket(documented(a), time.Now())}
		g.lanes[operation] = l
	}
	at := len(l.queue)
	if again {
		at = 0
	}
	l.queue = slices.Insert(l.queue, at, t)
	g.pump(l)
	g.mu.Unlock()
	select {
	case <-t.granted:
		return t, nil
	default:
	}
	select {
	case <-t.granted:
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) >= lastRequest {
			return t, nil
		}
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(l.queue, t); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	} else { // granted too late
		g.release(l)
	}
	return nil, cmp.Or(ctx.Err(), context.DeadlineExceeded)
}

// leave ends a request that was let out.
func (g *Gate) leave(operation string, t *ticket, throttled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lanes[operation]
	if throttled {
		l.refused(t, time.Now())
	} else {
		l.took(t)
	}
	g.release(l)
}

// release frees a request's place. The caller holds mu.
func (g *Gate) release(l *lane) {
	l.inFlight--
	full := g.inFlight >= maxInFlight
	if l.changes {
		g.inFlight--
	}
	g.pump(l)
	if full && l.changes {
		for _, other := range g.lanes {
			g.pump(other)
		}
	}
}

// pump lets out what may go. The caller holds mu.
func (g *Gate) pump(l *lane) {
	for len(l.queue) > 0 {
		if l.changes && g.inFlight >= maxInFlight {
			return // whoever leaves pumps again
		}
		t := l.queue[0]
		t.sent = time.Now()
		wait, ok := l.take(t, l.inFlight)
		if !ok {
			if wait > 0 {
				g.wake(l, wait)
			}
			return
		}
		close(t.granted)
		l.queue = slices.Delete(l.queue, 0, 1)
		l.inFlight++
		if l.changes {
			g.inFlight++
		}
	}
}

func (g *Gate) wake(l *lane, after time.Duration) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.pump(l)
	})
}

// errNotSent is in the chain of a request that never went out.
var errNotSent = errors.New("the request was not sent: the call ended while it waited for AWS's rate")

// pass sends one request through a gate; again is one that AWS refused before.
func pass[T any](ctx context.Context, g *Gate, operation string, again bool, request func(context.Context) (T, error)) (out T, err error) {
	t, err := g.enter(ctx, operation, again)
	if err != nil {
		return out, fmt.Errorf("%w: %w", errNotSent, err)
	}
	defer func() { g.leave(operation, t, Throttled(err)) }()
	apart(func() { out, err = request(ctx) })
	return out, err
}

// apart runs a function in a goroutine of its own and waits for it. The SDK needs a deep
// stack; so only as many callers have one as requests are under way, not all that wait.
func apart(run func()) {
	var panicked any
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { panicked = recover() }()
		grow()
		run()
	}()
	<-ended
	if panicked != nil {
		panic(panicked)
	}
}

// grow gives the calling goroutine at once the stack that the SDK needs. Otherwise it would
// be doubled again and again, and copied with ever more frames in it.
//
//go:noinline
func grow() {
	var room [16 << 10]byte
	runtime.KeepAlive(&room)
}
