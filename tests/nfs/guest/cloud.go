package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// cloud is an emulated AWS, whose mount targets lead to servers of this kernel, with the driver's controller and one node.
type cloud struct {
	dir        string
	emulator   *sandbox.Emulator
	driver     *sandbox.Driver // of the controller
	controller csi.ControllerClient
	plugin     *sandbox.Driver
	node       *node
}

func startCloud(ctx context.Context) (c *cloud, err error) {
	c = &cloud{}
	if c.dir, err = os.MkdirTemp("", "aws-"); err != nil {
		return nil, err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "TMPDIR=/tmp"}
	if c.emulator, err = sandbox.StartEmulator(ctx, "/bin", env, "--files=nfs", "--instances=1", "--state-dir="+c.dir+"/aws"); err != nil {
		return nil, err
	}
	here := c.emulator.Instances[0]
	if c.driver, err = sandbox.StartDriver(ctx, "/bin", driver, "controller", c.dir+"/c", append(env, c.emulator.CloudEnv()...), "--cluster-id=guest"); err != nil {
		return nil, errors.Join(err, c.stop(ctx))
	}
	if c.plugin, err = sandbox.StartDriver(ctx, "/bin", driver, "node", c.dir+"/n", env,
		"--node-id="+here.ID, "--zone="+here.Zone, "--region="+sandbox.Region); err != nil {
		return nil, errors.Join(err, c.stop(ctx))
	}
	c.controller, c.node = csi.NewControllerClient(c.driver.Conn), &node{name: "cloud", csi: csi.NewNodeClient(c.plugin.Conn)}
	return c, nil
}

// stop ends what was started; each must end well.
func (c *cloud) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var errs []error
	for _, d := range []*sandbox.Driver{c.plugin, c.driver} {
		if d != nil {
			errs = append(errs, d.Stop(ctx))
		}
	}
	return errors.Join(append(errs, c.emulator.Stop(ctx), os.RemoveAll(c.dir))...)
}

// create makes a volume and lets the node reach it.
func (c *cloud) create(ctx context.Context, name string, parameters map[string]string) (claim, error) {
	use := claim{node: c.node, pod: name}
	made, err := c.controller.CreateVolume(ctx, &csi.CreateVolumeRequest{Name: name, Parameters: parameters, VolumeCapabilities: []*csi.VolumeCapability{use.capability()}})
	if err != nil {
		return use, err
	}
	use.handle, use.context = made.GetVolume().GetVolumeId(), made.GetVolume().GetVolumeContext()
	published, err := c.controller.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: use.handle, NodeId: c.emulator.Instances[0].ID, VolumeCapability: use.capability(), VolumeContext: use.context,
	})
	use.address = published.GetPublishContext()["diskbridge.io/mount-target-ip"]
	return use, err
}

func (c *cloud) delete(ctx context.Context, use claim) error {
	_, err := c.controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: use.handle})
	return lane.Named("delete", err)
}

// janitor works one round.
func (c *cloud) janitor(ctx context.Context, args ...string) error {
	return c.janitorTo(ctx, nil, args...)
}

// janitorTo is janitor with its log in a file, if one is given.
func (c *cloud) janitorTo(ctx context.Context, log *os.File, args ...string) error {
	p := program(append([]string{"diskbridge-csi", "janitor", "--once", "--cluster-id=guest", "--node-id=" + c.emulator.Instances[0].ID,
		"--region=" + sandbox.Region, "--mount-point=" + c.dir + "/janitor", "--absence-interval=50ms"}, args...)...)
	p.Env = append(p.Env, c.emulator.CloudEnv()...)
	if log != nil {
		p.Stderr = log
	}
	if err := p.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Process.Kill() })
	defer stop()
	return lane.Named("janitor", p.Wait())
}

// killedJanitor is killed in the middle of its round, or a little after it.
func (c *cloud) killedJanitor(ctx context.Context, after time.Duration) {
	short, cancel := context.WithTimeout(ctx, after)
	defer cancel()
	_ = c.janitor(short) // however far it came
}

// janitorRemoves proves that a deleted volume's directory goes, or is renamed, and nothing else.
func janitorRemoves(ctx context.Context, _ *world) (err error) {
	c, err := startCloud(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop(context.WithoutCancel(ctx))) }()
	root, err := c.create(ctx, "root", nil)
	if err != nil {
		return err
	}
	if err := root.mount(ctx); err != nil {
		return err
	}
	for _, fate := range []string{"delete", "archive", "retain"} {
		use, err := c.create(ctx, fate, map[string]string{"provisioningMode": "directory", "fileSystemId": root.handle, "onDelete": fate})
		if err != nil {
			return err
		}
		if err := use.mount(ctx); err != nil {
			return err
		}
		for i := range 20 {
			err = errors.Join(err, use.save(fmt.Sprint(i), fate))
		}
		if err := errors.Join(err, use.unmount(ctx), c.delete(ctx, use)); err != nil {
			return err
		}
	}
	// Another cluster's janitor has nothing to do here; and nothing happens before ours comes.
	if err := errors.Join(c.janitor(ctx, "--cluster-id=other"), root.holds("delete/7", "delete"), root.holds("archive/7", "archive")); err != nil {
		return err
	}
	for _, after := range []time.Duration{200 * time.Millisecond, 600 * time.Millisecond} {
		c.killedJanitor(ctx, after)
	}
	err = errors.Join(c.janitor(ctx), gone(root.file("delete")), gone(root.file("archive")), root.holds("archived-archive/7", "archive"), root.holds("retain/7", "retain"))
	markers, readErr := os.ReadDir(root.file(".diskbridge"))
	if readErr != nil || len(markers) != 1 {
		err = errors.Join(err, fmt.Errorf("%d markers are left (%w), want the retained directory's", len(markers), readErr))
	}
	return errors.Join(err, c.janitor(ctx), root.unmount(ctx), c.delete(ctx, root))
}
