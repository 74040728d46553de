package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// journalName is the file that holds the state: a line of JSON for each update, the newest last. One append for each
// update is all that a kill needs to leave the old state or the new one, and costs little.
const journalName = "journal.jsonl"

// entry is a record that an update changed, or dropped where Record is missing.
type entry struct {
	Kind   string          `json:"kind"`
	ID     string          `json:"id"`
	Record json.RawMessage `json:"record,omitempty"`
}

// disk keeps records in a journal; one without a journal keeps nothing.
type disk struct {
	path    string
	lock    *os.File // held while the disk is open, so that nobody else writes there
	journal *os.File
	size    int64 // bytes in the journal
	compact int64 // bytes that the journal had after it was last rewritten
	live    map[string]map[string]json.RawMessage
}

func openDisk(dir string) (*disk, error) {
	if dir == "" {
		return &disk{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	d := &disk{path: filepath.Join(dir, journalName), lock: lock, live: map[string]map[string]json.RawMessage{}}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is used by another emulator: %w", dir, err), d.close())
	}
	err = d.read()
	if err == nil {
		err = d.rewrite()
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *disk) close() error {
	var err error
	for _, f := range []*os.File{d.journal, d.lock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// read plays the journal. A last line that a kill left half written was never answered for.
func (d *disk) read() error {
	text, err := os.ReadFile(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := bytes.Split(text, []byte("\n"))
	for number, line := range lines[:len(lines)-1] {
		var update []entry
		if err := json.Unmarshal(line, &update); err != nil {
			return fmt.Errorf("%s, line %d: %w", d.path, number+1, err)
		}
		d.note(update)
	}
	return nil
}

func (d *disk) note(update []entry) {
	for _, e := range update {
		switch {
		case e.Record == nil:
			delete(d.live[e.Kind], e.ID)
		case d.live[e.Kind] == nil:
			d.live[e.Kind] = map[string]json.RawMessage{e.ID: e.Record}
		default:
			d.live[e.Kind][e.ID] = e.Record
		}
	}
}

// rewrite replaces the journal by one of what is now, in one step.
func (d *disk) rewrite() error {
	var text bytes.Buffer
	for _, kind := range slices.Sorted(maps.Keys(d.live)) {
		for _, id := range slices.Sorted(maps.Keys(d.live[kind])) {
			if err := json.NewEncoder(&text).Encode([]entry{{kind, id, d.live[kind][id]}}); err != nil {
				return fmt.Errorf("write %s: %w", d.path, err)
			}
		}
	}
	next := d.path + ".new"
	if err := os.WriteFile(next, text.Bytes(), 0o600); err != nil {
		return err
	}
	journal, err := os.OpenFile(next, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := os.Rename(next, d.path); err != nil {
		return errors.Join(err, journal.Close())
	}
	if d.journal != nil {
		err = d.journal.Close()
	}
	d.journal, d.size, d.compact = journal, int64(text.Len()), int64(text.Len())
	return err
}

// spare is how many bytes a journal may grow beyond twice what it had when it was rewritten.
const spare = 16 << 20

// write keeps what an update changed, all or nothing.
func (d *disk) write(update []entry) error {
	if d.path == "" || len(update) == 0 {
		return nil
	}
	line, err := json.Marshal(update)
	if err != nil {
		return fmt.Errorf("write %s: %w", d.path, err)
	}
	n, err := d.journal.Write(append(line, '\n'))
	if err != nil {
		if n > 0 {
			err = errors.Join(err, d.journal.Truncate(d.size))
		}
		return fmt.Errorf("write %s: %w", d.path, err)
	}
	d.size += int64(n)
	d.note(update)
	if d.size > 2*d.compact+spare {
		_ = d.rewrite() // what it cannot replace is whole, and the next update tries again
	}
	return nil
}

// readAll reads every record of a kind.
func readAll[T any](d *disk, kind string, each func(T)) error {
	for _, id := range slices.Sorted(maps.Keys(d.live[kind])) {
		var v T
		if err := json.Unmarshal(d.live[kind][id], &v); err != nil {
			return fmt.Errorf("%s: %s %s: %w", d.path, kind, id, err)
		}
		each(v)
	}
	return nil
}

// newEntry is the entry of a record; of one that is dropped, without its value.
func newEntry(kind, id string, v any) (entry, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return entry{}, fmt.Errorf("write %s %s: %w", kind, id, err)
	}
	return entry{Kind: kind, ID: id, Record: data}, nil
}
