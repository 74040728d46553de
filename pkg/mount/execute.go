package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxOutput is how much of a program's output is kept, in bytes.
const maxOutput = 64 << 10

// ToolError is an external tool that ran and failed.
type ToolError struct {
	Tool     string
	ExitCode int    // -1 if a signal ended it
	Signal   string `json:",omitempty"` // that ended it
	Output   string
}

// Error names the tool, its exit code and what it said.
func (e *ToolError) Error() string {
	if e.Signal != "" {
		return fmt.Sprintf("%s: ended by signal %q: %s", e.Tool, e.Signal, e.Output)
	}
	return fmt.Sprintf("%s: exit code %d: %s", e.Tool, e.ExitCode, e.Output)
}

// exitCode returns a tool's exit code, 0 for no error and -1 for another error.
func exitCode(err error) int {
	var e *ToolError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.ExitCode
	default:
		return -1
	}
}

// program is one run of an external program, without a shell. Its input and output are files in memory and not pipes: a pipe
// ends the program (SIGPIPE) when this process ends before it, and is open as long as any child of the program lives.
type program struct {
	path   string
	args   []string
	input  string
	attr   syscall.SysProcAttr
	cancel func(pid int) error // ends it with its context; default: the process alone is killed
	extra  *os.File            // becomes its descriptor 3

	stdin, stdout, stderr *os.File
}

// open makes the program's files. The caller closes them, also after an error.
func (p *program) open() (err error) {
	if p.stdin, err = scratch("stdin", p.input); err != nil {
		return err
	}
	if p.stdout, err = scratch("stdout", ""); err != nil {
		return err
	}
	p.stderr, err = scratch("stderr", "")
	return err
}

// run starts the opened program and waits until it ends. The program is killed when ctx ends. Its error is a *ToolError where
// the program ran and failed. The output can be read until close.
func (p *program) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.stdin, p.stdout, p.stderr, &p.attr
	if p.extra != nil {
		cmd.ExtraFiles = []*os.File{p.extra}
	}
	if p.cancel != nil {
		cmd.Cancel = func() error { return p.cancel(cmd.Process.Pid) }
	}
	if p.attr.Pdeathsig != 0 { // which the kernel sends when the thread ends that started the program
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	failed := &ToolError{Tool: filepath.Base(p.path), ExitCode: exit.ExitCode()}
	failed.Output = strings.TrimSpace(strings.TrimSpace(firstBytes(p.stdout)) + "\n" + firstBytes(p.stderr)) // e2fsck gives its reason on one, and the end on the other
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		failed.Signal = status.Signal().String()
	}
	return failed
}

// close frees the files.
func (p *program) close() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// execute runs a program and returns its standard output.
func execute(ctx context.Context, input, path string, args []string) (string, error) {
	p := program{path: path, args: args, input: input, attr: syscall.SysProcAttr{Setpgid: true}} // a terminal's Ctrl-C is not for it
	defer p.close()
	if err := p.open(); err != nil {
		return "", err
	}
	if err := p.run(ctx); err != nil {
		return "", err
	}
	return firstBytes(p.stdout), nil
}

// scratch is a file in memory with some content, read from its beginning and written at its end.
func scratch(name, content string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3, which can insist on the flag
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteString(content); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// firstBytes returns what a program has written, at most maxOutput bytes of it.
func firstBytes(f *os.File) string {
	text, _ := io.ReadAll(io.NewSectionReader(f, 0, maxOutput)) // a file in memory cannot fail
	return string(text)
}
