package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// idleAfter is how long after it is ready, and before its first call, a driver counts as idle.
const idleAfter = 5 * time.Second

// target is a driver to measure and the AWS behind it.
type target struct {
	conn  *grpc.ClientConn
	pid   int // 0: its memory is not known
	aws   *awsSide
	floor *awsSide // where the floor is measured: an AWS of its own, with the same lots, if possible
	stop  func() error
}

// open starts our driver, or connects to another one that runs. The caller stops it.
func open(ctx context.Context, set settings, seed int) (*target, error) {
	if set.endpoint != "" {
		conn, err := sandbox.Dial(strings.TrimPrefix(strings.TrimPrefix(set.endpoint, "unix:"), "//"))
		if err != nil {
			return nil, err
		}
		side := newAWSSide(strings.TrimSuffix(set.emulator, "/"))
		return &target{conn: conn, pid: set.pid, aws: side, floor: side, stop: conn.Close}, nil
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	t := &target{stop: func() error { return os.RemoveAll(dir) }}
	if err := t.start(ctx, set, dir, seed); err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

// owns makes stop end a process too, before what was started earlier.
func (t *target) owns(stop func(context.Context) error) {
	earlier := t.stop
	t.stop = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(stop(ctx), earlier())
	}
}

// start starts two emulators that draw the same lots, for the floor and for the driver, and the driver.
func (t *target) start(ctx context.Context, set settings, dir string, seed int) error {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	for i, side := range []**awsSide{&t.aws, &t.floor} {
		if set.throttled && i == 1 {
			break // no floor: AWS's rate is it
		}
		state := filepath.Join(dir, "aws"+strconv.Itoa(i))
		if err := os.Mkdir(state, 0o700); err != nil {
			return err
		}
		e, err := sandbox.StartEmulator(ctx, set.bin, env, "--state-dir="+state, "--profile="+set.setting(),
			"--zones="+sandbox.Region+"a", "--seed="+strconv.Itoa(seed), "--v=0")
		if err != nil {
			return err
		}
		t.owns(e.Stop) //nolint:contextcheck // what is started is stopped also when the context has ended
		*side = newAWSSide(e.Endpoint)
	}
	env = append(env, (&sandbox.Emulator{Endpoint: t.aws.control.Endpoint}).CloudEnv()...)
	d, err := sandbox.StartDriver(ctx, set.bin, sandbox.EBSDriver, "controller", filepath.Join(dir, "csi"), env)
	if err != nil {
		return err
	}
	t.owns(d.Stop) //nolint:contextcheck // as above
	t.conn, t.pid = d.Conn, d.PID()
	return nil
}

// name is what the driver calls itself.
func (t *target) name(ctx context.Context) (string, error) {
	info, err := csi.NewIdentityClient(t.conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return "", fmt.Errorf("ask the driver who it is: %w", err)
	}
	return strings.TrimSpace(info.GetName() + " " + info.GetVendorVersion()), nil
}

// memory reads a line of /proc/PID/status, in MiB: VmRSS is what it uses now, VmHWM the most that it ever used.
// https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
func (t *target) memory(line string) (float64, error) {
	if t.pid == 0 {
		return 0, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no %s", t.pid, line)
}
