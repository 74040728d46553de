package objects

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// pods is a folder whose mounts are seen elsewhere too, as those below kubelet's are.
func (w *world) pods(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(w.dir, "pods")
	must(t, os.Mkdir(dir, 0o755))
	must(t, syscall.Mount(dir, dir, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // whatever became of the test
	must(t, syscall.Mount("", dir, "", syscall.MS_SHARED, ""))
	return dir
}

// TestTargetsOfALostMount kills s3fs under two pods of one node, of which one may only read: each gets back what it had, and
// the end of one takes nothing from the other.
func TestTargetsOfALostMount(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "two", nil)
	pods := w.pods(t)
	b.staging, b.target = filepath.Join(pods, "staging"), filepath.Join(pods, "writer")
	must(t, os.Mkdir(b.staging, 0o755))
	w.mount(ctx, b)
	reader := filepath.Join(pods, "reader")
	_, err := w.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: b.VolumeId, VolumeContext: b.VolumeContext,
		StagingTargetPath: b.staging, TargetPath: reader, VolumeCapability: shared, Readonly: true})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o600))
	for range 2 { // what one loss leaves must not show at the next
		must(t, syscall.Kill(programs(t, w.dir)[b.staging], syscall.SIGKILL))
		harness.Eventually(t, "both see the bucket again", func(context.Context) error {
			_, err := os.ReadFile(filepath.Join(reader, "file"))
			return errors.Join(err, os.WriteFile(filepath.Join(b.target, "after"), nil, 0o600))
		})
		if err := os.WriteFile(filepath.Join(reader, "forbidden"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
			t.Fatalf("the reader writes: %v", err)
		}
	}
	_, err = w.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: b.VolumeId, TargetPath: reader})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.target, "alone"), nil, 0o600))
	w.remove(ctx, b)
}
