package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine"
)

// programs are what the node plugin runs; the machine gets this machine's own.
var programs = []string{"blkid", "mkfs.ext4", "e2fsck", "resize2fs", "mkfs.xfs", "sfdisk"}

// pack writes the machine's whole file system, which lives in its memory: the two programs that were built in dir, the
// plugin's tools with their libraries, and the kernel's modules.
func pack(ctx context.Context, path, dir string, k kernel) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	a := machine.NewArchive(buffered)
	a.Copy(filepath.Join(dir, "guest"), "/init")
	a.Copy(filepath.Join(dir, "diskbridge-csi"), "/bin/diskbridge-csi")
	a.Copy("/etc/mke2fs.conf", "/etc/mke2fs.conf")
	a.Device("/dev/console", 5, 1)
	for _, program := range programs {
		a.Program(program)
	}
	modules, err := k.modules.Load(ctx, wanted...)
	a.Modules(modules)
	return errors.Join(err, a.End(), buffered.Flush(), f.Close())
}
