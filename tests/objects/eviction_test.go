package objects

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/kube/kubetest"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestEviction kills a pod's s3fs: the pod gets an event, and is evicted where that is asked for, and only there.
func TestEviction(t *testing.T) {
	w, ctx, cluster := newWorld(t), t.Context(), kubetest.New(t)
	const (
		pod      = "/api/v1/namespaces/shop/pods/web"
		eviction = "POST " + pod + "/eviction"
	)
	cluster.Put("/api/v1/persistentvolumes/pv-1", `{"metadata":{"name":"pv-1"},"spec":{"claimRef":{"namespace":"shop","name":"claim","uid":"uid-9"}}}`)
	cluster.Put(pod, `{"metadata":{"name":"web","namespace":"shop","uid":"uid-1","ownerReferences":[{"kind":"ReplicaSet","controller":true}]},
		"spec":{"volumes":[{"name":"files","persistentVolumeClaim":{"claimName":"claim"}}],"containers":[{"name":"main","volumeMounts":[{"name":"files"}]}]},
		"status":{"containerStatuses":[{"name":"main","state":{"running":{"startedAt":"2026-01-01T12:00:00Z"}}}]}}`)
	b := w.create(ctx, "one", nil)
	b.target = filepath.Join(w.dir, "pods/uid-1/volumes/kubernetes.io~csi/pv-1/mount")
	must(t, os.MkdirAll(filepath.Dir(b.target), 0o750))
	w.mount(ctx, b)
	must(t, os.WriteFile(filepath.Join(b.target, "file"), nil, 0o600))
	for i, flags := range [][]string{nil, {"--evict-lost-mounts"}} {
		w.driver.Kill()
		w.driver = harness.NodeOf(t, sandbox.S3Driver, w.emulator.Instances[0], w.dir, fmt.Sprint("n", i),
			append(flags, "--mounter-socket="+w.socket, "--kubeconfig="+cluster.Kubeconfig, "--node-name=n")...)
		w.node = csi.NewNodeClient(w.driver.Conn)
		must(t, syscall.Kill(programs(t, w.dir)[b.staging], syscall.SIGKILL))
		harness.Eventually(t, "an event on pod and claim", func(context.Context) error {
			if len(cluster.Under("/api/v1/namespaces/shop/events")) < 2*(i+1) {
				return errors.New("not yet")
			}
			return nil
		})
		harness.Eventually(t, "the bucket is there again", func(context.Context) error {
			_, err := os.ReadFile(filepath.Join(b.target, "file"))
			return err
		})
		if flags == nil {
			if !slices.Contains(cluster.Under(filepath.Dir(pod)), pod) {
				t.Error("a pod was evicted, and nobody asked for that")
			}
			continue
		}
		harness.Eventually(t, "the pod is evicted", func(context.Context) error {
			if slices.Contains(cluster.Under(filepath.Dir(pod)), pod) {
				return errors.New("it is there")
			}
			return nil
		})
	}
	evictions := slices.DeleteFunc(cluster.Requests(), func(r string) bool { return r != eviction })
	if len(evictions) != 1 {
		t.Errorf("%d evictions", len(evictions))
	}
	w.remove(ctx, b)
}
