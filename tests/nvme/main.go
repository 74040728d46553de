package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// limit bounds the whole run.
const limit = 230 * time.Second

func main() {
	// An interrupt ends what was started before it ends us.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "nvme: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
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
	for _, program := range []string{"./tests/nvme/guest", "./cmd/diskbridge-csi"} {
		if err := build(ctx, program, dir); err != nil {
			return err
		}
	}
	image := filepath.Join(dir, "initrd")
	if err := pack(ctx, image, dir, k); err != nil {
		return fmt.Errorf("make the machine's files: %w", err)
	}
	return boot(ctx, out, k.image, image, filepath.Join(dir, "console"))
}

// build makes a static program, as it ships.
func build(ctx context.Context, program, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", dir+"/", program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", program, err, text)
	}
	return nil
}
