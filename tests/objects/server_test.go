package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// secret is like no other text on this machine.
const secret = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYzEXAMPLEKEY"

// server is an S3 server of the test's own.
type server struct {
	*sandbox.Process
	t             *testing.T
	address, data string
	secret        string // that it takes, once it is started
}

// profile is the server's name to the mounter.
const profile = "own"

func newServer(t *testing.T, dir string) *server {
	t.Helper()
	l := listen(t)
	s := &server{t: t, address: l.Addr().String(), data: filepath.Join(dir, "server"), secret: secret}
	must(t, errors.Join(l.Close(), os.MkdirAll(filepath.Join(s.data, "bucket"), 0o755)))
	s.start()
	t.Cleanup(func() { s.Kill() })
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() }) // it may be closed already
	return l
}

func (s *server) start() {
	s.t.Helper()
	p, err := sandbox.Start("versitygw", s3test.Program(s.t), []string{"--port", s.address, "--region", "us-east-1", "--quiet", "posix", s.data},
		[]string{"ROOT_ACCESS_KEY=root-key", "ROOT_SECRET_KEY=" + s.secret, "HOME=" + s.data, "PATH=" + os.Getenv("PATH")})
	must(s.t, err)
	s.Process = p
	harness.Eventually(s.t, "the server listens", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// signal sends a signal to the server, and again to a server that has it stopped when the test ends.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	must(s.t, syscall.Kill(s.PID(), sig))
}

func (s *server) profile(t *testing.T) string {
	t.Helper()
	return profiles(t, fmt.Sprintf("profiles:\n  %s:\n    endpoint: http://%s\n    region: us-east-1\n", profile, s.address))
}

// mounted is a bucket of the server's, staged with its secret and published.
func mounted(t *testing.T, w *world, flags ...string) *bucket {
	t.Helper()
	b := &bucket{&csi.Volume{VolumeId: "s3://" + profile + "@bucket"}, filepath.Join(w.dir, "s-own"), filepath.Join(w.dir, "t-own")}
	must(t, os.MkdirAll(b.staging, 0o755))
	c := withFlags(flags...)
	_, err := w.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: b.VolumeId, StagingTargetPath: b.staging, VolumeCapability: c,
		Secrets: map[string]string{"accessKeyID": "root-key", "secretAccessKey": secret}})
	must(t, err)
	_, err = w.node.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{VolumeId: b.VolumeId, StagingTargetPath: b.staging, TargetPath: b.target, VolumeCapability: c})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(w.unpublish(ctx, b), w.unstage(ctx, b)); err != nil {
			t.Error(err)
		}
	})
	return b
}

// serverWorld is a mounter and a node that know a server of the test's own.
func serverWorld(t *testing.T) (*world, *server) {
	t.Helper()
	if !harness.IsRoot() {
		t.Skip("it mounts, which needs root")
	}
	dir := harness.Dir(t)
	s := newServer(t, dir)
	w := &world{tb: t, dir: dir, args: []string{s.profile(t)}, emulator: &sandbox.Emulator{Instances: []sandbox.Instance{{ID: "i-0123456789abcdef0", Zone: "us-east-1a"}}}}
	w.startMounter()
	w.startNode()
	return w, s
}

// TestNoSecretIsSeen looks for the secret wherever others look while a bucket is mounted, and afterwards.
func TestNoSecretIsSeen(t *testing.T) {
	w, _ := serverWorld(t)
	t.Run("mounted", func(t *testing.T) {
		b := mounted(t, w)
		must(t, os.WriteFile(filepath.Join(b.target, "file"), []byte("text"), 0o600))
		for _, pattern := range []string{"cmdline", "environ", "mountinfo"} {
			files, err := filepath.Glob("/proc/[0-9]*/" + pattern)
			must(t, err)
			for _, file := range files {
				text, _ := os.ReadFile(file) // it may just have ended
				comm, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
				if bytes.Contains(text, []byte(secret)) && !strings.HasPrefix(string(comm), "versitygw") { // the server itself was told so
					t.Errorf("%s of %s shows the secret", file, comm)
				}
			}
		}
		if w.mounterShows(secret) {
			t.Error("a log shows the secret")
		}
		notes := filepath.Join(w.dir, "m", "objects")
		must(t, filepath.WalkDir(notes, func(path string, d os.DirEntry, err error) error {
			info, statErr := d.Info()
			if err = errors.Join(err, statErr); err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %s", path, info.Mode())
			}
			return err
		}))
		var fs syscall.Statfs_t
		if must(t, syscall.Statfs(notes, &fs)); fs.Type != 0x01021994 { // TMPFS_MAGIC
			t.Errorf("credentials are on a file system of type %x", fs.Type)
		}
	})
	if left, err := filepath.Glob(filepath.Join(w.dir, "m", "objects", "*")); err != nil || len(left) > 0 {
		t.Errorf("after unstaging there is %v (%v)", left, err)
	}
}

func (w *world) mounterShows(text string) bool {
	return strings.Contains(w.mounter.Log()+w.driver.Log(), text)
}

// TestServerGone kills the server under a mount and brings it back: nothing is mounted anew.
func TestServerGone(t *testing.T) {
	w, s := serverWorld(t)
	b := mounted(t, w, "retries=1", "connect_timeout=2", "readwrite_timeout=4")
	file := filepath.Join(b.target, "file")
	must(t, os.WriteFile(file, []byte("text"), 0o600))
	before := programs(t, w.dir)
	s.Kill()
	if err := os.WriteFile(filepath.Join(b.target, "lost"), []byte("text"), 0o600); err == nil {
		t.Error("a write without a server succeeded")
	}
	s.start()
	harness.Eventually(t, "files can be written again", func(context.Context) error { return os.WriteFile(file, []byte("again"), 0o600) })
	t.Run("frozen", func(t *testing.T) {
		s.signal(syscall.SIGSTOP)
		defer s.signal(syscall.SIGCONT)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		// Calls do not hang with it: what is there is still there.
		_, err := w.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: b.VolumeId, StagingTargetPath: b.staging, TargetPath: b.target, VolumeCapability: withFlags("retries=1", "connect_timeout=2", "readwrite_timeout=4")})
		must(t, err)
	})
	if after := programs(t, w.dir); len(after) != 1 || after[b.staging] != before[b.staging] {
		t.Errorf("s3fs was %v and is %v", before, after)
	}
}
