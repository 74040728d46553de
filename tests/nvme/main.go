package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/diskbridge/diskbridge/tests/lane"
)

// limit bounds the whole run.
const limit = 230 * time.Second

func main() { os.Exit(lane.Main("nvme", limit, run)) }

func run(ctx context.Context, out io.Writer) (err error) {
	if runtime.GOARCH != "amd64" {
		return errors.New("the virtual machine is one for amd64")
	}
	k, err := findKernel(ctx, out)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nvme-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := lane.Build(ctx, dir, "./tests/nvme/guest", "./cmd/diskbridge-csi"); err != nil {
		return err
	}
	image := filepath.Join(dir, "initrd")
	if err := pack(ctx, image, dir, k); err != nil {
		return fmt.Errorf("make the machine's files: %w", err)
	}
	return boot(ctx, out, k.image, image, filepath.Join(dir, "console"))
}
