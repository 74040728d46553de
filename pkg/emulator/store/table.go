package store

import (
	"slices"
	"strings"
	"time"
)

// record is what a table keeps.
type record[T any] interface {
	comparable
	key() string
	next() time.Time // when it wants to change by itself, zero for never
	clone() T
}

// version is a record as of a moment; a zero value is a record that was dropped.
type version[T any] struct {
	value T
	at    time.Time
}

// Table is one kind of record. Use it only inside [Store.Read] or [Store.Update].
type Table[T record[T]] struct {
	kind  string
	store *Store
	rows  map[string][]version[T] // newest last
	dirty map[string]T            // of the running update
}

// table is what the store does with all tables alike.
type table interface {
	load() error
	changed() ([]entry, error)
	commit(now time.Time)
	discard()
}

func newTable[T record[T]](s *Store, kind string) *Table[T] {
	t := &Table[T]{kind: kind, store: s, rows: map[string][]version[T]{}, dirty: map[string]T{}}
	s.tables = append(s.tables, t)
	return t
}

// Get is the record as it truly is.
func (t *Table[T]) Get(id string) (T, bool) {
	var none T
	if v, ok := t.dirty[id]; ok {
		return v, v != none
	}
	vs := t.rows[id]
	if len(vs) == 0 {
		return none, false
	}
	v := vs[len(vs)-1].value
	return v, v != none
}

// Edit is a copy of the record that the running update may change.
func (t *Table[T]) Edit(id string) (T, bool) {
	if v, ok := t.dirty[id]; ok {
		var none T
		return v, v != none
	}
	v, ok := t.Get(id)
	if ok {
		v = v.clone()
		t.dirty[id] = v
	}
	return v, ok
}

// Put adds or replaces a record.
func (t *Table[T]) Put(v T) { t.dirty[v.key()] = v }

// Drop removes a record.
func (t *Table[T]) Drop(id string) {
	var none T
	t.dirty[id] = none
}

// Seen is the record as the view shows it now.
func (t *Table[T]) Seen(view View, id string) (T, bool) {
	var none T
	vs := t.rows[id]
	for i := len(vs) - 1; i >= 0; i-- {
		if t.store.visible(view, id, vs[i].at) {
			return vs[i].value, vs[i].value != none
		}
	}
	return none, false
}

// All are the records that the view shows now, by id.
func (t *Table[T]) All(view View) []T {
	out := make([]T, 0, len(t.rows))
	for id := range t.rows {
		if v, ok := t.Seen(view, id); ok {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b T) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// changed are the entries of what the running update changed.
func (t *Table[T]) changed() ([]entry, error) {
	var none T
	var out []entry
	for id, v := range t.dirty {
		e := entry{Kind: t.kind, ID: id}
		if v != none {
			var err error
			if e, err = newEntry(t.kind, id, v); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// commit makes what the running update changed the newest version.
func (t *Table[T]) commit(now time.Time) {
	var none T
	for id, v := range t.dirty {
		t.rows[id] = append(t.settled(id, now), version[T]{value: v, at: now})
		t.store.tell(t.kind, id)
		switch {
		case v == none:
			t.store.graves = append(t.store.graves, grave{at: now.Add(t.store.window), bury: func() { t.bury(id) }})
		case !v.next().IsZero():
			t.store.push(Due{Kind: t.kind, ID: id, At: v.next()})
		}
	}
	clear(t.dirty)
}

// discard forgets what the running update changed.
func (t *Table[T]) discard() { clear(t.dirty) }

// settled are the row's versions without those that no view can show any more.
func (t *Table[T]) settled(id string, now time.Time) []version[T] {
	vs := t.rows[id]
	for i := len(vs) - 1; i > 0; i-- {
		if !vs[i].at.Add(t.store.window).After(now) {
			return slices.Clone(vs[i:])
		}
	}
	return vs
}

// bury forgets a dropped record that no view shows any more.
func (t *Table[T]) bury(id string) {
	var none T
	if vs := t.rows[id]; len(vs) > 0 && vs[len(vs)-1].value == none {
		delete(t.rows, id)
	}
}

// load fills the table from the disk; everything loaded is old enough for every view.
func (t *Table[T]) load() error {
	return readAll(t.store.disk, t.kind, func(v T) {
		t.rows[v.key()] = []version[T]{{value: v}}
		if at := v.next(); !at.IsZero() {
			t.store.push(Due{Kind: t.kind, ID: v.key(), At: at})
		}
	})
}
