package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

const (
	// writerLimit is how long a tool that writes to a disk may take. It does not end with its caller's deadline: a
	// half-written file system is worse than a late one.
	writerLimit = 15 * time.Minute
	// maxOutput is how much of a tool's output is kept, in bytes.
	maxOutput = 64 << 10
)

// ToolError is an external tool that ran and failed.
type ToolError struct {
	Tool     string
	ExitCode int // -1 if a signal ended it
	Output   string
}

// Error names the tool, its exit code and what it said.
func (e *ToolError) Error() string {
	return fmt.Sprintf("%s: exit code %d: %s", e.Tool, e.ExitCode, e.Output)
}

// toolbox runs external tools from fixed folders, without a shell.
type toolbox struct {
	dirs     []string
	packages string // that have the tools, for the error where one is missing
}

func standardTools(packages string) toolbox {
	return toolbox{dirs: []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}, packages: packages}
}

// read runs a tool that only reads and is killed when ctx ends; it returns its standard output.
func (b toolbox) read(ctx context.Context, t *task, name string, args ...string) (string, error) {
	return b.run(ctx, ctx, t, "", name, args)
}

// write runs a tool that writes to a disk. When ctx ends the caller gets an error, but the tool goes on and keeps the volume.
func (b toolbox) write(ctx context.Context, t *task, name string, args ...string) error {
	return b.feed(ctx, t, "", name, args...)
}

// feed is write with a standard input.
func (b toolbox) feed(ctx context.Context, t *task, input, name string, args ...string) error {
	_, err := b.run(ctx, context.WithoutCancel(ctx), t, input, name, args)
	return err
}

func (b toolbox) run(ctx, life context.Context, t *task, input, name string, args []string) (string, error) {
	path, err := b.find(name)
	if err != nil {
		return "", err
	}
	var out string
	err = t.run(ctx, "run", name, func() error {
		life, cancel := context.WithTimeout(life, writerLimit)
		defer cancel()
		var runErr error
		out, runErr = execute(life, input, path, args)
		return runErr
	})
	if err != nil {
		return "", err
	}
	return out, nil
}

func execute(ctx context.Context, input, path string, args []string) (string, error) {
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is not for it
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			text = strings.TrimSpace(stdout.String())
		}
		return "", &ToolError{Tool: filepath.Base(path), ExitCode: exit.ExitCode(), Output: text}
	}
	return stdout.String(), err
}

func (b toolbox) find(name string) (string, error) {
	for _, dir := range b.dirs {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fault.New(fault.Unsupported, "run", name, "the tool is not installed on this node; install %s", b.packages)
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

// bounded keeps the first maxOutput bytes.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer and never fails.
func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxOutput-b.Len())])
	return len(p), nil
}
