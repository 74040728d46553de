package store

import "slices"

// Watch collects the records that change. Its owner stops it.
type Watch struct {
	store *Store
	ids   map[string]string // of changed records, by id: their kind
	wake  chan struct{}
}

// Watch begins to collect changes.
func (s *Store) Watch() *Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &Watch{store: s, ids: map[string]string{}, wake: make(chan struct{}, 1)}
	s.watches = append(s.watches, w)
	return w
}

// Stop ends the collecting.
func (w *Watch) Stop() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.watches = slices.DeleteFunc(w.store.watches, func(other *Watch) bool { return other == w })
}

// Wake is readable when something changed since the last [Watch.Take].
func (w *Watch) Wake() <-chan struct{} { return w.wake }

// Take returns what changed since the last call, each record once: its id and its kind.
func (w *Watch) Take() map[string]string {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	ids := w.ids
	w.ids = map[string]string{}
	return ids
}

// tell notes a change for all that watch. The store is locked.
func (s *Store) tell(kind, id string) {
	for _, w := range s.watches {
		w.ids[id] = kind
		select {
		case w.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}
