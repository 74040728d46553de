package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Process is a child process and what it wrote. It ends at the latest when the
// process that started it does.
type Process struct {
	Name string

	cmd  *exec.Cmd
	out  Output // stdout
	log  Output // stderr
	done chan struct{}
	err  error // of Wait; read it only after done
}

// Start runs the program at path with exactly the environment env. The caller
// must end it with [Process.Stop] or [Process.Kill].
func Start(name, path string, args, env []string) (*Process, error) {
	p := &Process{Name: name, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...) //nolint:noctx // its life is Stop's and Kill's, not that of the call that starts it
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	// Its own group, so that Ctrl-C reaches it through us and in our order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return nil, fmt.Errorf("%s is missing: `make build` puts it into bin/", filepath.Base(path))
		}
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the process to end (SIGTERM) and waits for it; when ctx ends first,
// it is killed. The error says that it did not end well. A process that ended
// before is judged the same way.
func (p *Process) Stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an ended process needs none
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s did not stop when asked and was killed", p.Name)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return fmt.Errorf("%s ended with %s", p.Name, exit.ProcessState)
	}
	return p.err
}

// Kill ends the process at once (SIGKILL) and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an ended process needs none
	<-p.done
}

// Tail returns the last lines that the process wrote to stderr.
func (p *Process) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(p.log.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Log returns all that the process wrote to stderr; of a very long log, the end.
func (p *Process) Log() string { return p.log.String() }

// watch returns a context that also ends when the process does. The caller must call cancel.
func (p *Process) watch(ctx context.Context) (watched context.Context, cancel func()) {
	watched, end := context.WithCancelCause(ctx)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-p.done:
			end(fmt.Errorf("%s ended: %s", p.Name, p.Tail(3)))
		case <-stop:
			end(nil)
		}
	}()
	return watched, func() { close(stop); <-stopped }
}

// maxOutput bounds what is kept of one stream, in bytes.
const maxOutput = 4 << 20

// Output keeps the end of a stream and wakes whoever waits for its first line.
type Output struct {
	mu    sync.Mutex
	text  []byte
	first chan struct{}
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if extra := len(o.text) - maxOutput; extra > 0 {
		o.text = append([]byte(nil), o.text[extra:]...)
	}
	if o.first != nil && strings.Contains(string(o.text), "\n") {
		close(o.first)
		o.first = nil
	}
	return len(b), nil
}

// String returns what was written; of very much, the end.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// firstLine waits for the first line.
func (o *Output) firstLine(ctx context.Context) (string, error) {
	o.mu.Lock()
	wake := make(chan struct{})
	if strings.Contains(string(o.text), "\n") {
		close(wake)
	} else {
		o.first = wake
	}
	o.mu.Unlock()
	select {
	case <-wake:
		line, _, _ := strings.Cut(o.String(), "\n")
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
