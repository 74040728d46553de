package ebs

import (
	"maps"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
)

// maxNames bounds the memory of tokenMemory; forgetting a name costs one more
// round trip, never correctness.
const maxNames = 10000

// tokenMemory remembers what this process learned about names: which client tokens
// answer a dead volume, and when a call's outcome became unknown.
type tokenMemory struct {
	mu       sync.Mutex
	started  time.Time
	burnt    map[string]int
	mismatch map[string]time.Time
	unknown  map[string]time.Time
	taken    map[string]takenSnapshot
	gone     map[string]time.Time // deleted by this process, by id
	swept    time.Time
}

// takenSnapshot is a snapshot that this process took a moment ago.
type takenSnapshot struct {
	snapshot ec2.Snapshot
	at       time.Time
}

func newTokenMemory(started time.Time) *tokenMemory {
	return &tokenMemory{started: started, burnt: map[string]int{}, mismatch: map[string]time.Time{}, unknown: map[string]time.Time{}, taken: map[string]takenSnapshot{}, gone: map[string]time.Time{}}
}

// generation returns the number of the first token that is not known to be burnt.
func (m *tokenMemory) generation(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.burnt[name]
}

// burn notes that a generation's token answers a dead volume.
func (m *tokenMemory) burn(name string, generation int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bound(m.burnt)
	m.burnt[name] = generation + 1
	delete(m.mismatch, name)
}

// mismatched notes a mismatch and returns for how long the name has had one.
func (m *tokenMemory) mismatched(name string, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	bound(m.mismatch)
	first, ok := m.mismatch[name]
	if !ok {
		m.mismatch[name], first = now, now
	}
	return now.Sub(first)
}

// lost notes that a call for the name may or may not have taken effect.
func (m *tokenMemory) lost(name string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(now)
	m.unknown[name] = now
}

// took notes a snapshot that was taken, since EC2 may not show it for a while.
func (m *tokenMemory) took(name string, s ec2.Snapshot, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(now)
	m.taken[name] = takenSnapshot{s, now}
}

// recall returns the snapshot that was taken under the name within the interval, and not deleted.
func (m *tokenMemory) recall(name string, now time.Time, interval time.Duration) (ec2.Snapshot, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.taken[name]
	_, gone := m.gone[t.snapshot.ID]
	return t.snapshot, ok && !gone && now.Sub(t.at) <= interval
}

// deletedVolume notes that a volume was deleted by this process: should its name come
// again, its token would answer this volume. One volume burns one token, however often
// it is deleted: with a token too far ahead of another process's, both would make one.
func (m *tokenMemory) deletedVolume(name, id string, now time.Time) {
	if !m.isDeleted(id) {
		m.burn(name, m.generation(name))
		m.deleted(id, now)
	}
}

// deleted notes a resource that this process deleted: EC2 may show it for a while.
func (m *tokenMemory) deleted(id string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(now)
	m.gone[id] = now
}

// sweep forgets, once a minute, what EC2 has shown or hidden for long. The caller holds mu.
func (m *tokenMemory) sweep(now time.Time) {
	if now.Sub(m.swept) < time.Minute {
		return
	}
	m.swept = now
	old := func(_ string, at time.Time) bool { return now.Sub(at) > time.Minute }
	maps.DeleteFunc(m.unknown, old)
	maps.DeleteFunc(m.gone, old)
	maps.DeleteFunc(m.taken, func(_ string, t takenSnapshot) bool { return now.Sub(t.at) > time.Minute })
}

// isDeleted reports whether this process deleted a resource a moment ago.
func (m *tokenMemory) isDeleted(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, gone := m.gone[id]
	return gone
}

// settled returns the instant from which on everything that was ever asked for under
// the name is visible, if EC2 shows it within interval: a lost call of this process,
// or any call of the process before it.
func (m *tokenMemory) settled(name string, interval time.Duration) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.started
	if t, ok := m.unknown[name]; ok && t.After(since) {
		since = t
	}
	return since.Add(interval)
}

func bound[V any](m map[string]V) {
	if len(m) >= maxNames {
		clear(m)
	}
}
