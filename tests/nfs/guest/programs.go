package main

import (
	"bufio"
	"bytes"
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
	"write":  writeLines,
	"buffer": writeBuffered,
	"shrink": func(path string) error { return unix.Mount("", path, "", unix.MS_REMOUNT, "size=4m") },
	"grow":   func(path string) error { return unix.Mount("", path, "", unix.MS_REMOUNT, "size=50%") },
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

// buffered is how many bytes writeBuffered writes.
const buffered = 16 << 20

// writeBuffered maps a file and tells of it, waits for a line, writes to the page cache only and tells of that. Then it waits
// to be killed, as a program of a pod is. It has closed the file before: closing would send what it wrote.
func writeBuffered(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if err := f.Truncate(buffered); err != nil {
		return err
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, buffered, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := unix.Mprotect(mapped, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "made")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	copy(mapped, bytes.Repeat([]byte("diskbrid"), buffered/8))
	fmt.Fprintln(os.Stdout, "written")
	select {}
}

// buffer has a program write to the page cache of a volume after cut, and be killed then.
func (c claim) buffer(cut func() error) error {
	cmd := exec.Command("/init", "buffer", c.file("buffered")) //nolint:noctx // it is killed
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	_, err := lines.ReadString('\n')
	if err == nil {
		err = cut()
	}
	if err == nil {
		_, err = fmt.Fprintln(in)
	}
	if err == nil {
		_, err = lines.ReadString('\n')
	}
	return lane.Named("write to the page cache", errors.Join(err, kill(cmd)))
}

// arrived proves that all of it is on the server.
func arrived(path string) error {
	got, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(got, bytes.Repeat([]byte("diskbrid"), buffered/8)) {
		err = fmt.Errorf("%d of %d bytes, or others, are on the server", len(got), buffered)
	}
	return err
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
