package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk keeps one JSON file per record: DIR/KIND/ID.json. An empty dir keeps nothing.
type disk struct {
	dir  string
	lock *os.File // held while the disk is open, so that nobody else writes there
}

func openDisk(dir string) (disk, error) {
	if dir == "" {
		return disk{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return disk{}, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return disk{}, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return disk{}, errors.Join(fmt.Errorf("%s is used by another emulator: %w", dir, err), lock.Close())
	}
	return disk{dir: dir, lock: lock}, nil
}

func (d disk) close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

func (d disk) path(kind, id string) string { return filepath.Join(d.dir, kind, id+".json") }

// write replaces the file in one step, so that a kill leaves the old or the new one.
func (d disk) write(kind, id string, v any) error {
	if d.dir == "" {
		return nil
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s %s: %w", kind, id, err)
	}
	path := d.path(kind, id)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write %s %s: %w", kind, id, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s %s: %w", kind, id, err)
	}
	return nil
}

func (d disk) remove(kind, id string) error {
	if d.dir == "" {
		return nil
	}
	if err := os.Remove(d.path(kind, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s %s: %w", kind, id, err)
	}
	return nil
}

// readAll reads every record of a kind and makes its folder if there is none.
func readAll[T any](d disk, kind string, each func(T)) error {
	if d.dir == "" {
		return nil
	}
	folder := filepath.Join(d.dir, kind)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("read %s: %w", kind, err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("read %s: %w", kind, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue // what a kill left half written
		}
		data, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return fmt.Errorf("read %s: %w", kind, err)
		}
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("read %s: %s: %w", kind, filepath.Join(folder, e.Name()), err)
		}
		each(v)
	}
	return nil
}
