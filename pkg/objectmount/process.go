package objectmount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running program. It outlives this process: what it writes goes to a file, and the next mounter finds it by its
// number and start.
type process struct {
	ID      int    `json:"pid"`
	Started uint64 `json:"started"` // in clock ticks since the machine's start: a number that comes again has another

	fd     *os.File      // pidfd
	done   chan struct{} // closed when the process has ended, or release was called
	wait   sync.WaitGroup
	status string // how it ended, once done is closed; "" if this process did not start it
}

const logName = "log"

// start runs a command with its files in dir.
func start(c Command, dir string) (*process, error) {
	for name, text := range c.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }() // as above
	child, err := os.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &os.ProcAttr{
		Dir: "/", Env: c.Env, Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p := &process{ID: child.Pid}
	if p.Started, err = startOf(p.ID); err == nil {
		err = p.watch(func() {
			if state, err := child.Wait(); err == nil { // also so that it is no zombie
				p.status = state.String()
			}
		})
	}
	if err != nil {
		return nil, errors.Join(err, child.Kill())
	}
	return p, nil
}

// adopt watches a process that an earlier mounter started; false if it has ended.
func adopt(id int, started uint64) (*process, bool) {
	p := &process{ID: id, Started: started}
	if id <= 0 || p.watch(func() {}) != nil {
		return nil, false
	}
	if now, err := startOf(id); err != nil || now != started { // the number is another's
		p.release()
		return nil, false
	}
	return p, true
}

// watch closes done when the process has ended; then reap is called.
func (p *process) watch(reap func()) error {
	fd, err := unix.PidfdOpen(p.ID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	p.fd, p.done = os.NewFile(uintptr(fd), "pidfd"), make(chan struct{})
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return errors.Join(err, p.fd.Close())
	}
	p.wait.Go(func() {
		defer close(p.done)
		// The runtime's poller waits, not a thread for each process. After release it is an error.
		if conn.Read(func(fd uintptr) bool { return ended(int(fd)) }) == nil {
			reap()
		}
	})
	return nil
}

func ended(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// release stops watching; the process goes on.
func (p *process) release() {
	_ = p.fd.Close() // ends the wait
	p.wait.Wait()
}

// alive reports whether the process runs.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process and waits for it, at most for a while.
func (p *process) kill() error {
	if p.alive() {
		_ = unix.PidfdSendSignal(int(p.fd.Fd()), unix.SIGKILL, nil, 0) // it may just have ended
	}
	timer := time.NewTimer(killLimit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("process %d does not end", p.ID)
	}
}

const killLimit = 5 * time.Second

// startOf is when a process was started: proc_pid_stat(5), field 22.
func startOf(id int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has another form", id)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// maxLog is how much of what a program writes is kept, in bytes; only the end of it is ever read. Some hundred programs that
// complain at one time have room in the mounter's tmpfs, of which the notes need some too.
const maxLog = 64 << 10

// shorten empties a log that has grown.
func shorten(dir string) {
	path := filepath.Join(dir, logName)
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		_ = os.Truncate(path, 0) // it is appended to
	}
}

// tail is the end of what the program in dir wrote.
func tail(dir string) string {
	const most = 4 << 10
	f, err := os.Open(filepath.Join(dir, logName))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(-most, 2)
	}
	text := make([]byte, most)
	n, _ := f.Read(text)
	return strings.TrimSpace(string(text[:n]))
}
