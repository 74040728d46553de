// Package s3test finds the S3 server that tests put behind the emulator. It knows where it is built, not what it does.
package s3test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// variable names the program where it is already built; `make test` sets it.
const variable = "DISKBRIDGE_VERSITYGW"

// Program is the path of versitygw. It is built from the tools module, once, where nobody did.
func Program(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	path, err := program(tb.Context())
	if err != nil {
		tb.Fatalf("versitygw: %v", err)
	}
	return path
}

func program(ctx context.Context) (string, error) {
	root, err := output(ctx, "", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", err
	}
	tools := filepath.Join(root, "tools")
	version, err := output(ctx, tools, "list", "-m", "-f", "{{.Version}}", "github.com/versity/versitygw")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "tools")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs are for everybody
		return "", err
	}
	// Tests of several packages run side by side; one builds, the others wait for it.
	lock, err := os.Create(filepath.Join(dir, "versitygw.lock"))
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }() // nothing was written to it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "versitygw-"+version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	_, err = output(ctx, tools, "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/versity/versitygw/cmd/versitygw")
	return path, err
}

func output(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
