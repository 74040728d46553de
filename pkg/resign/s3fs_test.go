package resign_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/pkg/resign"
)

// server is an S3 server with one bucket, and the target that names it.
func server(t *testing.T) (*emulator.Server, resign.Target) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	e, err := emulator.Start(t.Context(), emulator.Options{S3Server: s3test.Program(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	c := s3.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(e.Endpoint()), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	for _, name := range []string{"mine", "theirs"} {
		if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("mine"), Key: aws.String("prod/")}); err != nil { // as the controller does
		t.Fatal(err)
	}
	u, err := url.Parse(e.Endpoint() + "/mine")
	if err != nil {
		t.Fatal(err)
	}
	return e, resign.Target{URL: u, Region: "us-east-1", Bucket: "mine"}
}

// sessions gives sessions of the same life, and counts them. A failing one gives none.
type sessions struct {
	server  *emulator.Server
	life    time.Duration
	given   atomic.Int32
	failing atomic.Bool
}

func (s *sessions) Retrieve(context.Context) (aws.Credentials, error) {
	if s.failing.Load() {
		return aws.Credentials{}, errors.New("the token of the service account is not trusted")
	}
	s.given.Add(1)
	c := s.server.Session(s.life)
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.Secret, SessionToken: c.SessionToken, CanExpire: true, Expires: c.Expires}, nil
}

// program is a running s3fs.
type program struct {
	dir    string
	output *bytes.Buffer // to be read once it ended
	ended  chan struct{}
}

// mount runs s3fs until the test ends. ready is false where it ended before the mount could be used.
func mount(t *testing.T, door resign.Door, bucket string) (p *program, ready bool) {
	t.Helper()
	root := t.TempDir()
	keys := filepath.Join(root, "keys")
	if err := os.WriteFile(keys, []byte(door.AccessKeyID+":"+door.SecretAccessKey), 0o600); err != nil {
		t.Fatal(err)
	}
	p = &program{dir: filepath.Join(root, "mnt"), output: &bytes.Buffer{}, ended: make(chan struct{})}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("s3fs", bucket, p.dir, "-f", "-o", "passwd_file="+keys, "-o", "url="+door.URL(), //nolint:gosec // it is unmounted at the test's end
		"-o", "use_path_request_style", "-o", "endpoint=us-east-1", "-o", "retries=2", "-o", "stat_cache_expire=0")
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (.ci/install test installs s3fs)", err)
	}
	go func() {
		_ = cmd.Wait() // its output says why
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = unix.Unmount(p.dir, unix.MNT_DETACH) // it may be gone
		_ = cmd.Process.Kill()
		<-p.ended
	})
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		var at unix.Statfs_t
		if err := unix.Statfs(p.dir, &at); err == nil && at.Type == unix.FUSE_SUPER_MAGIC {
			return p, true
		}
		select {
		case <-again.C:
		case <-p.ended:
			return p, false
		}
	}
}

// life is how long sessions last: with DISKBRIDGE_SOAK a minute, as AWS's shortest are longer; otherwise two seconds.
func life() (session, test time.Duration) {
	if os.Getenv("DISKBRIDGE_SOAK") != "" {
		return time.Minute, 150 * time.Second
	}
	return 2 * time.Second, 7 * time.Second
}

