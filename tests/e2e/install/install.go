package install

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
	"github.com/diskbridge/diskbridge/tests/e2e/image"
)

// Namespace and Release are where the driver is and what Helm calls it.
const (
	Namespace = "kube-system"
	Release   = "diskbridge"
)

// Driver is the name of the driver for EBS.
const Driver = "ebs.csi.diskbridge.io"

// limit bounds the installation; an idle machine needs a tenth of it.
const limit = 4 * time.Minute

// values are for nodes that are the instances of an emulator outside the cluster.
//
//go:embed values.yaml
var values string

// All installs everything and waits until each node can have volumes.
func All(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("the driver was not ready in time"))
	defer cancel()
	if err := snapshots(ctx, c); err != nil {
		return fmt.Errorf("snapshot controller: %w", err)
	}
	file := filepath.Join(c.Paths.Run, "values.yaml")
	text := strings.NewReplacer("AWS_HERE", cluster.AWS, "FOLDER_HERE", c.Paths.AWS()).Replace(values)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	if err := chart(ctx, c, file); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	if _, err := c.Kubectl(ctx, "", "apply", "-f", filepath.Join(c.Paths.Root, "manifests/storageclass-ebs.yaml")); err != nil {
		return err
	}
	return cluster.Until(ctx, "driver on each node", func(ctx context.Context) error { return registered(ctx, c, 3) })
}

var controllerImage = regexp.MustCompile(`sig-storage/snapshot-controller:v\S+`)

// snapshots applies upstream's own YAML, with the image that we have.
func snapshots(ctx context.Context, c *cluster.Cluster) error {
	files, err := filepath.Glob(filepath.Join(c.Paths.Kube, "snapshots/*.yaml"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("no YAML: tests/e2e/build makes it"))
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all = append(all, controllerImage.ReplaceAllString(string(text), "sig-storage/snapshot-controller:"+image.SnapshotController))
	}
	_, err = c.Kubectl(ctx, strings.Join(all, "\n---\n"), "apply", "--server-side", "-f", "-")
	return err
}

// Laptop installs the driver with an emulator in the cluster, as the chart's own overlay does, and waits until all are ready.
func Laptop(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("the driver was not ready in time"))
	defer cancel()
	if err := snapshots(ctx, c); err != nil {
		return fmt.Errorf("snapshot controller: %w", err)
	}
	if err := chart(ctx, c, filepath.Join(c.Paths.Root, dir, "values-emulator.yaml")); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	return cluster.Until(ctx, "driver on each node", func(ctx context.Context) error { return registered(ctx, c, 2) })
}

// dir is the chart's.
const dir = "deploy/charts/diskbridge"

// chart installs the chart as a user would, with the images that we have.
func chart(ctx context.Context, c *cluster.Cluster, values string) error {
	args := []string{"upgrade", "--install", Release, filepath.Join(c.Paths.Root, dir), "--namespace=" + Namespace, "--values=" + values}
	for component, repository := range map[string]string{"controller": image.Controller, "node": image.Node, "emulator": image.Emulator} {
		args = append(args, "--set="+component+".image.repository="+repository+","+component+".image.tag="+image.Tag)
	}
	return c.Helm(ctx, args...)
}

// registered says which node's kubelet does not know all drivers yet, or that the controller is not ready.
func registered(ctx context.Context, c *cluster.Cluster, drivers int) error {
	for _, n := range c.Nodes {
		node, err := c.Client.StorageV1().CSINodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(node.Spec.Drivers) < drivers {
			return fmt.Errorf("node %s has %d of %d drivers", n.Name, len(node.Spec.Drivers), drivers)
		}
	}
	d, err := c.Client.AppsV1().Deployments(Namespace).Get(ctx, Release+"-controller", metav1.GetOptions{})
	if err == nil && d.Status.ReadyReplicas < d.Status.Replicas {
		err = fmt.Errorf("%d of %d controllers are ready", d.Status.ReadyReplicas, d.Status.Replicas)
	}
	return err
}
