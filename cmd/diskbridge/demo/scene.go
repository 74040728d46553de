package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// scene is what the story plays on: the emulator, one controller, and one node
// per instance; and the disks that exist at the moment.
type scene struct {
	narrator
	options Options
	dir     string

	driver     string                   // its name
	s3Server   string                   // the program behind the emulator's S3; "" for no S3
	second     func(func() error) error // starts what runs on the second node's computer; nil: on this one
	emulator   *sandbox.Emulator
	controller csi.ControllerClient
	nodes      []*node
	children   []child // in the order of their start
	disks      []*disk // in the order of their creation
}

// node is an instance with its driver process.
type node struct {
	id       string
	topology *csi.Topology
	csi      csi.NodeClient // nil in the controller half
	driver   *sandbox.Driver
	start    func(context.Context) (*sandbox.Driver, error) // another driver process, where the last one was
}

// child is a process to stop at the end.
type child interface {
	process() *sandbox.Process
	stop(ctx context.Context) error
}

type emulatorChild struct{ *sandbox.Emulator }

func (c emulatorChild) process() *sandbox.Process      { return c.Process }
func (c emulatorChild) stop(ctx context.Context) error { return c.Stop(ctx) }

type driverChild struct{ *sandbox.Driver }

func (c driverChild) process() *sandbox.Process      { return c.Process }
func (c driverChild) stop(ctx context.Context) error { return c.Stop(ctx) }

// baseEnv is all that a child sees of this process's environment: no credentials of anybody.
func (s *scene) baseEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + s.dir, "TMPDIR=" + s.dir, "LC_ALL=C"}
}

