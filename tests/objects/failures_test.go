package objects

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// profiles writes the mounter's endpoint profiles.
func profiles(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profiles.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return "--s3-profiles=" + file
}

// TestStage_Refuses names what is wrong, and leaves nothing.
func TestStage_Refuses(t *testing.T) {
	w := newWorld(t, profiles(t, "profiles:\n  closed:\n    endpoint: http://127.0.0.1:9\n    region: us-east-1\n"))
	staging := filepath.Join(w.dir, "staging")
	must(t, os.Mkdir(staging, 0o755))
	good := w.create(t.Context(), "good", nil)
	_, name, _ := strings.Cut(good.VolumeId, "s3://")
	for _, tc := range []struct {
		name    string
		request *csi.NodeStageVolumeRequest
		code    codes.Code
		words   string
	}{
		{"bucket missing", &csi.NodeStageVolumeRequest{VolumeId: "s3://never-was-made"}, codes.NotFound, "does not exist"},
		{"wrong secret", &csi.NodeStageVolumeRequest{VolumeId: good.VolumeId, Secrets: map[string]string{"accessKeyID": "test", "secretAccessKey": "hunter2"}}, codes.PermissionDenied, "does not match"},
		{"closed port", &csi.NodeStageVolumeRequest{VolumeId: "s3://closed@" + name, VolumeContext: map[string]string{}}, codes.Unavailable, "127.0.0.1:9"},
		{"unknown endpoint profile", &csi.NodeStageVolumeRequest{VolumeId: "s3://minio@" + name}, codes.InvalidArgument, "it has closed"},
		{"an option that is not on the list", &csi.NodeStageVolumeRequest{VolumeId: good.VolumeId, VolumeCapability: withFlags("dbglevel=info")}, codes.InvalidArgument, "dbglevel"},
		{"an option that this s3fs does not know", &csi.NodeStageVolumeRequest{VolumeId: good.VolumeId, VolumeCapability: withFlags("max_thread_count=3")}, codes.InvalidArgument, "does not know the option"},
		{"a secret without a key", &csi.NodeStageVolumeRequest{VolumeId: good.VolumeId, Secrets: map[string]string{"accessKeyID": "test"}}, codes.InvalidArgument, "secretAccessKey is missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.request.StagingTargetPath = staging
			if tc.request.VolumeCapability == nil {
				tc.request.VolumeCapability = shared
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			_, err := w.node.NodeStageVolume(ctx, tc.request)
			if status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.words) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %s with %q", err, tc.code, tc.words)
			}
			harness.RequireNoMounts(t, staging)
		})
	}
	if notes, err := filepath.Glob(filepath.Join(w.dir, "m", "objects", "*")); err != nil || len(notes) > 0 {
		t.Errorf("the mounter still notes %v (%v)", notes, err)
	}
	must(t, w.delete(t.Context(), good))
}

func withFlags(flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{AccessMode: shared.AccessMode, AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: flags}}}
}

// TestStage_WithoutWhatItTakes starts mounters that lack something.
func TestStage_WithoutWhatItTakes(t *testing.T) {
	known := profiles(t, "profiles:\n  default:\n    endpoint: http://127.0.0.1:9\n    region: us-east-1\n")
	for name, tc := range map[string]struct {
		args, env []string
		code      codes.Code
		words     string
	}{
		"s3fs missing":      {[]string{"--object-program-path=/nonexistent/s3fs", known}, nil, codes.Unimplemented, "install the package s3fs"},
		"region missing":    {nil, []string{"AWS_REGION="}, codes.InvalidArgument, "region is not known"},
		"keys missing":      {[]string{known}, []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, codes.PermissionDenied, "or the volume a secret"},
		"no room on disk":   {[]string{"--cache-keep-free=999999999", known}, nil, codes.ResourceExhausted, "are to stay free"},
		"server that hangs": {[]string{profiles(t, "profiles:\n  default:\n    endpoint: "+deaf(t)+"\n    region: us-east-1\n")}, nil, codes.Unavailable, "has not answered"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := harness.Dir(t)
			staging := filepath.Join(dir, "staging")
			must(t, os.Mkdir(staging, 0o755))
			env := append([]string{"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true"}, tc.env...)
			_, socket := harness.Mounter(t, dir, "m", env, tc.args...)
			node := csi.NewNodeClient(harness.NodeOf(t, sandbox.S3Driver, sandbox.Instance{ID: "i-0123456789abcdef0", Zone: "us-east-1a"}, dir, "n", "--mounter-socket="+socket).Conn)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: "s3://some-bucket", StagingTargetPath: staging, VolumeCapability: shared})
			if status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("got %v, want %s with %q", err, tc.code, tc.words)
			}
			harness.RequireNoMounts(t, staging)
		})
	}
}

