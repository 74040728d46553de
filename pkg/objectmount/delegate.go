package objectmount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// leaf is the group that the mounter itself is in below a delegated one of version 2, where only leaves hold processes.
const leaf = "mounter"

// view is what this process sees of control groups.
type view struct {
	root  string // where they are mounted
	pid   int    // of this process
	self  string // proc_pid_cgroup(5) of this process
	first string // and of process 1, "" if that cannot be read
}

// ownView is the view of this process.
func ownView() (v view, err error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return v, err
	}
	first, _ := os.ReadFile("/proc/1/cgroup") // unreadable, it proves nothing
	return view{"/sys/fs/cgroup", os.Getpid(), string(self), string(first)}, nil
}

// group is the path of a process' group in the hierarchy of a controller of version 1, or of version 2 ("").
func group(text, controller string) (string, bool) {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] == controller {
			return parts[2], true
		}
	}
	return "", false
}

// open finds the mounter's own control group. The error says why there can be none below it.
func (v view) open(bytes int64) (*groups, error) {
	if own, ok := group(v.self, "memory"); ok {
		g := &groups{base: filepath.Join(v.root, "memory", own), bytes: bytes, files: version1}
		if _, err := os.Stat(g.base); errors.Is(err, fs.ErrNotExist) {
			g.base = filepath.Join(v.root, "memory") // a container sees its own group as the root
		}
		return g, nil
	}
	own, ok := group(v.self, "")
	if !ok {
		return nil, errors.New("this process is in no control group for memory")
	}
	base, err := v.delegated(own)
	if err != nil {
		return nil, err
	}
	if err := write(filepath.Join(base, "cgroup.subtree_control"), "+memory"); err != nil {
		return nil, fmt.Errorf("memory of control group %s cannot be divided: %w", own, err)
	}
	// A container's own group has this set by kubelet: one program too much would end the mounter and all others.
	_ = write(filepath.Join(base, "memory.oom.group"), "0")
	return &groups{base: base, bytes: bytes, files: version2}, nil
}

// delegated finds the group of version 2 that is given to this process, and leaves it without processes of its own. It is the
// group of this process' container, whether the container sees the host's groups or only its own, or a systemd unit's with
// DelegateSubgroup=mounter. Any other would be in the way of whoever manages it.
func (v view) delegated(own string) (base string, err error) {
	base = filepath.Join(v.root, own)
	pids, err := processes(base)
	switch {
	case err != nil:
		return "", err
	case !slices.Contains(pids, v.pid):
		return "", fmt.Errorf("%s is not the control group %s of this process: another hierarchy is mounted there", base, own)
	case path.Base(own) == leaf:
		return filepath.Dir(base), nil
	}
	if _, err := os.Stat(filepath.Join(base, "cgroup.type")); err != nil { // every group but the true root has it
		return "", errors.New("this process is in the root of all control groups, which cannot be divided; run it as a systemd unit, or in a container")
	}
	switch first, _ := group(v.first, ""); {
	case own == "/": // of a namespace: nothing above it is seen
	case first == own: // process 1 of this container is in it, so that no service manager of a host has it
	case isDelegated(base):
		return "", fmt.Errorf("control group %s is delegated, but systemd before 254 does not know DelegateSubgroup=%s: "+
			"could the mounter make the subgroup itself, systemd would not start it a second time; use systemd 254 or later", own, leaf)
	default:
		return "", fmt.Errorf("control group %s is not delegated (systemd 254 and later: Delegate=memory and DelegateSubgroup=%s)", own, leaf)
	}
	return base, vacateGroup(base, own, pids)
}

// isDelegated reports whether systemd marks a group as one of Delegate=yes. https://systemd.io/CGROUP_DELEGATION/
func isDelegated(base string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 1)
		if n, err := unix.Getxattr(base, name, value); err == nil && n == 1 && value[0] == '1' {
			return true
		}
	}
	return false
}

// vacateGroup moves all processes of a group into a leaf below it. One that this process cannot see is not its own.
func vacateGroup(base, own string, pids []int) error {
	if slices.Contains(pids, 0) {
		return fmt.Errorf("control group %s has processes of others, too", own)
	}
	if err := os.Mkdir(filepath.Join(base, leaf), 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // a control group is for everybody to see
		return err
	}
	for range 10 { // a process may have started another meanwhile
		for _, pid := range pids {
			if err := write(filepath.Join(base, leaf, "cgroup.procs"), strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		var err error
		if pids, err = processes(base); err != nil || len(pids) == 0 {
			return err
		}
		if slices.Contains(pids, 0) {
			return fmt.Errorf("control group %s has processes of others, too", own)
		}
	}
	return fmt.Errorf("control group %s does not become free of processes", own)
}

// processes are those of a group, without the groups below it. One outside of this process' namespace is 0.
func processes(dir string) (pids []int, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%s/cgroup.procs: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
