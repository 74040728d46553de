package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

const (
	// limit bounds everything in here; the machine outside waits longer.
	limit = 170 * time.Second
	// reportDevice takes the report; the console takes logs.
	reportDevice = "/dev/ttyS1"
	socketDir    = "/run/csi"
	plugins      = "/var/lib/kubelet"
)

// main is process 1: whatever happens, it ends by turning the machine off.
func main() {
	if err := boot(); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	} else if err := lane.Report(reportDevice, limit, scenarios); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
	fmt.Fprintf(os.Stderr, "guest: power off: %v\n", inside.PowerOff())
}

// scenarios runs all of them on one plugin, which must stop well in the end.
func scenarios(ctx context.Context, out io.Writer) (err error) {
	w := &world{}
	if w.plugin, err = startNode(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { err = errors.Join(err, w.plugin.Process.Signal(unix.SIGTERM), w.plugin.Wait()) }()
	conn, err := grpc.NewClient("unix://"+socketDir+"/ebs.csi.diskbridge.io/csi.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing is sent any more
	w.identity, w.node = csi.NewIdentityClient(conn), csi.NewNodeClient(conn)
	if err := w.ready(ctx); err != nil {
		return err
	}
	for _, s := range all() {
		lane.Score(out, s.name, func() error { return s.run(ctx, w) }, func() error { return w.cleanUp(ctx) })
	}
	return nil
}

// startNode starts the real node plugin on the real /dev and /sys. Its log goes to the console.
func startNode() (*exec.Cmd, error) {
	for _, dir := range []string{socketDir, plugins} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("/bin/diskbridge-csi", "node", "--socket-dir="+socketDir, "--path-root="+plugins, //nolint:noctx // scenarios ends it
		"--node-id=i-0123456789abcdef0", "--zone=us-east-1a", "--region=us-east-1", "--v=5")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd, cmd.Start()
}

// world is what scenarios act on: disks that are attached, and the kubelet's paths.
type world struct {
	plugin   *exec.Cmd
	identity csi.IdentityClient
	node     csi.NodeClient
	disks    []*disk
}

// ready waits until the plugin serves. A call may still meet the connection to a plugin
// that was killed, and then says Unavailable.
func (w *world) ready(ctx context.Context) error {
	for {
		_, err := w.identity.Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return lane.Named("wait until it is ready", err)
		}
	}
}

// restart kills the plugin, with no time to say goodbye, and starts another.
func (w *world) restart(ctx context.Context) error {
	if err := w.plugin.Process.Kill(); err != nil {
		return err
	}
	_ = w.plugin.Wait() // killed: that is its answer
	next, err := startNode()
	if err != nil {
		return err
	}
	w.plugin = next
	return w.ready(ctx)
}

// cleanUp detaches what a scenario left. It is an error if anything is still mounted then.
func (w *world) cleanUp(ctx context.Context) error {
	var errs []error
	if left, err := inside.MountedBelow(plugins); err != nil || len(left) > 0 {
		errs = append(errs, err, fmt.Errorf("still mounted: %v", left))
		for i := len(left) - 1; i >= 0; i-- {
			errs = append(errs, unix.Unmount(left[i], unix.MNT_DETACH))
		}
	}
	for _, d := range w.disks {
		errs = append(errs, d.detach(ctx), d.delete())
	}
	w.disks = nil
	for _, dir := range []string{"staging", "pods"} {
		errs = append(errs, os.RemoveAll(filepath.Join(plugins, dir)))
	}
	entries, err := filepath.Glob("/dev/nvme*n*")
	if len(entries) > 0 {
		errs = append(errs, fmt.Errorf("disks are left: %v", entries))
	}
	return errors.Join(append(errs, err)...)
}
