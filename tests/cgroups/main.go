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

// limit bounds the whole run, and memory is the machine's, in MiB.
const (
	limit  = 6 * time.Minute
	memory = 1536
)

func main() {
	only := flag.String("run", "", "run only the scenarios whose names match this `REGEXP`; blanks are dots")
	server := flag.String("s3-server", "", "path of versitygw, which keeps the buckets")
	flag.Parse()
	os.Exit(lane.Main("cgroups", limit, func(ctx context.Context, out io.Writer) error { return run(ctx, out, *server, *only) }))
}

func run(ctx context.Context, out io.Writer, server, only string) (err error) {
	uml, err := machine.FindUML()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cgroups-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := lane.Build(ctx, dir, "./tests/cgroups/guest", "./cmd/diskbridge-csi", "./cmd/aws-emulator"); err != nil {
		return err
	}
	if err := lane.Go(ctx, "test", "-c", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", dir+"/", "./tests/objects"); err != nil {
		return err
	}
	image := filepath.Join(dir, "initramfs")
	if err := pack(ctx, image, dir, server, uml); err != nil {
		return fmt.Errorf("make the machine's files: %w", err)
	}
	begin, passed, console := time.Now(), 0, filepath.Join(dir, "console")
	err = uml.Run(ctx, image, console, memory, map[string]string{"SCENARIOS": only}, func(report io.Reader) error {
		var err error
		passed, err = machine.Follow(out, report)
		return err
	})
	if err != nil {
		return errors.Join(machine.ConsoleEnd(console), err)
	}
	return lane.Passed(out, "cgroups", passed, begin)
}

// pack writes the machine's whole file system, which lives in its memory.
func pack(ctx context.Context, path, dir, server string, uml machine.UML) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	a := machine.NewArchive(buffered)
	a.Copy(filepath.Join(dir, "guest"), "/init")
	for _, program := range []string{"diskbridge-csi", "aws-emulator", "objects.test"} {
		a.Copy(filepath.Join(dir, program), "/bin/"+program)
	}
	a.Copy(server, "/bin/versitygw")
	for _, program := range []string{"s3fs", "mkfs.ext4", "mount", "umount"} {
		a.Program(program)
	}
	a.Copy("/usr/bin/s3fs", "/usr/bin/s3fs") // where the mounter looks for it by itself
	a.Copy("/etc/mke2fs.conf", "/etc/mke2fs.conf")
	a.Device("/dev/console", 5, 1)
	modules, err := uml.Modules.Load(ctx, "fuse", "loop")
	a.Modules(modules)
	return errors.Join(err, a.End(), buffered.Flush(), f.Close())
}
