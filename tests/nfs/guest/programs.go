package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/tests/lane"
)

// programs are what runs in pods. Each is this program, run again: a process that has files of a volume open can hang, and
// must not be the one that plays the kubelet.
var programs = map[string]func(path string) error{
	"touch-as-user": func(path string) error {
		// nsenter needs root, so that the user changes here.
		return errors.Join(unix.Setgroups(nil), syscall.Setgid(userID), syscall.Setuid(userID), os.WriteFile(path, nil, 0o644))
	},
	"write": writeLines,
}

// userID is a user who is not root.
const userID = 1000

// runProgram runs one of them if this process was started for that.
func runProgram(_ context.Context, args []string) (done bool, err error) {
	if len(args) != 3 || programs[args[1]] == nil {
		return false, nil
	}
	return true, programs[args[1]](args[2])
}

// writeLines writes line after line down to the server, and tells of each, until it is asked to end.
func writeLines(path string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		_, err := fmt.Fprintf(f, "line %d\n", i)
		if err := errors.Join(err, f.Sync()); err != nil {
			return errors.Join(fmt.Errorf("line %d: %w", i, err), f.Close())
		}
		fmt.Fprintln(os.Stdout, i)
		select {
		case <-stop:
			return f.Close()
		default:
		}
	}
}

// writer is a program that writes to a volume.
type writer struct {
	cmd   *exec.Cmd
	lines chan string // one for each line that is on the server; closed at its end
}

func (c claim) startWriter() (*writer, error) {
	cmd := exec.Command("/init", "write", c.file("log")) //nolint:noctx // end ends it
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &writer{cmd: cmd, lines: make(chan string)}
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.lines <- lines.Text()
		}
	}()
	return w, w.more(1)
}

// more waits until the writer has come n lines further. A kernel tries to connect again after 3, 6, 12, 24 s, and so on.
func (w *writer) more(n int) error {
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for range n {
		select {
		case _, ok := <-w.lines:
			if !ok {
				return errors.New("the writer has ended")
			}
		case <-limit.C:
			return errors.New("the writer does not go on")
		}
	}
	return nil
}

// end stops the writer; it is an error if any write failed.
func (w *writer) end() error {
	err := w.cmd.Process.Signal(unix.SIGTERM)
	for range w.lines { // what it still has to tell
	}
	return lane.Named("the writer", errors.Join(err, w.cmd.Wait()))
}
