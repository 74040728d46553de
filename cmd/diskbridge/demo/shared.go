package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// What a process that plays EFS's part finds in its environment: where it is, and what it is told.
const (
	placeVariable   = "DISKBRIDGE_DEMO"
	folderVariable  = "DISKBRIDGE_DEMO_DIR"
	profileVariable = "DISKBRIDGE_DEMO_PROFILE"
	colorVariable   = "DISKBRIDGE_DEMO_COLOR"

	inMachine    = "machine"    // the first process of a User Mode Linux
	inNamespaces = "namespaces" // of the host
)

// allWell ends what such a process tells if nothing failed: ASCII's ACK.
const allWell = '\x06'

const (
	fromOne = "written by node 1\n"
	fromTwo = "written by node 2\n"
)

// Inside plays EFS's part if this process was started for it, as process 1 of a machine or in namespaces of its own.
func Inside(ctx context.Context) (done bool, err error) {
	if done, err := inside.Main(ctx, os.Args); done || err != nil { // a computer beside it
		return true, err
	}
	switch place := os.Getenv(placeVariable); {
	case place == inNamespaces:
		dir := os.Getenv(folderVariable)
		if err := errors.Join(inside.Enter(), inside.Mount("tmpfs", dir)); err != nil { // which a server can export
			return true, err
		}
		self, err := os.Executable()
		if err != nil {
			return true, err
		}
		return true, tellShared(ctx, os.Stdout, filepath.Dir(self), dir+"/run")
	case place == inMachine && os.Getpid() == 1: // whatever happens, it ends by turning the machine off
		err := errors.Join(os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), inside.Boot())
		if err == nil {
			var out *os.File
			if out, err = os.OpenFile(inside.Report, os.O_WRONLY, 0); err == nil {
				err = errors.Join(tellShared(ctx, out, "/bin", "/tmp/demo"), out.Close())
			}
		}
		fmt.Fprintf(os.Stderr, "%v; power off: %v\n", err, inside.PowerOff())
		return true, err
	}
	return false, nil
}

// tellShared tells the story of a file system that two nodes share, where the kernel has all it takes.
func tellShared(ctx context.Context, out io.Writer, bin, dir string) (err error) {
	o := Options{Bin: bin, Profile: os.Getenv(profileVariable), Root: true, Out: out, Color: os.Getenv(colorVariable) != ""}
	s := &scene{narrator: narrator{w: out, color: o.Color}, options: o, dir: dir, driver: sandbox.EFSDriver}
	if err := errors.Join(os.MkdirAll(dir, 0o700), inside.Network()); err != nil {
		return err
	}
	// A kernel is one NFS client in each network, under its name.
	other, err := inside.StartHost(ctx, "node-2", "10.255.0.2")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	s.second = other.Do
	err = s.share(ctx)
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	if err != nil {
		s.failed(ctx, err, s.children)
	}
	err = errors.Join(err, s.strike(cleanup, err != nil))
	if err == nil {
		_, err = out.Write([]byte{allWell})
	}
	return err
}

func (s *scene) share(ctx context.Context) error {
	if err := s.setUp(ctx); err != nil {
		return err
	}
	s.section("One file system on both")
	one, err := s.provision(ctx, "shared", shared, 1, "")
	if err != nil {
		return err
	}
	two := &disk{name: "shared-2", kind: shared, id: one.id, context: one.context, dir: filepath.Join(s.dir, "shared-2")}
	return inOrder(
		func() error { return os.MkdirAll(two.dir, 0o750) },
		func() error { return s.use(ctx, one, s.nodes[0]) },
		func() error { return s.use(ctx, two, s.nodes[1]) },
		func() error { return s.write(ctx, one, "one", fromOne) },
		func() error { return s.read(ctx, two, "one", fromOne) },
		func() error { return s.write(ctx, two, "two", fromTwo) },
		func() error { return s.read(ctx, one, "two", fromTwo) },
		func() error { return s.release(ctx, two) },
		func() error { return s.retire(ctx, one) },
		func() error { return s.nothingLeft(ctx) },
	)
}
