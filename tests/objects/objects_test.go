// Package objects mounts buckets with a real s3fs on a real S3 server, through the driver's own socket, and breaks what can break.
// It knows CSI, and what a host shows.
package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// world is an S3 server, a controller, and one node with its mounter.
type world struct {
	tb         testing.TB
	dir        string
	emulator   *sandbox.Emulator
	controller csi.ControllerClient
	mounter    *sandbox.Process
	socket     string // of the mounter
	driver     *sandbox.Driver
	node       csi.NodeClient
	args       []string // of the mounter
}

func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	if !harness.IsRoot() {
		t.Skip("it mounts, which needs root")
	}
	w := &world{tb: t, dir: harness.Dir(t), args: args}
	w.emulator = harness.Emulator(t, w.dir, "--profile=instant", "--devices=none", "--instances=1", "--s3-server="+s3test.Program(t))
	w.controller = csi.NewControllerClient(harness.ControllerOf(t, sandbox.S3Driver, w.emulator, w.dir, "c", "--cluster-id=objects", "--absence-interval=50ms").Conn)
	w.startMounter()
	w.startNode()
	return w
}

func (w *world) startMounter() {
	w.mounter, w.socket = harness.Mounter(w.tb, w.dir, "m", w.emulator.CloudEnv(), w.args...)
}

func (w *world) startNode() {
	i := w.emulator.Instances[0]
	w.driver = harness.NodeOf(w.tb, sandbox.S3Driver, i, w.dir, "n", "--mounter-socket="+w.socket)
	w.node = csi.NewNodeClient(w.driver.Conn)
}

var shared = &csi.VolumeCapability{
	AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
}

// bucket is a volume and where it is on the node.
type bucket struct {
	*csi.Volume
	staging, target string
}

func (w *world) create(ctx context.Context, name string, parameters map[string]string) *bucket {
	w.tb.Helper()
	if parameters == nil {
		parameters = map[string]string{}
	}
	made, err := w.controller.CreateVolume(ctx, &csi.CreateVolumeRequest{Name: name, VolumeCapabilities: []*csi.VolumeCapability{shared}, Parameters: parameters})
	if err != nil {
		w.tb.Fatal(err)
	}
	b := &bucket{made.GetVolume(), filepath.Join(w.dir, "s-"+name), filepath.Join(w.dir, "t-"+name)}
	if err := os.Mkdir(b.staging, 0o755); err != nil {
		w.tb.Fatal(err)
	}
	return b
}

func (w *world) stage(ctx context.Context, b *bucket) error {
	_, err := w.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: b.VolumeId, VolumeContext: b.VolumeContext, StagingTargetPath: b.staging, VolumeCapability: shared})
	return err
}

func (w *world) publish(ctx context.Context, b *bucket) error {
	_, err := w.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: b.VolumeId, VolumeContext: b.VolumeContext, StagingTargetPath: b.staging, TargetPath: b.target, VolumeCapability: shared})
	return err
}

func (w *world) unpublish(ctx context.Context, b *bucket) error {
	_, err := w.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: b.VolumeId, TargetPath: b.target})
	return err
}

func (w *world) unstage(ctx context.Context, b *bucket) error {
	_, err := w.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: b.VolumeId, StagingTargetPath: b.staging})
	return err
}

func (w *world) delete(ctx context.Context, b *bucket) error {
	_, err := w.controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: b.VolumeId})
	return err
}

// mounted makes a bucket and mounts it.
func (w *world) mounted(ctx context.Context, name string) *bucket {
	w.tb.Helper()
	b := w.create(ctx, name, nil)
	w.mount(ctx, b)
	return b
}

// mount stages and publishes.
func (w *world) mount(ctx context.Context, b *bucket) {
	w.tb.Helper()
	must(w.tb, w.stage(ctx, b))
	must(w.tb, w.publish(ctx, b))
}

// unmount is mount undone.
func (w *world) unmount(ctx context.Context, b *bucket) {
	w.tb.Helper()
	must(w.tb, w.unpublish(ctx, b))
	must(w.tb, w.unstage(ctx, b))
}

