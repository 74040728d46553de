package broker

import (
	"sync"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Locks keeps operations on one key apart within this process. They save work;
// correctness never depends on them, since another process may be active.
type Locks struct {
	mu   sync.Mutex
	held map[string]string
}

// NewLocks makes an empty set.
func NewLocks() *Locks { return &Locks{held: map[string]string{}} }

// TryLock takes the key for op and returns its release, or fault.Pending naming the
// operation that holds it.
func (l *Locks) TryLock(op, key string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if holder, busy := l.held[key]; busy {
		return nil, fault.New(fault.Pending, op, key, "%s is still in progress for it; ask again", holder)
	}
	l.held[key] = op
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, key)
	}, nil
}
