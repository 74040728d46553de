package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

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
	driver  = "efs.csi.diskbridge.io"
	kubelet = "/var/lib/kubelet"
	mounter = "/run/mounter.sock"

	// Two file systems, each with a mount target that speaks NFS and one that speaks TLS.
	fsA, plainA, secretA = "fs-0a000000000000001", "10.1.0.5", "10.1.0.6"
	fsB, plainB, secretB = "fs-0b000000000000002", "10.2.0.5", "10.2.0.6"
	// nobody is an address of a host that serves nothing.
	nobody = "10.3.0.5"
)

// world is two EFS file systems and two nodes. The first node is this computer, the second another one, since one
// kernel's NFS client is one client in each network namespace.
type world struct {
	a, b      *inside.Server
	empty     *inside.Host
	second    *inside.Host
	one, two  *node
	mounter   *exec.Cmd
	authority authority
	terminals []*terminal
}

// newWorld makes what a part needs: nothing of all this where the file systems are the emulator's.
func newWorld(ctx context.Context, part string) (w *world, err error) {
	w = &world{}
	if err := inside.Network(); err != nil {
		return nil, err
	}
	// The nodes need names of their own: a server takes clients with one name for one client.
	if err := unix.Sethostname([]byte("node-one")); err != nil {
		return nil, err
	}
	if part == "aws" {
		return w, nil
	}
	for _, make := range []func() error{
		func() (err error) { w.a, err = inside.StartServer(ctx, fsA, "", plainA); return err },
		func() (err error) { w.b, err = inside.StartServer(ctx, fsB, "", plainB); return err },
		func() (err error) { w.empty, err = inside.StartHost(ctx, "empty", nobody); return err },
		func() (err error) { w.second, err = inside.StartHost(ctx, "node-two", "10.255.0.2"); return err },
		func() error { return w.openTerminals(ctx) },
		w.startMounter,
		func() (err error) { w.one, err = startNode(ctx, "one", nil); return err },
		func() (err error) { w.two, err = startNode(ctx, "two", w.second); return err },
	} {
		if err := make(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) close() error {
	if w.one == nil {
		return nil
	}
	errs := []error{w.one.stop(), w.two.stop(), end(w.mounter)}
	for _, t := range w.terminals {
		errs = append(errs, t.close())
	}
	return errors.Join(append(errs, w.second.Close(), w.empty.Close(), w.a.Close(), w.b.Close())...)
}

// cleanUp is an error if a scenario left something mounted, and takes it away.
func (w *world) cleanUp() error {
	left, err := inside.MountedBelow(kubelet)
	for i := len(left) - 1; i >= 0; i-- {
		err = errors.Join(err, fmt.Errorf("still mounted: %s", left[i]), unix.Unmount(left[i], unix.MNT_DETACH))
	}
	if w.one == nil {
		return err
	}
	for _, root := range []string{w.a.Root(), w.b.Root()} {
		err = errors.Join(err, wipe(root))
	}
	return err
}

// wipe makes a file system as EFS makes it.
func wipe(root string) error {
	entries, err := os.ReadDir(root)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(root, e.Name())))
	}
	return errors.Join(err, os.Chown(root, 0, 0), os.Chmod(root, 0o755))
}

// startMounter starts the process that keeps tunnels.
func (w *world) startMounter() error {
	w.mounter = program("diskbridge-csi", "mounter", "--socket="+mounter, "--state-dir=/run/tunnels", "--tunnel-ca-file="+w.authority.file, "--v=5")
	return w.mounter.Start()
}

// program is one that logs to the console.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // the world ends it
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// end asks a process to end, and waits for it.
func end(cmd *exec.Cmd) error { return errors.Join(cmd.Process.Signal(unix.SIGTERM), cmd.Wait()) }

// kill ends a process with no time to say goodbye.
func kill(cmd *exec.Cmd) error {
	err := cmd.Process.Kill()
	_ = cmd.Wait() // killed: that is its answer
	return err
}

// node is a computer with the real node plugin.
type node struct {
	name   string
	host   *inside.Host // nil: this computer
	plugin *exec.Cmd
	conn   *grpc.ClientConn
	csi    csi.NodeClient
}

func startNode(ctx context.Context, name string, host *inside.Host) (*node, error) {
	n := &node{name: name, host: host}
	if err := n.start(); err != nil {
		return nil, fmt.Errorf("start the plugin: %w", err)
	}
	var err error
	if n.conn, err = grpc.NewClient("unix://"+n.dir()+"/"+driver+"/csi.sock", grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, err
	}
	n.csi = csi.NewNodeClient(n.conn)
	return n, n.ready(ctx)
}

func (n *node) dir() string { return "/run/csi-" + n.name }

func (n *node) start() error {
	if err := os.MkdirAll(kubelet, 0o755); err != nil {
		return err
	}
	args := []string{"diskbridge-csi", "node", "--backends=efs", "--socket-dir=" + n.dir(), "--path-root=" + kubelet, "--mounter-socket=" + mounter,
		"--node-id=i-0123456789abcdef0", "--zone=us-east-1a", "--region=us-east-1", "--v=5"}
	if n.host != nil {
		args = n.host.Command(args...)
	}
	n.plugin = program(args...)
	return n.plugin.Start()
}

// ready waits until the plugin serves. A call may still meet the connection to a plugin
// that was killed, and then says Unavailable.
func (n *node) ready(ctx context.Context) error {
	for {
		_, err := csi.NewIdentityClient(n.conn).Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return lane.Named("wait until the plugin is ready", err)
		}
	}
}

// restart kills the plugin and starts another.
func (n *node) restart(ctx context.Context) error {
	return lane.InOrder(ctx, func(context.Context) error { return kill(n.plugin) }, func(context.Context) error { return n.start() }, n.ready)
}

func (n *node) stop() error { return errors.Join(end(n.plugin), n.conn.Close()) }

// path is where this process sees a path of the node.
func (n *node) path(path string) string {
	if n.host == nil {
		return path
	}
	return n.host.Path(path)
}

// gone proves that nothing is at a path.
func gone(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s is still there", path))
	}
	return nil
}