// setUp starts the processes.
func (s *scene) setUp(ctx context.Context) error {
	s.section("The stage")
	if err := s.step(ctx, "start the AWS emulator", s.startEmulator); err != nil {
		return err
	}
	if err := s.step(ctx, "start the driver's controller", s.startController); err != nil {
		return err
	}
	for i := range s.emulator.Instances {
		if !s.options.Root {
			s.nodes = append(s.nodes, &node{id: s.emulator.Instances[i].ID})
			continue
		}
		err := s.step(ctx, fmt.Sprintf("start the driver on node %d", i+1), func(ctx context.Context) (string, error) {
			return s.startNode(ctx, s.emulator.Instances[i])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) startEmulator(ctx context.Context) (string, error) {
	devices := "none"
	if s.options.Root {
		devices = "loop"
	}
	// Both instances in one zone: an EBS volume can move between them. EFS reaches all zones.
	with := []string{"--devices=" + devices, "--zones=" + sandbox.Region + "a"}
	if s.driver == sandbox.EFSDriver {
		with = []string{"--files=nfs"}
	}
	if s.s3Server != "" {
		with = []string{"--devices=none", "--s3-server=" + s.s3Server}
	}
	e, err := sandbox.StartEmulator(ctx, s.options.Bin, s.baseEnv(), append(with, "--state-dir="+filepath.Join(s.dir, "aws"),
		"--profile="+s.options.Profile, "--instances=2")...)
	if err != nil {
		return "", err
	}
	s.emulator = e
	s.children = append(s.children, emulatorChild{e})
	if len(e.Instances) != 2 {
		return "", fmt.Errorf("asked for 2 instances, got %d", len(e.Instances))
	}
	return fmt.Sprintf("%s, profile %s", e.Endpoint, s.options.Profile), nil
}

func (s *scene) startController(ctx context.Context) (string, error) {
	d, err := sandbox.StartDriver(ctx, s.options.Bin, s.driver, "controller", filepath.Join(s.dir, "c"),
		append(s.baseEnv(), s.emulator.CloudEnv()...), "--cluster-id=demo")
	if err != nil {
		return "", err
	}
	s.children = append(s.children, driverChild{d})
	s.controller = csi.NewControllerClient(patient{d.Conn})
	info, err := csi.NewIdentityClient(d.Conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s", info.GetName(), info.GetVendorVersion()), nil
}

// startNode starts a node that has no AWS credentials and sees only its instance's devices.
func (s *scene) startNode(ctx context.Context, i sandbox.Instance) (string, error) {
	flags := []string{"--node-id=" + i.ID, "--zone=" + i.Zone, "--region=" + sandbox.Region}
	if i.DeviceRoot != "" {
		flags = append(flags, "--device-root="+i.DeviceRoot, "--sysfs-root="+i.SysfsRoot)
	}
	if s.s3Server != "" {
		socket, err := s.startMounter(ctx)
		if err != nil {
			return "", err
		}
		flags = append(flags, socket)
	}
	sockets := filepath.Join(s.dir, fmt.Sprintf("n%d", len(s.nodes)+1))
	again := func(ctx context.Context) (*sandbox.Driver, error) {
		return sandbox.StartDriver(ctx, s.options.Bin, s.driver, "node", sockets, append(s.baseEnv(), i.MetadataEnv()...), flags...)
	}
	var d *sandbox.Driver
	start := func() (err error) {
		d, err = again(ctx)
		return err
	}
	on := func(start func() error) error { return start() }
	if s.second != nil && len(s.nodes) == 1 {
		on = s.second
	}
	if err := on(start); err != nil {
		return "", err
	}
	s.children = append(s.children, driverChild{d})
	n := &node{id: i.ID, csi: csi.NewNodeClient(patient{d.Conn}), driver: d, start: again}
	s.nodes = append(s.nodes, n)
	info, err := n.csi.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err != nil {
		return "", err
	}
	n.topology = info.GetAccessibleTopology()
	return fmt.Sprintf("%s in %s, no AWS credentials", info.GetNodeId(), i.Zone), nil
}

// nothingLeft looks at all places where a volume could have left something.
func (s *scene) nothingLeft(ctx context.Context) error {
	s.section("Nothing is left")
	err := s.step(ctx, "in the emulator", func(ctx context.Context) (string, error) { return s.emulatorEmpty(ctx) })
	if err != nil || !s.options.Root {
		return err
	}
	err = s.step(ctx, "in the mount table", func(context.Context) (string, error) {
		return none("mount", sandbox.Mounts, s.dir)
	})
	if err != nil {
		return err
	}
	return s.step(ctx, "among the loop devices", func(context.Context) (string, error) {
		return none("loop device", sandbox.Loops, s.dir)
	})
}

// emulatorEmpty waits until the emulator holds no volume and no snapshot: AWS deletes them in its own time.
func (s *scene) emulatorEmpty(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var left []string
	err := poll(ctx, func() (bool, error) {
		state, err := s.emulator.State(ctx)
		if err != nil {
			return false, err
		}
		left = state.Left()
		return len(left) == 0, nil
	})
	if len(left) > 0 {
		return "", fmt.Errorf("still there: %s", strings.Join(left, ", "))
	}
	if err != nil {
		return "", err
	}
	calls, err := s.emulator.Calls(ctx)
	total := 0
	for _, c := range calls {
		total += c.OK + c.Throttled + c.Error
	}
	return fmt.Sprintf("nothing; %d AWS calls were made", total), err
}

// none fails if list finds anything; what names one of them.
func none[T any](what string, list func(dir string) ([]T, error), dir string) (string, error) {
	left, err := list(dir)
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", fmt.Errorf("%d %s left: %v", len(left), what, left)
	}
	return "no " + what, nil
}

// poll asks done until it says yes or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
}

// patient repeats a call that ended in Aborted ("in progress, ask again") as Kubernetes' sidecars do.
type patient struct{ grpc.ClientConnInterface }

// Invoke implements grpc.ClientConnInterface.
func (p patient) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		last = p.ClientConnInterface.Invoke(ctx, method, in, out, opts...)
		return status.Code(last) != codes.Aborted, nil
	})
	if last != nil {
		return last
	}
	return err
}

// strike takes everything down: after a failure first the disks, the newest
// first, as an operator would; then the processes; then what is still mounted;
// and last the folder. It reports what it could not take down.
func (s *scene) strike(ctx context.Context, failed bool) error {
	var errs []error
	if failed {
		for len(s.disks) > 0 {
			errs = append(errs, s.retire(ctx, s.disks[len(s.disks)-1]))
		}
		errs = append(errs, sandbox.UnmountAll(s.dir))
	}
	for i := len(s.children) - 1; i >= 0; i-- {
		stopping, cancel := context.WithTimeout(ctx, 10*time.Second)
		errs = append(errs, s.children[i].stop(stopping))
		cancel()
	}
	if failed { // an emulator that was killed could not take its devices down
		errs = append(errs, sandbox.DetachLoops(s.dir))
	}
	_, err := none("loop device", sandbox.Loops, s.dir)
	if errs = append(errs, err); err == nil {
		errs = append(errs, sandbox.RemoveTree(s.dir))
	}
	return errors.Join(errs...)
}
