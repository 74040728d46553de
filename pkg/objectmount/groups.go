package objectmount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	bytes int64  // the limit of each program's memory
	files groupFiles
}

// groupFiles are the names of a group's files in one version of control groups.
type groupFiles struct {
	limit  string
	swap   string // holds the limit of swap: of both together in version 1; it is not there where swap is not counted
	events string // has a line "oom_kill N"
	both   bool   // swap is of memory and swap together
}

// The two versions.
var (
	version1 = groupFiles{limit: "memory.limit_in_bytes", swap: "memory.memsw.limit_in_bytes", events: "memory.oom_control", both: true}
	version2 = groupFiles{limit: "memory.max", swap: "memory.swap.max", events: "memory.events"}
)

func (g *groups) dir(id string) string { return filepath.Join(g.base, "diskbridge-"+id) }

// put moves a program into a group with that name, whose memory is bounded, and has no swap beyond that. A nil groups does nothing.
func (g *groups) put(id string, pid int) error {
	if g == nil {
		return nil
	}
	if err := os.Mkdir(g.dir(id), 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // a control group is for everybody to see
		return err
	}
	if err := g.bound(g.dir(id)); err != nil {
		return err
	}
	return write(filepath.Join(g.dir(id), "cgroup.procs"), strconv.Itoa(pid))
}

// bound limits a group, which may have another limit of before.
func (g *groups) bound(dir string) error {
	limit, swap := strconv.FormatInt(g.bytes, 10), "0"
	if g.files.both { // never below the limit of memory alone, so that a greater one needs room first
		swap = limit
		_ = write(filepath.Join(dir, g.files.swap), swap)
	}
	err := write(filepath.Join(dir, g.files.limit), limit)
	if swapErr := write(filepath.Join(dir, g.files.swap), swap); !errors.Is(swapErr, fs.ErrNotExist) {
		err = errors.Join(err, swapErr)
	}
	return err
}

// kills is how often the kernel has ended a program of that group because the group was out of memory.
func (g *groups) kills(id string) int64 {
	if g == nil {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(g.dir(id), g.files.events))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			count, _ := strconv.ParseInt(strings.TrimSpace(n), 10, 64) // the kernel writes a number
			return count
		}
	}
	return 0
}

// drop removes a group. A program that an earlier mounter started is in it until another process has taken note of its end, so
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

// preferOnOutOfMemory has the kernel choose a program before this process where both share a group that is out of memory: the
// mounter starts one program again, but its own end would be that of all in a container.
// https://man7.org/linux/man-pages/man5/proc_pid_oom_score_adj.5.html
func preferOnOutOfMemory(pid int) error {
	const more, most = 100, 1000
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return err
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	return write(fmt.Sprintf("/proc/%d/oom_score_adj", pid), strconv.Itoa(min(own+more, most)))
}

func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