// deaf is the address of a server that takes connections and never answers.
func deaf(t *testing.T) string {
	t.Helper()
	l := listen(t)
	return "http://" + l.Addr().String()
}

// programs are the processes of the mounts below a folder, by where they mount.
func programs(t *testing.T, dir string) map[string]int {
	t.Helper()
	out := map[string]int{}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, file := range lines {
		text, _ := os.ReadFile(file) // it may just have ended
		words := strings.Split(string(text), "\x00")
		if len(words) > 2 && filepath.Base(words[0]) == "s3fs" && strings.HasPrefix(words[2], dir+"/") {
			if out[words[2]], err = strconv.Atoi(strings.Split(file, "/")[2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// writer writes small files one after another until it is stopped, and returns how many, and the first error.
func writer(dir string) (stop func() (int, error)) {
	end, ended := make(chan struct{}), make(chan struct{})
	n, err := 0, error(nil)
	go func() {
		defer close(ended)
		for err == nil {
			select {
			case <-end:
				return
			default:
			}
			if err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("written-%d", n)), []byte("text"), 0o600); err == nil {
				n++
			}
		}
	}()
	return func() (int, error) { close(end); <-ended; return n, err }
}

// settle waits until a writer has written some more files.
func settle(t *testing.T, dir string, more int) {
	t.Helper()
	count := func() int {
		names, err := filepath.Glob(filepath.Join(dir, "written-*"))
		if err != nil {
			return 0
		}
		return len(names)
	}
	before := count()
	harness.Eventually(t, "the writer goes on", func(context.Context) error {
		if now := count(); now < before+more {
			return fmt.Errorf("%d files after %d", now, before)
		}
		return nil
	})
}

// TestKilledWhileAProgramWrites kills the node plugin, then the mounter: no write fails.
func TestKilledWhileAProgramWrites(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.mounted(ctx, "writes")
	stop := writer(b.target)
	settle(t, b.target, 3)
	w.driver.Kill()
	settle(t, b.target, 5)
	w.startNode()
	before := programs(t, w.dir)
	w.mounter.Kill()
	w.startMounter() // s3fs tries again meanwhile
	settle(t, b.target, 5)
	n, err := stop()
	if err != nil {
		t.Errorf("after %d files: %v", n, err)
	}
	if after := programs(t, w.dir); len(after) != 1 || after[b.staging] != before[b.staging] {
		t.Errorf("s3fs was %v and is %v", before, after)
	}
	// The new mounter knows all about it.
	w.mount(ctx, b)
	w.unmount(ctx, b)
	if after := programs(t, w.dir); len(after) != 0 {
		t.Errorf("s3fs still runs: %v", after)
	}
	must(t, w.delete(ctx, b))
}

// TestProgramKilled kills one of two s3fs under a bind mount: the other goes on, and it is there again, by itself.
func TestProgramKilled(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	one, other := w.create(ctx, "one", nil), w.create(ctx, "other", nil)
	for _, b := range []*bucket{one, other} {
		w.mount(ctx, b)
		must(t, os.WriteFile(filepath.Join(b.target, "before"), []byte("text"), 0o600))
	}
	again := func(b *bucket) {
		t.Helper()
		harness.Eventually(t, "the bucket is there again", func(context.Context) error {
			_, err := os.ReadFile(filepath.Join(b.target, "before"))
			return err
		})
	}
	stop := writer(other.target)
	settle(t, other.target, 2)
	must(t, syscall.Kill(programs(t, w.dir)[one.staging], syscall.SIGKILL))
	// Whatever is seen at the target meanwhile, nothing can be written to the host.
	for range 200 {
		if err := os.WriteFile(filepath.Join(one.target, "during"), nil, 0o600); err == nil {
			break
		}
	}
	again(one)
	if n, err := stop(); err != nil {
		t.Errorf("the other mount failed after %d files: %v", n, err)
	}
	harness.Eventually(t, "the node plugin tells of it", func(context.Context) error {
		if !strings.Contains(w.driver.Log(), "restart the pods that have it") {
			return errors.New("not yet")
		}
		return nil
	})
	t.Run("both while the mounter is away", func(t *testing.T) {
		w.mounter.Kill()
		for _, pid := range programs(t, w.dir) {
			must(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		w.startMounter()
		again(one)
		again(other)
	})
	for _, b := range []*bucket{one, other} {
		w.unmount(ctx, b)
		if err := os.Remove(b.staging); err != nil {
			t.Errorf("something was written below the mount: %v", err)
		}
		must(t, w.delete(ctx, b))
	}
}