// remove unmounts a bucket and deletes it.
func (w *world) remove(ctx context.Context, b *bucket) {
	w.tb.Helper()
	w.unmount(ctx, b)
	must(w.tb, w.delete(ctx, b))
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// TestLife takes a bucket through its whole life, each step twice.
func TestLife(t *testing.T) {
	w := newWorld(t)
	b := w.create(t.Context(), "bucket", nil)
	live(t, w, b)
	t.Run("a prefix of it", func(t *testing.T) {
		p := w.create(t.Context(), "prefix", map[string]string{"bucket": strings.TrimPrefix(b.VolumeId, "s3://"), "basePrefix": "below"})
		live(t, w, p)
		must(t, w.delete(t.Context(), p))
	})
	must(t, w.delete(t.Context(), b))
}

// TestRClone_ReadsOnly what s3fs has written: none of its cache modes can be written through without a loss.
func TestRClone_ReadsOnly(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.mounted(ctx, "bucket")
	must(t, os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o640))
	w.unmount(ctx, b)
	w.mounter.Kill()
	w.args = []string{"--object-program=rclone"}
	w.startMounter()
	if err := w.stage(ctx, b); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a writer: %v", err)
	}
	reader := &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY}, AccessType: shared.GetAccessType(),
	}
	for range 2 {
		_, err := w.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: b.VolumeId, VolumeContext: b.VolumeContext, StagingTargetPath: b.staging, VolumeCapability: reader})
		must(t, err)
		_, err = w.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
			VolumeId: b.VolumeId, VolumeContext: b.VolumeContext, StagingTargetPath: b.staging, TargetPath: b.target, VolumeCapability: reader, Readonly: true,
		})
		must(t, err)
	}
	if got, err := os.ReadFile(filepath.Join(b.target, "file")); err != nil || string(got) != "text" {
		t.Errorf("read %q, %v", got, err)
	}
	for _, path := range []string{b.target, b.staging} {
		if err := os.WriteFile(filepath.Join(path, "new"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
			t.Errorf("writing in %s: %v", path, err)
		}
	}
	w.remove(ctx, b)
}

func live(t *testing.T, w *world, b *bucket) {
	t.Helper()
	ctx, text := t.Context(), bytes.Repeat([]byte("data "), 1<<20)
	for i := range 2 {
		for range 2 {
			must(t, w.stage(ctx, b))
		}
		for range 2 {
			must(t, w.publish(ctx, b))
		}
		file := filepath.Join(b.target, "file")
		if i == 0 {
			must(t, os.WriteFile(file, text, 0o640))
		}
		got, err := os.ReadFile(file)
		must(t, err)
		if !bytes.Equal(got, text) {
			t.Errorf("read %d bytes, wrote %d", len(got), len(text))
		}
		for range 2 {
			must(t, w.unpublish(ctx, b))
		}
		for range 2 {
			must(t, w.unstage(ctx, b))
		}
	}
	if left, err := filepath.Glob(filepath.Join(w.dir, "m", "objects", "*")); err != nil || len(left) > 0 {
		t.Errorf("the mounter still notes %v (%v)", left, err)
	}
}

// TestCost mounts some buckets and looks what each takes: of time beside s3fs's own, and of the mounter's memory.
func TestCost(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	const n, most = 10, 1 << 10 // KiB
	var buckets []*bucket
	for i := range n + 1 {
		buckets = append(buckets, w.create(ctx, fmt.Sprintf("cost-%d", i), nil))
	}
	must(t, w.stage(ctx, buckets[n])) // what the first one takes is not of each
	before, start := resident(t, w.mounter.PID()), time.Now()
	for _, b := range buckets[:n] {
		must(t, w.stage(ctx, b))
	}
	took, grown := time.Since(start)/n, (resident(t, w.mounter.PID())-before)/n
	t.Logf("%s and %d KiB for each mount", took, grown)
	if grown > most {
		t.Errorf("the mounter grows by %d KiB for each mount, more than %d", grown, most)
	}
	for _, b := range buckets {
		must(t, w.unstage(ctx, b))
		must(t, w.delete(ctx, b))
	}
}

// resident is the memory of a process, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
