package inside

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The arguments with which this program is run again, as a process in namespaces of its own.
const (
	hostCommand   = "namespace-host"
	serverCommand = "namespace-nfs-server"
)

// Host is a computer within this machine: a network, a name and a mount table of its own, linked to this one's network.
type Host struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Scanner
}

// StartHost makes a computer with some addresses. It sees the same files.
func StartHost(ctx context.Context, name string, addresses ...string) (*Host, error) {
	return startHost(ctx, hostCommand, name, "", addresses...)
}

// startHost starts a process that ends itself when this one does.
func startHost(ctx context.Context, command, name, dir string, addresses ...string) (*Host, error) {
	cmd := exec.Command("/proc/self/exe", command, name, dir) //nolint:noctx // Close ends it
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	h := &Host{cmd: cmd, stdin: stdin, answers: bufio.NewScanner(stdout)}
	if err := Link(ctx, h.PID(), addresses...); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// PID is the process whose namespaces the host has.
func (h *Host) PID() int { return h.cmd.Process.Pid }

// Path is where this process sees a path of the host.
func (h *Host) Path(path string) string { return fmt.Sprintf("/proc/%d/root%s", h.PID(), path) }

// Command is what runs a program on the host.
func (h *Host) Command(args ...string) []string {
	return append([]string{"nsenter", "--target=" + strconv.Itoa(h.PID()), "--net", "--mount", "--uts"}, args...)
}

// Do runs start, which starts processes, so that they have the host's network and name, and this one's files.
func (h *Host) Do(start func() error) error {
	runtime.LockOSThread()
	back, err := enter("/proc/thread-self", fmt.Sprintf("/proc/%d", h.PID()))
	if err == nil {
		err = start()
	}
	if backErr := back(); backErr != nil {
		return errors.Join(err, backErr) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// enter gives this thread the network and the name of a process; back gives it its own again.
func enter(self, process string) (back func() error, err error) {
	var undo []func() error
	back = func() (err error) {
		for _, f := range undo {
			err = errors.Join(err, f())
		}
		return err
	}
	for _, kind := range []string{"/ns/net", "/ns/uts"} {
		own, err := os.Open(self + kind)
		if err != nil {
			return back, err
		}
		undo = append(undo, func() error { return errors.Join(unix.Setns(int(own.Fd()), 0), own.Close()) })
		other, err := os.Open(process + kind)
		if err != nil {
			return back, err
		}
		if err := errors.Join(unix.Setns(int(other.Fd()), 0), other.Close()); err != nil {
			return back, err
		}
	}
	return back, nil
}

// Close ends the host, and its network with it.
func (h *Host) Close() error { return errors.Join(h.stdin.Close(), h.cmd.Wait()) }

func (h *Host) order(what string) error {
	if _, err := fmt.Fprintln(h.stdin, what); err != nil {
		return err
	}
	if !h.answers.Scan() {
		return fmt.Errorf("%s: the process is gone (%w)", what, h.answers.Err())
	}
	if answer := h.answers.Text(); answer != "ok" {
		return fmt.Errorf("%s: %s", what, answer)
	}
	return nil
}

// Main is for the main function of every program that makes hosts: it reports whether this process is one, and then has
// done all that is to be done.
func Main(ctx context.Context, args []string) (done bool, err error) {
	if len(args) != 4 || args[1] != hostCommand && args[1] != serverCommand {
		return false, nil
	}
	if err := separate(); err != nil {
		return true, err
	}
	if err := errors.Join(unix.Sethostname([]byte(args[2])), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		return true, err
	}
	if args[1] == serverCommand {
		return true, serve(ctx, args[3], os.Stdin, os.Stdout)
	}
	obey(os.Stdin, os.Stdout, nil)
	return true, nil
}

// obey does what the lines on in say, until there are no more.
func obey(in io.Reader, out io.Writer, orders map[string]func() error) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		answer := "ok"
		if err := orders[lines.Text()](); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Fprintln(out, answer)
	}
}
