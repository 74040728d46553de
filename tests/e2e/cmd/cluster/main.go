// Command cluster makes container images and runs a Kubernetes cluster with the driver in it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
	"github.com/diskbridge/diskbridge/tests/e2e/image"
	"github.com/diskbridge/diskbridge/tests/e2e/install"
	"github.com/diskbridge/diskbridge/tests/e2e/suite"
)

const usage = `cluster runs a Kubernetes with diskbridge and an emulated AWS, in namespaces of its own.

  cluster image        makes the driver's images, as docker archives in bin/images
  cluster images       makes all images that the cluster needs
  cluster up           starts a cluster, and prints how to use it
  cluster down         ends it; nothing is left
  cluster hold         what up leaves running
  cluster external     runs Kubernetes' External Storage suite, and writes docs/reference/conformance.md
`

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) != 1 {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	switch args[0] {
	case "hold":
		return cluster.Within(hold)
	case "external":
		return cluster.Within(external)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	paths, err := cluster.FindPaths()
	if err == nil {
		err = do(ctx, args[0], paths)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	return 0
}

func do(ctx context.Context, verb string, paths cluster.Paths) error {
	switch verb {
	case "image":
		images, err := image.Driver(paths.Bin)
		if err != nil {
			return err
		}
		archives, err := image.Make(ctx, paths.Images(), images...)
		for n, archive := range archives {
			_, _ = fmt.Fprintln(os.Stdout, archive, "is", images[n].Names[0])
		}
		return err
	case "images":
		images, err := image.Cluster(ctx, paths.Kube)
		if err != nil {
			return err
		}
		_, err = image.Make(ctx, paths.Images(), images...)
		return err
	case "up":
		return up(ctx, paths)
	case "down":
		return down(ctx, paths)
	}
	return fmt.Errorf("%q is no command\n%s", verb, usage)
}

// up leaves `cluster hold` running once the driver is ready.
func up(ctx context.Context, paths cluster.Paths) error {
	if pid, ok := paths.Owner(); ok {
		return fmt.Errorf("a cluster runs already, process %d; end it with make cluster-down", pid)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(paths.Run + ".log")
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	holder := exec.CommandContext(context.WithoutCancel(ctx), self, "hold")
	holder.Stdout, holder.Stderr = log, log
	holder.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := holder.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- holder.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(paths.Ready()); err == nil {
			_, _ = os.Stdout.Write(text)
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), holder.Process.Signal(syscall.SIGTERM), <-ended)
		case err := <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the cluster did not start: %w\n%s", err, text)
		case <-tick.C:
		}
	}
}

// down ends what up left running, and waits until it has swept.
func down(ctx context.Context, paths cluster.Paths) error {
	pid, ok := paths.Owner()
	if !ok {
		return paths.Sweep() //nolint:contextcheck // of one that was killed; it has a limit of its own
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	return cluster.Until(ctx, "cluster down", func(context.Context) error {
		if _, ok := paths.Owner(); ok {
			return errors.New("process " + strconv.Itoa(pid) + " still runs")
		}
		return nil
	})
}

// external runs all of Kubernetes' own suite that is not disruptive.
func external(paths cluster.Paths) int {
	ctx := context.Background()
	err := func() error {
		c, err := start(ctx, paths)
		if err != nil {
			return err
		}
		specs, err := suite.Run(ctx, c, suite.All, 10)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(paths.Root, "docs/reference/conformance.md"), []byte(suite.Page(specs)), 0o644); err != nil {
			return err
		}
		if failed := suite.Failed(specs); failed > 0 {
			c.Dump(ctx)
			return fmt.Errorf("%d specs failed: docs/reference/conformance.md names them", failed)
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	return 0
}

// start starts the cluster with the driver.
func start(ctx context.Context, paths cluster.Paths) (*cluster.Cluster, error) {
	c, err := cluster.Start(ctx, paths)
	if err == nil {
		err = install.All(ctx, c)
	}
	if err != nil && c != nil {
		c.Dump(ctx)
	}
	return c, err
}

// hold runs the cluster with the driver until it is killed.
func hold(paths cluster.Paths) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := func() error {
		if _, err := start(ctx, paths); err != nil {
			return err
		}
		text, err := howTo(paths)
		if err != nil {
			return err
		}
		return os.WriteFile(paths.Ready(), []byte(text), 0o600)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	<-ctx.Done()
	return 0
}

// howTo writes a kubectl that works outside the namespaces, and says how to use it.
func howTo(paths cluster.Paths) (string, error) {
	kubectl := filepath.Join(paths.Kube, "kubectl.sh")
	script := fmt.Sprintf(`#!/bin/sh
# kubectl in the namespaces of the cluster that make cluster-up started.
exec nsenter -t "$(cat %[1]s/pid)" -m -n --wdns="$PWD" env KUBECONFIG=%[1]s/pki/admin.kubeconfig %[2]s/kubectl "$@"
`, paths.Run, paths.Kube)
	if err := os.WriteFile(kubectl, []byte(script), 0o755); err != nil {
		return "", err
	}
	if err := os.Chmod(kubectl, 0o755); err != nil {
		return "", err
	}
	short := strings.TrimPrefix(kubectl, paths.Root+"/")
	return fmt.Sprintf(`A Kubernetes with three nodes in two zones runs, with diskbridge and an emulated AWS:

  %[1]s get nodes,pods -A
  %[1]s apply -f manifests/storageclass-ebs.yaml -f manifests/pod-ebs.yaml
  %[1]s get pvc,pv,volumeattachments

End it with: make cluster-down
`, short), nil
}
