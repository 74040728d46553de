// Package laptop is a user who tries the driver on a cluster of one node with no AWS at all, as the chart's emulator overlay
// lets them. It knows kubectl and files on the node, and nothing of the driver's insides.
package laptop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
	"github.com/diskbridge/diskbridge/tests/e2e/install"
)

// patience bounds every wait; an idle machine needs a small part of it.
const patience = 3 * time.Minute

// machine is where the cluster lives; TestMain sets it.
var machine cluster.Paths

func TestMain(m *testing.M) {
	os.Exit(cluster.Within(func(paths cluster.Paths) int {
		machine = paths
		return m.Run()
	}))
}

// laptop is a new cluster with the driver and the emulator.
func laptop(t *testing.T) user {
	t.Helper()
	c, err := cluster.StartLaptop(t.Context(), machine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.Dump(context.Background())
		}
	})
	if err := install.Laptop(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return user{t, c}
}

// user types commands; what fails ends the test.
type user struct {
	*testing.T
	here *cluster.Cluster
}

func (u user) kubectl(args ...string) string {
	u.Helper()
	out, err := u.here.Kubectl(u.Context(), "", args...)
	if err != nil {
		u.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (u user) eventually(what string, ask func(context.Context) error) {
	u.Helper()
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	if err := cluster.Until(ctx, what, ask); err != nil {
		u.Fatal(err)
	}
}

// TestEmulatorOverlay applies the examples, replaces every pod of the driver and the emulator, and cleans up.
func TestEmulatorOverlay(t *testing.T) {
	u := laptop(t)
	manifests := u.here.Paths.Root + "/manifests/"
	u.kubectl("apply", "-f", manifests+"storageclass-ebs.yaml", "-f", manifests+"pod-ebs.yaml")
	u.kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout="+patience.String())
	if node := u.kubectl("get", "pod", "writer", "-o", "jsonpath={.spec.nodeName}{.spec.providerID}"); node != "laptop" {
		t.Errorf("the pod is on %q", node)
	}
	u.kubectl("exec", "writer", "--", "sh", "-c", "echo kept >/data/word && sync")
	u.kubectl("delete", "pods", "-n", install.Namespace, "-l", "app.kubernetes.io/instance="+install.Release)
	for _, workload := range []string{"deployment/diskbridge-emulator", "deployment/diskbridge-controller", "daemonset/diskbridge-node"} {
		u.kubectl("rollout", "status", "-n", install.Namespace, workload, "--timeout="+patience.String())
	}
	u.kubectl("exec", "writer", "--", "sh", "-c", "echo more >>/data/word && sync")

	u.kubectl("delete", "pod", "writer")
	u.kubectl("apply", "-f", manifests+"pod-ebs.yaml")
	u.kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout="+patience.String())
	if got := u.kubectl("exec", "writer", "--", "cat", "/data/word"); got != "kept\nmore" {
		t.Errorf("the volume has %q", got)
	}
	if devices, err := u.here.Paths.Loops(); err != nil || len(devices) != 1 {
		t.Errorf("the volume is on %v (%v)", devices, err)
	}
	u.kubectl("delete", "-f", manifests+"pod-ebs.yaml")
	u.eventually("nothing is left of the volume", func(context.Context) error {
		files, err := filepath.Glob(filepath.Join(u.here.Paths.Run, "laptop/var/lib/diskbridge-emulator/images/*"))
		devices, wrong := u.here.Paths.Loops()
		if err = errors.Join(err, wrong); err == nil && len(files)+len(devices) > 0 {
			err = fmt.Errorf("there are %v, %v", files, devices)
		}
		return err
	})
	u.bucket()
	if err := u.here.Helm(t.Context(), "uninstall", install.Release, "--namespace="+install.Namespace, "--wait"); err != nil {
		t.Error(err)
	}
}

// bucket lets one pod use the example for S3, whose second pod wants another node.
func (u user) bucket() {
	u.Helper()
	manifests := u.here.Paths.Root + "/manifests/"
	u.kubectl("apply", "-f", manifests+"storageclass-s3.yaml", "-f", manifests+"pod-s3.yaml")
	u.kubectl("wait", "deployment/uploaders", "--for=jsonpath={.status.readyReplicas}=1", "--timeout="+patience.String())
	u.eventually("an object is in the bucket", func(context.Context) error {
		if seen := u.kubectl("exec", "deployment/uploaders", "--", "ls", "/bucket"); !strings.Contains(seen, "uploaders-") {
			return fmt.Errorf("it has %q", seen)
		}
		return nil
	})
	u.kubectl("delete", "-f", manifests+"pod-s3.yaml", "--timeout="+patience.String())
	u.eventually("no volume is left", func(context.Context) error {
		if left := u.kubectl("get", "pv", "-o", "name"); left != "" {
			return errors.New(left)
		}
		return nil
	})
}
