package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// store is where a containerd's folder with all images is, once for each set of images.
func (c *Cluster) store() (string, error) {
	all := sha256.New()
	for _, image := range c.images {
		stamp, err := os.ReadFile(image + ".stamp")
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(all, "%s %s\n", image, stamp) // a hash takes everything
	}
	return filepath.Join(c.Paths.Images(), fmt.Sprintf("containerd-%x", all.Sum(nil)[:8])), nil
}

// loadImages gives each node a containerd's folder with all images. Importing them takes 20 s, so that it is done once; the
// nodes' folders share its files, which nobody writes to, but for the databases.
func (c *Cluster) loadImages(ctx context.Context) error {
	store, err := c.store()
	if err != nil {
		return err
	}
	if _, err := os.Stat(store); errors.Is(err, os.ErrNotExist) {
		if err := c.importImages(ctx, store); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		folder := n.Paths.run(n.Name, "var/lib/containerd")
		if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
			return err
		}
		if err := c.Paths.command(ctx, "cp", "--archive", "--link", store, folder); err != nil {
			return err
		}
		databases, err := filepath.Glob(filepath.Join(store, "*/*.db"))
		if err != nil || len(databases) == 0 {
			return errors.Join(err, fmt.Errorf("%s has no databases", store))
		}
		for _, from := range databases {
			to := filepath.Join(folder, strings.TrimPrefix(from, store))
			if err := c.Paths.command(ctx, "cp", "--remove-destination", from, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// importImages makes the store, with a containerd of its own, in place of earlier ones.
func (c *Cluster) importImages(ctx context.Context, store string) (err error) {
	old, err := filepath.Glob(filepath.Join(c.Paths.Images(), "containerd-*"))
	if err != nil {
		return err
	}
	for _, folder := range old {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	state, fresh := c.Paths.run("import"), filepath.Join(c.Paths.Images(), "containerd-new")
	config := filepath.Join(state, "containerd.toml")
	if err := errors.Join(os.MkdirAll(state, 0o755), os.WriteFile(config, []byte(containerd(fresh, state)), 0o600)); err != nil {
		return err
	}
	daemon, err := c.Paths.daemon(ctx, "import-containerd", c.Paths.Kube+"/containerd", "--config="+config)
	if err != nil {
		return err
	}
	ctr := func(ctx context.Context, args ...string) error {
		return c.Paths.command(ctx, c.Paths.Kube+"/ctr", append([]string{"--address", state + "/containerd.sock"}, args...)...)
	}
	err = containerdReady(ctx, ctr)
	for _, image := range c.images {
		if err == nil {
			err = ctr(ctx, "--namespace=k8s.io", "images", "import", "--local", image)
		}
	}
	// It closes its databases when it ends.
	if err := errors.Join(err, daemon.Process.Signal(unix.SIGTERM), daemon.Wait()); err != nil {
		return err
	}
	return os.Rename(fresh, store)
}

// containerdReady waits until a containerd answers ctr.
func containerdReady(ctx context.Context, ctr func(context.Context, ...string) error) error {
	return Until(ctx, "containerd", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return ctr(ctx, "version")
	})
}