func TestProxy_CredentialsEndDuringWrites(t *testing.T) {
	e, target := server(t)
	session, long := life()
	from := &sessions{server: e, life: session}
	told := reports(&target)
	p, ready := mount(t, listen(t, target, aws.NewCredentialsCache(from)).Door(), "mine")
	if !ready {
		t.Fatalf("s3fs ended: %s", p.output)
	}
	large := make([]byte, 30<<20) // goes in parts
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	files := 0
	for end := time.Now().Add(long); time.Now().Before(end); files++ {
		small := fmt.Appendf(nil, "file %d", files)
		if err := os.WriteFile(filepath.Join(p.dir, fmt.Sprint(files)), small, 0o600); err != nil {
			t.Fatalf("file %d: %v", files, err)
		}
		if files%20 != 0 {
			continue
		}
		if err := errors.Join(os.WriteFile(filepath.Join(p.dir, "large"), large, 0o600), os.Rename(filepath.Join(p.dir, "large"), filepath.Join(p.dir, "copied"))); err != nil {
			t.Fatalf("large file at %d: %v", files, err)
		}
	}
	for i := range files {
		if got, err := os.ReadFile(filepath.Join(p.dir, fmt.Sprint(i))); err != nil || string(got) != fmt.Sprintf("file %d", i) {
			t.Fatalf("file %d reads %q, %v", i, got, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(p.dir, "copied")); err != nil || !bytes.Equal(got, large) {
		t.Errorf("the large file came back with %d bytes, %v", len(got), err)
	}
	if n := from.given.Load(); n < 3 {
		t.Errorf("only %d sessions", n)
	}
	t.Logf("%d files in %d sessions of %s; tried again: %d", files, from.given.Load(), session, len(told))
}

// TestProxy_ProviderFailsForAWhile has no credentials at all for longer than a session lives.
func TestProxy_ProviderFailsForAWhile(t *testing.T) {
	e, target := server(t)
	told := reports(&target)
	from := &sessions{server: e, life: time.Second}
	p, ready := mount(t, listen(t, target, aws.NewCredentialsCache(from)).Door(), "mine")
	if !ready {
		t.Fatalf("s3fs ended: %s", p.output)
	}
	from.failing.Store(true)
	written := make(chan error, 1)
	var seen atomic.Bool
	go func() {
		var err error
		for i := 0; err == nil && !seen.Load(); i++ { // until the last session ended
			err = os.WriteFile(filepath.Join(p.dir, fmt.Sprint(i)), []byte("x"), 0o600)
		}
		written <- err
	}()
	err := <-told
	for strings.Contains(err.Error(), "ended while the request was on its way") { // a slow machine's last request of a session
		err = <-told
	}
	seen.Store(true)
	if !strings.Contains(err.Error(), "the token of the service account is not trusted") {
		t.Errorf("told %v", err)
	}
	from.failing.Store(false)
	if err := <-written; err != nil {
		t.Errorf("a write failed that only had to wait: %v", err)
	}
}

func TestProxy_MountsNothingElse(t *testing.T) {
	_, target := server(t)
	target.Prefix = "prod/"
	static := credentials.NewStaticCredentialsProvider("test", "test", "")
	proxy := listen(t, target, static)
	forged := proxy.Door()
	forged.SecretAccessKey = "guessed"
	for name, tc := range map[string]struct {
		door       resign.Door
		bucket, by string
	}{
		"wrong keys":     {forged, "mine:/prod", "invalid credentials"},
		"another bucket": {proxy.Door(), "theirs", "invalid credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			p, ready := mount(t, tc.door, tc.bucket)
			if ready {
				<-p.ended // it appears before s3fs has asked
			}
			if text := strings.ToLower(p.output.String()); !strings.Contains(text, tc.by) {
				t.Errorf("s3fs says %s", text)
			}
		})
	}
	t.Run("another prefix", func(t *testing.T) {
		p, ready := mount(t, proxy.Door(), "mine:/prod-2")
		if !ready {
			return
		}
		if err := os.WriteFile(filepath.Join(p.dir, "a"), []byte("x"), 0o600); err == nil {
			t.Error("a file was written")
		}
	})
	t.Run("its own", func(t *testing.T) {
		p, ready := mount(t, proxy.Door(), "mine:/prod")
		if !ready {
			t.Fatalf("s3fs says %s", p.output)
		}
		name := filepath.Join(p.dir, "d ü(1)'+&", "b~c=d;e@f!g*h %41")
		if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o700), os.WriteFile(name, []byte("x"), 0o600)); err != nil {
			t.Error(err)
		}
		if err := os.Rename(filepath.Dir(name), filepath.Join(p.dir, "moved")); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(filepath.Join(p.dir, "moved", filepath.Base(name))); err != nil || string(got) != "x" {
			t.Errorf("%q, %v", got, err)
		}
	})
}
