package batch

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrClosed is the answer of a Batcher that was closed.
var ErrClosed = errors.New("batcher is closed")

// Fetch answers a batch of distinct keys. A key that does not exist is merely
// absent from the map; an error fails the whole batch.
type Fetch[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// Options shape a Batcher; zero values mean the defaults.
type Options struct {
	MaxKeys     int            // keys per call; default 200, EC2's limit of values per filter
	MaxCalls    int            // calls in flight; default 4
	Gap         time.Duration  // how long a key waits for company, so that callers who wake together share a call; default 3 ms
	Patience    time.Duration  // how long new keys wait for a running call before they go out beside it; default 500 ms
	CallTimeout time.Duration  // bound of one call; default 30 s
	Observe     func(keys int) // told of each call before it is made; may be nil
}

// Batcher shares calls between callers. An idle batcher asks as good as at once
// (Gap); while calls are in flight new keys gather and go out together, so batches
// widen under load by themselves. An answer is always from a call that started after it was asked
// for. A caller whose context ends leaves alone.
type Batcher[K comparable, V any] struct {
	fetch Fetch[K, V]
	opts  Options

	ctx    context.Context
	cancel context.CancelFunc
	calls  sync.WaitGroup

	mu       sync.Mutex
	pending  map[K][]chan answer[V]
	inFlight int
	oldest   time.Time // since when the oldest pending key waits
	last     time.Time // start of the newest call
	timer    *time.Timer
}

type answer[V any] struct {
	value V
	found bool
	err   error
}

// New makes a Batcher. Close it to end its calls.
func New[K comparable, V any](fetch Fetch[K, V], opts Options) *Batcher[K, V] {
	if opts.MaxKeys <= 0 {
		opts.MaxKeys = 200
	}
	if opts.MaxCalls <= 0 {
		opts.MaxCalls = 4
	}
	if opts.Gap <= 0 {
		opts.Gap = 3 * time.Millisecond
	}
	if opts.Patience <= 0 {
		opts.Patience = 500 * time.Millisecond
	}
	if opts.CallTimeout <= 0 {
		opts.CallTimeout = 30 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Batcher[K, V]{fetch: fetch, opts: opts, ctx: ctx, cancel: cancel, pending: map[K][]chan answer[V]{}}
}

// Get answers one key. found is false where the batch's call succeeded and the
// key was absent from it. The error is the call's own, or ctx's.
func (b *Batcher[K, V]) Get(ctx context.Context, key K) (value V, found bool, err error) {
	return b.Ask(key)(ctx)
}

// Ask asks as Get does, and leaves the waiting to the function that it returns: so a
// caller can ask for several things at the same time. The function is called at most once.
func (b *Batcher[K, V]) Ask(key K) (wait func(context.Context) (value V, found bool, err error)) {
	reply := make(chan answer[V], 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ctx.Err() != nil:
		reply <- answer[V]{err: ErrClosed}
	case len(b.pending) == 0:
		b.oldest = time.Now()
		fallthrough
	default:
		b.pending[key] = append(b.pending[key], reply)
		b.dispatch()
	}
	return func(ctx context.Context) (value V, found bool, err error) {
		select {
		case a := <-reply:
			return a.value, a.found, a.err
		case <-ctx.Done():
			return value, false, ctx.Err()
		}
	}
}

// Close ends the calls in flight, answers everybody who waits with ErrClosed and
// returns when the last call has ended.
func (b *Batcher[K, V]) Close() {
	b.mu.Lock()
	b.cancel()
	if b.timer != nil {
		b.timer.Stop()
	}
	waiting := b.pending
	b.pending = map[K][]chan answer[V]{}
	b.mu.Unlock()
	for _, replies := range waiting {
		deliver(replies, answer[V]{err: ErrClosed})
	}
	b.calls.Wait()
}

// dispatch starts as many calls as the load warrants. The caller holds mu.
func (b *Batcher[K, V]) dispatch() {
	for len(b.pending) > 0 && b.inFlight < b.opts.MaxCalls && b.ctx.Err() == nil {
		full := len(b.pending) >= b.opts.MaxKeys
		wait := b.opts.Gap - time.Since(b.oldest)
		if b.inFlight > 0 { // its end sends the next one, unless it hangs
			wait = b.opts.Patience - time.Since(b.last)
		}
		if wait > 0 && !full {
			b.wakeAfter(wait)
			return
		}
		b.start(b.take())
	}
}

func (b *Batcher[K, V]) wakeAfter(d time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.timer = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dispatch()
	})
}

// take removes up to MaxKeys pending keys. The caller holds mu.
func (b *Batcher[K, V]) take() map[K][]chan answer[V] {
	if len(b.pending) <= b.opts.MaxKeys {
		batch := b.pending
		b.pending = map[K][]chan answer[V]{}
		return batch
	}
	batch := make(map[K][]chan answer[V], b.opts.MaxKeys)
	for k, replies := range b.pending {
		if len(batch) == b.opts.MaxKeys {
			break
		}
		batch[k] = replies
		delete(b.pending, k)
	}
	return batch
}

// start runs one call in a goroutine that Close waits for. The caller holds mu.
func (b *Batcher[K, V]) start(batch map[K][]chan answer[V]) {
	b.inFlight++
	b.last = time.Now()
	b.calls.Go(func() {
		keys := make([]K, 0, len(batch))
		for k := range batch {
			keys = append(keys, k)
		}
		if b.opts.Observe != nil {
			b.opts.Observe(len(keys))
		}
		ctx, cancel := context.WithTimeout(b.ctx, b.opts.CallTimeout)
		values, err := b.fetch(ctx, keys)
		cancel()
		for k, replies := range batch {
			v, ok := values[k]
			deliver(replies, answer[V]{value: v, found: ok && err == nil, err: err})
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.inFlight--
		b.dispatch()
	})
}

// deliver never blocks: each reply channel has room for its one answer.
func deliver[V any](replies []chan answer[V], a answer[V]) {
	for _, r := range replies {
		r <- a
	}
}
