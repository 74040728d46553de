package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// limit bounds everything in here; the machine outside waits longer.
const limit = 5 * time.Minute

func main() {
	if len(os.Args) > 1 && os.Args[1] == containerCommand {
		fmt.Fprintf(os.Stderr, "guest: %v\n", becomeContainer(os.Args[2], os.Args[3:]))
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == waitCommand {
		_, _ = io.Copy(io.Discard, os.Stdin) // until this process' starter ends it
		return
	}
	// This is process 1: whatever happens, it ends by turning the machine off.
	if err := boot(); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	} else if err := lane.Report(inside.Report, limit, scenarios); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
	fmt.Fprintf(os.Stderr, "guest: power off: %v\n", inside.PowerOff())
}

// boot makes a machine whose memory is divided by control groups of version 2, and whose mounts containers share.
func boot() error {
	return errors.Join(os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), inside.Boot(), inside.Mount("cgroup2", cgroups),
		write(cgroups+"/cgroup.subtree_control", "+memory"), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""))
}

// scenarios runs each with an S3 server that goes on.
func scenarios(ctx context.Context, out io.Writer) (err error) {
	only, err := regexp.Compile(os.Getenv("SCENARIOS"))
	if err != nil {
		return err
	}
	stop, err := startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for i, s := range list() {
		if only.MatchString(s.name) {
			w := &world{dir: fmt.Sprintf("/run/%d", i)}
			lane.Score(out, s.name, func() error { return s.run(ctx, w) }, w.cleanUp)
		}
	}
	return nil
}
