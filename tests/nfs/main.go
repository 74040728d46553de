package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// limit bounds the whole run.
const limit = 9 * time.Minute

func main() {
	only := flag.String("run", "", "run only the scenarios whose names match this `REGEXP`; blanks are dots")
	flag.Parse()
	os.Exit(lane.Main("nfs", limit, func(ctx context.Context, out io.Writer) error { return run(ctx, out, *only) }))
}

func run(ctx context.Context, out io.Writer, only string) (err error) {
	uml, err := machine.FindUML()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nfs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := lane.Build(ctx, dir, programs...); err != nil {
		return err
	}
	if err := lane.Go(ctx, "test", "-c", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", dir+"/", "./tests/sanity"); err != nil {
		return err
	}
	image := filepath.Join(dir, "initramfs")
	if err := pack(ctx, image, dir, uml); err != nil {
		return fmt.Errorf("make the machine's files: %w", err)
	}
	begin := time.Now()
	var passed atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts { // side by side: each has one processor, and waits for much of its time
		group.Go(func() error {
			console := filepath.Join(dir, part)
			err := uml.Run(ctx, image, console, 1024, map[string]string{"PART": part, "SCENARIOS": only}, func(report io.Reader) error {
				n, err := machine.Follow(out, report)
				passed.Add(int64(n))
				return err
			})
			if err != nil && ctx.Err() == nil {
				err = errors.Join(machine.ConsoleEnd(console), err)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return lane.Passed(out, "nfs", int(passed.Load()), begin)
}

// parts are what the guest can be: a machine for each.
var parts = []string{"node", "faults", "aws"}

// programs are built for the machine: its first process, and what is tested.
var programs = []string{"./tests/nfs/guest", "./cmd/diskbridge", "./cmd/diskbridge-csi", "./cmd/aws-emulator"}

// pack writes the machine's whole file system, which lives in its memory.
func pack(ctx context.Context, path, dir string, uml machine.UML) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	a := machine.NewArchive(buffered)
	a.Copy(filepath.Join(dir, "guest"), "/init")
	for _, program := range []string{"diskbridge", "diskbridge-csi", "aws-emulator", "sanity.test"} {
		a.Copy(filepath.Join(dir, program), "/bin/"+program)
	}
	err = uml.PackNFS(ctx, a)
	return errors.Join(err, a.End(), buffered.Flush(), f.Close())
}
