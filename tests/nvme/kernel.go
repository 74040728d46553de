package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine"
)

// kernel is Debian's kernel for clouds, which has the NVMe target and both file systems.
type kernel struct {
	image   string // a file
	modules machine.Modules
}

// wanted are the modules that the scenarios need, beside what those need themselves.
var wanted = []string{"configfs", "nvmet", "nvmet-tcp", "nvme-fabrics", "nvme-tcp", "xfs"}

// findKernel takes a kernel from the user's cache, or puts one there with apt. Which one does not matter: any that is
// there is good.
func findKernel(ctx context.Context, log io.Writer) (kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return kernel{}, fmt.Errorf("a folder for the kernel: %w", err)
	}
	root := filepath.Join(cache, "diskbridge", "kernel-amd64")
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(log, "fetching a kernel into %s (once)\n", root)
		if err := fetchKernel(ctx, root); err != nil {
			return kernel{}, err
		}
	}
	return readKernel(root)
}

// fetchKernel unpacks apt's kernel into root; it is there whole or not at all.
func fetchKernel(ctx context.Context, root string) (err error) {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(root), "kernel-new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	depends, err := tool(ctx, work, "apt-cache", "depends", "linux-image-cloud-amd64")
	if err != nil {
		return err
	}
	name := regexp.MustCompile(`Depends: (linux-image-[0-9]\S*-cloud-amd64)`).FindSubmatch(depends)
	if name == nil {
		return errors.New("apt knows no linux-image-cloud-amd64: this needs a Debian machine, and `apt-get update` on it")
	}
	if _, err := tool(ctx, work, "apt-get", "-o", "APT::Sandbox::User=root", "download", string(name[1])); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %v (%w)", name[1], debs, err)
	}
	if _, err := tool(ctx, work, "dpkg-deb", "-x", debs[0], "files"); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, "files"), root)
}

func tool(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// readKernel finds the parts of an unpacked kernel package.
func readKernel(root string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) == 0 {
		return kernel{}, fmt.Errorf("no kernel is in %s; remove that folder (%w)", root, err)
	}
	modules, err := machine.FindModules(root)
	return kernel{image: images[0], modules: modules}, err
}
