package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// Options of a demo.
type Options struct {
	Bin     string    // folder with aws-emulator and diskbridge-csi
	Profile string    // how fast the emulator's AWS is: instant, reference or realistic
	Root    bool      // format and mount real file systems; false plays the controller half only
	Out     io.Writer // where the story is told
	Color   bool
	Only    string // the part to show: ebs (with BOSH), efs or s3; empty for all
}

// cleanupLimit is how long cleaning up may take after a failure or an interrupt.
const cleanupLimit = time.Minute

// Run plays the demo and cleans up after it, also when ctx ends. It returns nil
// only if every step succeeded and nothing is left of it on this host.
func Run(ctx context.Context, o Options) error {
	dir, err := workDir(o.Root)
	if err != nil {
		return err
	}
	n := narrator{w: o.Out, color: o.Color}
	s := &scene{narrator: n, options: o, dir: dir, driver: sandbox.EBSDriver}
	n.section("diskbridge demo, in %s", dir)

	err = s.play(ctx)
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	if err != nil {
		n.failed(ctx, err, s.children)
		n.section("Cleaning up")
	}
	if left := s.strike(cleanup, err != nil); left != nil {
		if err == nil {
			n.failed(cleanup, left, nil)
		} else {
			n.note("not all could be cleaned up: %v", left)
		}
		return errors.Join(err, left)
	}
	if err != nil {
		n.note("nothing is left of it")
	}
	return err
}

// play is the whole story. It ends with disks, which end in BOSH.
func (s *scene) play(ctx context.Context) error {
	start := time.Now()
	companions := []string{"aws-emulator", "diskbridge-csi"}
	if s.options.Only == "" || s.options.Only == "ebs" {
		companions = append(companions, "diskbridge-cpi")
	}
	for _, companion := range companions {
		if _, err := os.Stat(filepath.Join(s.options.Bin, companion)); err != nil {
			return fmt.Errorf("%s is missing: `make build` puts it into bin/", companion)
		}
	}
	for _, part := range []struct {
		name string
		play func(context.Context) error
	}{{"efs", s.elsewhere}, {"s3", s.buckets}, {"ebs", s.disksHere}} {
		if s.options.Only != "" && s.options.Only != part.name {
			continue
		}
		if err := part.play(ctx); err != nil {
			return err
		}
	}
	s.section("All of it happened, and nothing is left. %.1f s", time.Since(start).Seconds())
	return nil
}

// disksHere is EBS's part, on this machine.
func (s *scene) disksHere(ctx context.Context) error {
	life := s.lifeOnPaper
	if s.options.Root {
		life = s.lives
	}
	return inOrder(
		func() error { return s.setUp(ctx) },
		func() error { return life(ctx) },
		func() error { return s.bosh(ctx) },
		func() error { return s.nothingLeft(ctx) },
	)
}

// workDir makes a fresh folder with a short path (sockets go into it), where
// device nodes work if they are needed.
func workDir(devices bool) (string, error) {
	for _, parent := range []string{os.TempDir(), "/var/tmp", "/var/lib"} {
		if devices && !sandbox.AllowsDevices(parent) {
			continue
		}
		return os.MkdirTemp(parent, "diskbridge-demo-")
	}
	return "", fmt.Errorf("neither %s nor /var/tmp nor /var/lib allow device nodes (nodev mounts); set TMPDIR to a folder that does", os.TempDir())
}
