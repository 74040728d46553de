package objectmount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// groups gives each program a control group of its own below the mounter's, so that one that runs out of memory takes no other
// with it. https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html
type groups struct {
	base  string // folder of the mounter's own group
	limit string // file of a group that holds the limit
	bytes int64
}

// leaf is the group that the mounter itself is in below a delegated one of version 2, where only leaves hold processes.
const leaf = "mounter"

// openGroups finds the mounter's own control group. root is where control groups are mounted, self is proc_pid_cgroup(5) of
// this process. The error says why there can be none below it.
func openGroups(root, self string, pid int, bytes int64) (*groups, error) {
	for line := range strings.Lines(self) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[1] == "memory":
			g := &groups{base: filepath.Join(root, "memory", parts[2]), limit: "memory.limit_in_bytes", bytes: bytes}
			if _, err := os.Stat(g.base); errors.Is(err, fs.ErrNotExist) {
				g.base = filepath.Join(root, "memory") // a container sees its own group as the root
			}
			return g, nil
		case parts[0] == "0" && !strings.Contains(self, ":memory:"):
			return delegated(root, parts[2], pid, bytes)
		}
	}
	return nil, errors.New("this process is in no control group for memory")
}

// delegated takes a group of version 2 over, if it is given to us: as the root of a container, or by systemd with
// DelegateSubgroup=mounter. Any other would be in the way of whoever manages it.
func delegated(root, group string, pid int, bytes int64) (*groups, error) {
	g := &groups{base: filepath.Join(root, group), limit: "memory.max", bytes: bytes}
	switch {
	case path.Base(group) == leaf:
		g.base = filepath.Dir(g.base)
	case group == "/":
		if err := os.MkdirAll(filepath.Join(g.base, leaf), 0o755); err != nil { //nolint:gosec // a control group is for everybody to see
			return nil, err
		}
		if err := write(filepath.Join(g.base, leaf, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("control group %s is not delegated (systemd: Delegate=memory and DelegateSubgroup=%s)", group, leaf)
	}
	if err := write(filepath.Join(g.base, "cgroup.subtree_control"), "+memory"); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *groups) dir(id string) string { return filepath.Join(g.base, "diskbridge-"+id) }

// put moves a program into a group with that name. A nil groups does nothing.
func (g *groups) put(id string, pid int) error {
	if g == nil {
		return nil
	}
	if err := os.Mkdir(g.dir(id), 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as above
		return err
	}
	if err := write(filepath.Join(g.dir(id), g.limit), strconv.FormatInt(g.bytes, 10)); err != nil {
		return err
	}
	return write(filepath.Join(g.dir(id), "cgroup.procs"), strconv.Itoa(pid))
}

// drop removes a group. A program that an earlier mounter started is in it until somebody else has taken note of its end, so
// that this is tried for a moment; a group that stays is used again by the next mount of that name.
func (g *groups) drop(id string) {
	if g == nil {
		return
	}
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for range 20 {
		if err := os.Remove(g.dir(id)); !errors.Is(err, unix.EBUSY) {
			return
		}
		<-again.C
	}
}

func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
