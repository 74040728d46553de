package broker

import (
	"slices"
	"strings"
	"sync"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Locks keeps operations on one key apart within this process. They save work;
// correctness never depends on them, since another process may be active.
type Locks struct {
	mu   sync.Mutex
	held map[string]*holders
}

// holders are the operations on one key: one, or several different ones that share it.
type holders struct {
	shared bool
	ops    []string
}

// NewLocks makes an empty set.
func NewLocks() *Locks { return &Locks{held: map[string]*holders{}} }

// TryLock takes the key for op alone and returns its release, or fault.Pending naming
// the operation that holds it.
func (l *Locks) TryLock(op, key string) (release func(), err error) { return l.try(op, key, false) }

// TryShare takes the key beside other operations that share it, but not twice for
// the same one.
func (l *Locks) TryShare(op, key string) (release func(), err error) { return l.try(op, key, true) }

func (l *Locks) try(op, key string, shared bool) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[key]
	if h == nil {
		h = &holders{shared: shared}
		l.held[key] = h
	} else if !shared || !h.shared || slices.Contains(h.ops, op) {
		return nil, fault.New(fault.Pending, op, key, "%s is still in progress for it; ask again", strings.Join(h.ops, " and "))
	}
	h.ops = append(h.ops, op)
	return func() { l.release(op, key) }, nil
}

func (l *Locks) release(op, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[key]
	h.ops = slices.DeleteFunc(h.ops, func(held string) bool { return held == op })
	if len(h.ops) == 0 {
		delete(l.held, key)
	}
}
