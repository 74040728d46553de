package scripts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/kube/kubetest"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestJanitor_SeesWhatTheControllerAsksFor: a directory is asked for by its volume's deletion, and stays asked for until
// the janitor of the same cluster could mount the file system; here nothing answers at the mount target's address.
func TestJanitor_SeesWhatTheControllerAsksFor(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("the janitor mounts, which needs root")
	}
	dir := harness.Dir(t)
	e, cluster := harness.Emulator(t, dir, "--instances=1"), kubetest.New(t)
	cluster.Put("/api/v1/namespaces/kube-system", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"0b1c-the-cluster"}}`)
	controller := csi.NewControllerClient(harness.ControllerOf(t, sandbox.EFSDriver, e, dir, "c", "--kubeconfig="+cluster.Kubeconfig).Conn)
	janitor := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, harness.Bin(t)+"/diskbridge-csi", append([]string{"janitor", "--once", "--node-id=" + e.Instances[0].ID, "--region=us-east-1",
			"--mount-point=" + filepath.Join(dir, "mnt"), "--patience=5s", "--absence-interval=50ms", "--kubeconfig=" + cluster.Kubeconfig}, args...)...)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, e.CloudEnv()...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := janitor(); err != nil {
		t.Fatalf("with nothing to do: %v\n%s", err, out)
	}
	create := func(name string, parameters map[string]string) string {
		v, err := controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{Name: name, Parameters: parameters, VolumeCapabilities: []*csi.VolumeCapability{{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return v.GetVolume().GetVolumeId()
	}
	system := create("system", nil)
	directory := create("pvc-1", map[string]string{"provisioningMode": "directory", "fileSystemId": system, "onDelete": "delete"})
	if _, err := controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: directory}); err != nil {
		t.Fatal(err)
	}
	if out, err := janitor("--cluster-id=other"); err != nil || strings.Contains(out, "/pvc-1") {
		t.Errorf("the janitor of another cluster: %v\n%s", err, out)
	}
	out, err := janitor()
	if err == nil || !strings.Contains(out, "Directory was not removed") || !strings.Contains(out, `path="/pvc-1"`) || !strings.Contains(out, "1 directories are left") {
		t.Errorf("where nothing can be mounted: %v\n%s", err, out)
	}
	if _, err := controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: system}); err != nil {
		t.Error(err)
	}
	if out, err := janitor(); err != nil {
		t.Errorf("after the file system went: %v\n%s", err, out)
	}
}
