package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestNames mounts a prefix with what separates options of FUSE in its name: none of it becomes an option of s3fs. Names of
// files are as odd, and go with the volume.
func TestNames(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	outer := w.create(ctx, "names", nil)
	written := filepath.Join(w.dir, "written")
	p := w.create(ctx, "odd", map[string]string{"bucket": strings.TrimPrefix(outer.VolumeId, "s3://"), "basePrefix": `a b\,logfile=` + written + ",c"})
	must(t, w.stage(ctx, p))
	must(t, w.publish(ctx, p))
	for _, name := range []string{"Icon\r", "line\nfeed", `back\slash,comma`, "ü +%20"} {
		must(t, os.WriteFile(filepath.Join(p.target, name), []byte("text"), 0o600))
	}
	if _, err := os.Stat(written); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a prefix became an option: %v", err)
	}
	must(t, w.unpublish(ctx, p))
	must(t, w.unstage(ctx, p))
	must(t, w.delete(ctx, p))
	must(t, w.delete(ctx, outer))
}

// TestProgramOutlivesADrain ends a mounter that drains on a host, where programs go on: the next one lets them write again.
func TestProgramOutlivesADrain(t *testing.T) {
	w, ctx := newWorld(t, "--drain=30s"), t.Context()
	b := w.create(ctx, "outlives", nil)
	must(t, w.stage(ctx, b))
	must(t, w.publish(ctx, b))
	before := programs(t, w.dir)
	must(t, syscall.Kill(w.mounter.PID(), syscall.SIGTERM))
	select {
	case <-w.mounter.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	w.startMounter()
	harness.Eventually(t, "the bucket takes writes again", func(context.Context) error {
		return os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o600)
	})
	if after := programs(t, w.dir); len(after) != 1 || after[b.staging] != before[b.staging] {
		t.Errorf("s3fs was %v and is %v", before, after)
	}
	must(t, w.unpublish(ctx, b))
	must(t, w.unstage(ctx, b))
	must(t, w.delete(ctx, b))
}

// TestStagingTakenAway unmounts a staging path by hand, and mounts something above it, while a program writes: what it has not
// closed yet is not thrown away for that.
func TestStagingTakenAway(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "taken", nil)
	must(t, w.stage(ctx, b))
	must(t, w.publish(ctx, b))
	before := programs(t, w.dir)
	f, err := os.Create(filepath.Join(b.target, "file"))
	must(t, err)
	_, err = io.WriteString(f, "text")
	must(t, err)
	must(t, syscall.Mount("foreign", b.staging, "tmpfs", 0, "size=4k"))
	if err := w.publish(ctx, b); status.Code(err) != codes.AlreadyExists || !strings.Contains(err.Error(), "foreign") {
		t.Errorf("with another mount above: %v", err)
	}
	must(t, syscall.Unmount(b.staging, 0))
	must(t, syscall.Unmount(b.staging, syscall.MNT_DETACH))
	must(t, w.publish(ctx, b))
	must(t, w.stage(ctx, b))
	if after := programs(t, w.dir); after[b.staging] != before[b.staging] {
		t.Errorf("s3fs was %v and is %v", before, after)
	}
	must(t, f.Close())
	if got, err := os.ReadFile(filepath.Join(b.staging, "file")); err != nil || string(got) != "text" {
		t.Errorf("the file holds %q (%v)", got, err)
	}
	must(t, w.unpublish(ctx, b))
	must(t, w.unstage(ctx, b))
	must(t, w.delete(ctx, b))
}

// TestTargetThatNobodyNoted kills the mounter before it could note a target, and then s3fs: the volume can be published there.
func TestTargetThatNobodyNoted(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "unnoted", nil)
	must(t, w.stage(ctx, b))
	notes, err := filepath.Glob(filepath.Join(w.dir, "m", "objects", "*", "record.json"))
	must(t, err)
	text, err := os.ReadFile(notes[0])
	must(t, err)
	must(t, w.publish(ctx, b))
	w.mounter.Kill()
	must(t, os.WriteFile(notes[0], text, 0o600))
	must(t, syscall.Kill(programs(t, w.dir)[b.staging], syscall.SIGKILL))
	harness.Eventually(t, "s3fs is gone", func(context.Context) error {
		if pid := programs(t, w.dir)[b.staging]; pid != 0 {
			return fmt.Errorf("%d runs", pid)
		}
		return nil
	})
	w.startMounter()
	harness.Eventually(t, "the bucket is published again", func(context.Context) error { return w.publish(ctx, b) })
	must(t, os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o600))
	must(t, w.unpublish(ctx, b))
	must(t, w.unstage(ctx, b))
	must(t, w.delete(ctx, b))
}

// TestTargetLeftInTheDark kills the mounter after it had mounted a lost bucket again, and before a target saw it.
func TestTargetLeftInTheDark(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	b := w.create(ctx, "dark", nil)
	must(t, w.stage(ctx, b))
	must(t, w.publish(ctx, b))
	file := filepath.Join(b.target, "file")
	must(t, os.WriteFile(file, []byte("text"), 0o600))
	sees := func(context.Context) error {
		_, err := os.ReadFile(file)
		return err
	}
	told := func(losses int) {
		t.Helper()
		harness.Eventually(t, "the node plugin tells of it", func(context.Context) error {
			if n := strings.Count(w.driver.Log(), "restart the pods that have it"); n < losses {
				return fmt.Errorf("%d losses", n)
			}
			return nil
		})
	}
	must(t, syscall.Kill(programs(t, w.dir)[b.staging], syscall.SIGKILL))
	harness.Eventually(t, "it is there again", sees)
	told(1)
	w.mounter.Kill()
	must(t, syscall.Unmount(b.target, 0))
	if err := sees(ctx); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("the lost mount is not below: %v", err)
	}
	w.startMounter()
	harness.Eventually(t, "the target sees it", sees)
	told(2)
	must(t, w.unpublish(ctx, b))
	must(t, w.unstage(ctx, b))
	must(t, w.delete(ctx, b))
}

// TestSecretChanges stages a volume again with other keys than it has, after the server has taken those away: the program
// that runs goes on with the new ones. Wrong ones are refused, and change nothing.
func TestSecretChanges(t *testing.T) {
	w, s := serverWorld(t)
	b := mounted(t, w)
	before := programs(t, w.dir)
	stage := func(secret string) error {
		_, err := w.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: b.VolumeId, StagingTargetPath: b.staging, VolumeCapability: withFlags(),
			Secrets: map[string]string{"accessKeyID": "root-key", "secretAccessKey": secret}})
		return err
	}
	if err := stage("wrong-secret"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("with a wrong secret: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(b.target, "old"), []byte("text"), 0o600))
	s.Kill()
	s.secret = "another-secret"
	s.start()
	if err := os.WriteFile(filepath.Join(b.target, "refused"), []byte("text"), 0o600); err == nil {
		t.Error("the server still takes the old secret")
	}
	must(t, stage(s.secret))
	must(t, os.WriteFile(filepath.Join(b.target, "new"), []byte("text"), 0o600))
	if after := programs(t, w.dir); len(after) != 1 || after[b.staging] != before[b.staging] {
		t.Errorf("s3fs was %v and is %v", before, after)
	}
}
