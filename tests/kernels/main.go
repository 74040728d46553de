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
	"time"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine"
	"github.com/diskbridge/diskbridge/tests/lane"
)

const (
	// limit bounds the whole run.
	limit = 9 * time.Minute
	// memoryMiB holds the disks, too: sparse files in the machine's memory.
	memoryMiB = 2048
	// blockTests are those that mount disks; the other tests of pkg/mount do not depend on the kernel.
	blockTests = "^TestBlock"
	// skipped are slow here, and ask the tools more than the kernel.
	skipped = "Bosh|Partition|AfterACrash|FormatsAsAsked|AHangingTool"
)

func main() {
	only := flag.String("run", blockTests, "run only the tests whose names match this `REGEXP`, as go test -run")
	flag.Parse()
	os.Exit(lane.Main("kernels", limit, func(ctx context.Context, out io.Writer) error { return run(ctx, out, *only) }))
}

func run(ctx context.Context, out io.Writer, only string) (err error) {
	uml, err := machine.FindUML()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kernels-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := lane.Build(ctx, dir, "./tests/kernels/guest"); err != nil {
		return err
	}
	if err := lane.Go(ctx, "test", "-c", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", dir+"/", "./pkg/mount"); err != nil {
		return err
	}
	image := filepath.Join(dir, "initramfs")
	if err := pack(ctx, image, dir, uml); err != nil {
		return fmt.Errorf("make the machine's files: %w", err)
	}
	begin, console, passed := time.Now(), filepath.Join(dir, "console"), 0
	err = uml.Run(ctx, image, console, memoryMiB, map[string]string{"TESTS": only, "NOT": skipped}, func(report io.Reader) (err error) {
		passed, err = machine.Follow(out, report)
		return err
	})
	if err != nil {
		return errors.Join(machine.ConsoleEnd(console), err)
	}
	return lane.Passed(out, "kernels", passed, begin)
}

// programs are what the node half and its tests run; the machine gets this machine's own.
var programs = []string{
	"blkid", "mkfs.ext4", "e2fsck", "resize2fs", "debugfs", "dumpe2fs", "mkfs.xfs", "mkfs.btrfs", "btrfstune", "sfdisk", "mkfs.ext3", "mkswap", "cp", "sync", "mount", "sh", "sleep", "fsfreeze", "umount",
}

// pack writes the machine's whole file system, which lives in its memory.
func pack(ctx context.Context, path, dir string, uml machine.UML) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	a := machine.NewArchive(buffered)
	a.Copy(filepath.Join(dir, "guest"), "/init")
	a.Copy(filepath.Join(dir, "mount.test"), "/bin/mount.test")
	a.Copy("/etc/mke2fs.conf", "/etc/mke2fs.conf")
	a.Device("/dev/console", 5, 1)
	for _, program := range programs {
		a.Program(program)
	}
	a.Copy("/bin/sh", "/bin/sh") // tests have scripts, and run this by its path
	a.Copy("/sbin/sfdisk", "/sbin/sfdisk")
	modules, err := uml.Modules.Load(ctx, "loop")
	a.Modules(modules)
	return errors.Join(err, a.End(), buffered.Flush(), f.Close())
}
