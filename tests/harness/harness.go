package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// limit bounds whatever a test waits for; a healthy machine needs a small part of it.
const limit = time.Minute

// binVariable names a folder with binaries that are already built; `make test` sets it.
const binVariable = "DISKBRIDGE_BIN"

// Main runs the tests of a package that needs the binaries: it builds them first, unless DISKBRIDGE_BIN says
// where they are, and removes what it built. Use it as
//
//	func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
func Main(m *testing.M) int {
	if os.Getenv(binVariable) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "diskbridge-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // best effort: it is a temporary folder
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(binVariable, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes the binaries as `make build` does.
func build(dir string) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", dir+"/", "./cmd/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func findRoot() (string, error) {
	out, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Root is the folder of go.mod.
func Root(tb testing.TB) string {
	tb.Helper()
	root, err := findRoot()
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// Bin is the folder of the binaries.
func Bin(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv(binVariable)
	if dir == "" {
		tb.Fatal("call harness.Main from TestMain")
	}
	return dir
}

// IsRoot reports whether tests may mount.
func IsRoot() bool { return os.Geteuid() == 0 }

// Dir makes a folder with a short path, since a socket's path is at most 107 bytes. When the test ends, and nothing is
// mounted or attached below it, it is removed; otherwise the test fails and the leftovers are taken down.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "db-") //nolint:usetesting // TempDir has the name of the test in it: too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		RequireNoMounts(tb, dir)
		RequireNoLoops(tb, dir)
		for _, undo := range []func(string) error{sandbox.UnmountAll, sandbox.DetachLoops, sandbox.RemoveTree} {
			if err := undo(dir); err != nil {
				tb.Error(err)
			}
		}
	})
	return dir
}

// RequireNoMounts fails the test if something is mounted at or below dir.
func RequireNoMounts(tb testing.TB, dir string) {
	tb.Helper()
	if left, err := sandbox.Mounts(dir); err != nil || len(left) > 0 {
		tb.Errorf("still mounted: %v (%v)", left, err)
	}
}

// RequireNoLoops fails the test if a loop device's file is below dir.
func RequireNoLoops(tb testing.TB, dir string) {
	tb.Helper()
	if left, err := sandbox.Loops(dir); err != nil || len(left) > 0 {
		tb.Errorf("loop devices left: %v (%v)", left, err)
	}
}

// RequireEmpty fails the test if the emulator still holds a volume or a snapshot a little later.
func RequireEmpty(tb testing.TB, e *sandbox.Emulator) {
	tb.Helper()
	Eventually(tb, "the emulator holds nothing", func(ctx context.Context) error {
		state, err := e.State(ctx)
		if left := state.Left(); err == nil && len(left) > 0 {
			return fmt.Errorf("left: %s", strings.Join(left, ", "))
		}
		return err
	})
}

// Eventually waits until check succeeds, and fails the test with its last error if that takes too long.
func Eventually(tb testing.TB, what string, check func(context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("waited in vain until %s: %v", what, err)
		case <-again.C:
		}
	}
}

// baseEnv is what a child sees: tools, and nobody's credentials.
func baseEnv(dir string) []string {
	return []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C"}
}

// Emulator starts an emulator with its state in dir/aws, and stops it when the test ends; it then must stop well.
func Emulator(tb testing.TB, dir string, args ...string) *sandbox.Emulator {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	e, err := sandbox.StartEmulator(ctx, Bin(tb), baseEnv(dir), append([]string{"--state-dir=" + filepath.Join(dir, "aws")}, args...)...)
	if err != nil {
		tb.Fatal(err)
	}
	own(tb, e.Process, e.Stop)
	return e
}

// Controller starts a controller on the emulator's AWS with its sockets in dir/name.
func Controller(tb testing.TB, e *sandbox.Emulator, dir, name string, args ...string) *sandbox.Driver {
	tb.Helper()
	return ControllerOf(tb, sandbox.EBSDriver, e, dir, name, args...)
}

