package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// daemon starts a program that goes on until the namespaces end, with its output in RUN/logs/NAME.log.
func (p Paths) daemon(ctx context.Context, name, program string, args ...string) (*exec.Cmd, error) {
	if err := os.MkdirAll(p.run("logs"), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.run("logs", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	cmd.Env = p.environment()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return cmd, nil
}

// environment lets programs find each other: containerd its shim, and all of them Debian's tools.
func (p Paths) environment() []string {
	env := []string{"PATH=" + p.Kube + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + p.Run}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PATH=") && !strings.HasPrefix(kv, "HOME=") && !strings.HasPrefix(kv, stageVariable) {
			env = append(env, kv)
		}
	}
	return env
}

// command runs a program to its end; the error has what it wrote.
func (p Paths) command(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = p.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// tool is a program of the project's tools.
func (p Paths) tool(name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(p.Bin, "tools", name+"-*"))
	if err != nil || len(found) == 0 {
		return "", errors.Join(err, fmt.Errorf("no bin/tools/%s-*: make e2e builds it", name))
	}
	return found[len(found)-1], nil
}

// lines runs one program once for each line of arguments, in order.
func (p Paths) lines(ctx context.Context, program, lines string) error {
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		if err := p.command(ctx, program, strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// Until asks until there is no error or ctx ends; then it returns the last error.
func Until(ctx context.Context, what string, ask func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
