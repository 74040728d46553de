package directory

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// marker is the proof that a directory is ours. It lies at [volume.MarkerPath] and is written before the directory is
// made: no marker, no delete.
type marker struct {
	Cluster  string          `json:"cluster"`
	Name     string          `json:"name"`
	Path     string          `json:"path"`
	Digest   string          `json:"digest"`
	OnDelete volume.OnDelete `json:"onDelete"`
	State    state           `json:"state"`
}

// state is how far a directory has come.
type state string

const (
	making   state = "making"   // owner and permissions are still to be set
	made     state = "made"     // it is its users'
	removing state = "removing" // what is left of it is in the graveyard
)

// local is a path of a volume as [os.Root] takes it.
func local(p string) string { return strings.TrimPrefix(p, "/") }

// read returns the marker of a path; ok is false where there is none.
func read(root *os.Root, p string) (m marker, ok bool, err error) {
	text, err := root.ReadFile(local(volume.MarkerPath(p)))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read the marker of %s: %w", p, err)
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Path != p {
		return m, false, fault.New(fault.Conflict, "read marker", p, "%s is damaged (%v); nothing was done", volume.MarkerPath(p), err)
	}
	return m, true, nil
}

// claim writes the first marker of a path. ok is false if somebody else was faster.
func claim(root *os.Root, m marker) (ok bool, err error) {
	temporary, err := write(root, m)
	if err != nil {
		return false, err
	}
	err = root.Link(temporary, local(volume.MarkerPath(m.Path)))
	if err := root.Remove(temporary); err != nil {
		return false, err
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// update replaces the marker of a path.
func update(root *os.Root, m marker) error {
	temporary, err := write(root, m)
	if err != nil {
		return err
	}
	return root.Rename(temporary, local(volume.MarkerPath(m.Path)))
}

// write writes a marker down to the server, beside where it belongs, under a name of this call.
func write(root *os.Root, m marker) (name string, err error) {
	if err := reserve(root); err != nil {
		return "", err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	name = local(volume.MarkerPath(m.Path)) + "." + rand.Text()
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	return name, errors.Join(err, f.Sync(), f.Close())
}

// reserve makes the folder of the markers, which only root may look into.
func reserve(root *os.Root) error {
	if err := root.Mkdir(local(volume.Reserved), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s: %w", volume.Reserved, err)
	}
	return ordinary(root, volume.Reserved)
}

func exists(root *os.Root, p string) (bool, error) {
	_, err := root.Lstat(local(p))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
