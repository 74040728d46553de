package objectmount

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// record is what is noted of a mount, so that the next mounter has it after a crash. It holds credentials, and so it is on tmpfs.
type record struct {
	Plan        volume.ObjectPlan         `json:"plan"`
	Staging     string                    `json:"staging"`
	Targets     []target                  `json:"targets,omitempty"`
	Credentials *volume.ObjectCredentials `json:"credentials,omitempty"` // of a secret
	Access      *Access                   `json:"access,omitempty"`
	Process     *process                  `json:"process,omitempty"`
	Device      string                    `json:"device,omitempty"`  // of the mount, "major:minor"
	Kills       int64                     `json:"kills,omitempty"`   // programs that the mount's control group had lost for memory when this one was started
	Ending      time.Time                 `json:"ending,omitzero"`   // when it was unmounted; the program may still be writing
	Settled     bool                      `json:"settled,omitempty"` // no file was open for writing then
}

// target is where a mount is published.
type target struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly"`
}

const recordName = "record.json"

// shielded is what the mount table shows of the empty tmpfs below each mount.
const shielded = "diskbridge"

// folderSize is how much the private folder of all mounts holds, in bytes.
const folderSize = 64 << 20

// openFolder makes the private folder of all mounts; it is on tmpfs afterwards, also where its parent is not.
func (m *Mounts) openFolder() error {
	m.mu.Lock() // so that it is mounted once
	defer m.mu.Unlock()
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.Dir, &st); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return os.Chmod(m.Dir, 0o700) //nolint:gosec // a folder, for its owner only
	}
	return mount.Scratch(m.Dir, shielded, fmt.Sprintf("%dk", folderSize>>10))
}

// note writes the record down, whole or not at all.
func (r *record) note(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, recordName)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readRecord reads what an earlier mounter noted; nil where it had not come so far.
func readRecord(dir string) (*record, error) {
	path := filepath.Join(dir, recordName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w); remove its folder, and stage the volume again", path, err)
	}
	return r, nil
}

// same proves that a volume is asked for in the way it is mounted.
func (u *unit) same(plan volume.ObjectPlan) error {
	is, want := u.Plan, plan
	is.OneTarget, want.OneTarget = false, false
	switch {
	case !u.Ending.IsZero():
		return fault.New(fault.Pending, "check mount", u.Staging, "it is being unmounted; try again")
	case is.GID != want.GID:
		return fault.New(fault.Conflict, "check mount", u.Staging, "the volume is mounted on this node for group %d and not for %d: a bucket's files have one group on a node; "+
			"give its pods the same fsGroup, or the volume a gid", is.GID, want.GID)
	case is.ReadOnly != want.ReadOnly:
		return fault.New(fault.Conflict, "check mount", u.Staging, "the volume is mounted there, but read-only is %t and not %t; unstage it first", is.ReadOnly, want.ReadOnly)
	case !reflect.DeepEqual(is, want):
		return fault.New(fault.Conflict, "check mount", u.Staging, "the volume is mounted there with other options; unstage it first")
	}
	return nil
}