// ControllerOf is Controller for another driver name than EBS's.
func ControllerOf(tb testing.TB, driverName string, e *sandbox.Emulator, dir, name string, args ...string) *sandbox.Driver {
	tb.Helper()
	return driver(tb, driverName, "controller", filepath.Join(dir, name), append(baseEnv(dir), e.CloudEnv()...), args)
}

// Node starts a node on the instance, with the instance's metadata service and its sockets in dir/name. It gets no credentials.
func Node(tb testing.TB, i sandbox.Instance, dir, name string, args ...string) *sandbox.Driver {
	tb.Helper()
	return NodeOf(tb, sandbox.EBSDriver, i, dir, name, args...)
}

// NodeOf is Node for another driver name than EBS's.
func NodeOf(tb testing.TB, driverName string, i sandbox.Instance, dir, name string, args ...string) *sandbox.Driver {
	tb.Helper()
	return driver(tb, driverName, "node", filepath.Join(dir, name), append(baseEnv(dir), i.MetadataEnv()...), append(NodeFlags(i), args...))
}

// All starts controller and node in one process, on the instance, with their socket in dir/name.
func All(tb testing.TB, e *sandbox.Emulator, i sandbox.Instance, dir, name string, args ...string) *sandbox.Driver {
	tb.Helper()
	return AllOf(tb, sandbox.EBSDriver, e, i, dir, name, args...)
}

// AllOf is All for another driver name than EBS's.
func AllOf(tb testing.TB, driverName string, e *sandbox.Emulator, i sandbox.Instance, dir, name string, args ...string) *sandbox.Driver {
	tb.Helper()
	return driver(tb, driverName, "all", filepath.Join(dir, name), append(baseEnv(dir), e.CloudEnv()...), append(NodeFlags(i), args...))
}

// NodeFlags are the flags that place a node on an instance of the emulator.
func NodeFlags(i sandbox.Instance) []string {
	flags := []string{"--node-id=" + i.ID, "--zone=" + i.Zone, "--region=" + sandbox.Region}
	if i.DeviceRoot != "" { // the emulator makes devices
		flags = append(flags, "--device-root="+i.DeviceRoot, "--sysfs-root="+i.SysfsRoot)
	}
	return flags
}

func driver(tb testing.TB, name, mode, sockets string, env, args []string) *sandbox.Driver {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	d, err := sandbox.StartDriver(ctx, Bin(tb), name, mode, sockets, env, args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Conn.Close() }) // nothing is sent any more
	own(tb, d.Process, d.Process.Stop)
	return d
}

// own stops the process when the test ends, unless the test killed it, and shows its log if the test failed.
func own(tb testing.TB, p *sandbox.Process, stop func(context.Context) error) {
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		select {
		case <-p.Done(): // the test ended it
		default:
			if err := stop(ctx); err != nil {
				tb.Error(err)
			}
		}
		if tb.Failed() {
			tb.Logf("the end of the log of %s:\n%s", p.Name, p.Tail(60))
		}
	})
}

// killBelow kills every s3fs whose password file is below dir, which a mounter leaves running.
func killBelow(dir string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is constant
	for _, file := range lines {
		text, _ := os.ReadFile(file) // it may just have ended
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err == nil && strings.Contains(string(text), "\x00passwd_file="+dir+"/") {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// Mounter starts a mounter whose socket, notes and cache are in dir/name, and stops it when the test ends. What it mounted
// stays mounted, as an operator wants it.
func Mounter(tb testing.TB, dir, name string, env []string, args ...string) (p *sandbox.Process, socket string) {
	tb.Helper()
	at := filepath.Join(dir, name)
	if err := os.MkdirAll(at, 0o700); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	p, socket, err := sandbox.StartMounter(ctx, Bin(tb), at, append(baseEnv(dir), env...), args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		killBelow(dir) // what a test that failed left mounted
		// Its notes are on a tmpfs that waits for the next mounter.
		if err := unix.Unmount(filepath.Join(at, "objects"), 0); err != nil && !errors.Is(err, unix.EINVAL) {
			tb.Error(err)
		}
	})
	own(tb, p, p.Stop)
	return p, socket
}
