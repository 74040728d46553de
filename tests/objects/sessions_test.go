package objects

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// agent gives sessions to whoever has the token, as the agent of EKS Pod Identity does:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
type agent struct {
	url, tokenFile string
	given, refused atomic.Int32
	down           atomic.Bool
}

func newAgent(t *testing.T, dir string, server *emulator.Server, life time.Duration) *agent {
	t.Helper()
	a := &agent{tokenFile: filepath.Join(dir, "token")}
	must(t, os.WriteFile(a.tokenFile, []byte("pod-token"), 0o600))
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "pod-token" || a.down.Load() {
			a.refused.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		a.given.Add(1)
		c := server.Session(life)
		_ = json.NewEncoder(w).Encode(map[string]any{"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.Secret, "Token": c.SessionToken, "Expiration": c.Expires})
	}))
	t.Cleanup(h.Close)
	a.url = h.URL
	return a
}

// TestSessionsEndDuringWrites has a mounter with nothing but credentials that end: a minute long with DISKBRIDGE_SOAK,
// otherwise two seconds. Once there are none at all for longer than a session lives. No write fails.
func TestSessionsEndDuringWrites(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("it mounts, which needs root")
	}
	life := 2 * time.Second
	if os.Getenv("DISKBRIDGE_SOAK") != "" {
		life = time.Minute
	}
	dir := harness.Dir(t)
	server, err := emulator.Start(t.Context(), emulator.Options{S3Server: s3test.Program(t)})
	must(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	user := s3.NewFromConfig(aws.Config{Region: sandbox.Region, BaseEndpoint: aws.String(server.Endpoint()), Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	_, err = user.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket")})
	must(t, err)

	a := newAgent(t, dir, server, life)
	w := &world{tb: t, dir: dir, emulator: &sandbox.Emulator{Instances: []sandbox.Instance{{ID: "i-0123456789abcdef0", Zone: "us-east-1a"}}}}
	w.mounter, w.socket = harness.Mounter(t, dir, "m", []string{
		"AWS_REGION=" + sandbox.Region, "AWS_ENDPOINT_URL=" + server.Endpoint(), "AWS_CONTAINER_CREDENTIALS_FULL_URI=" + a.url, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + a.tokenFile,
	})
	w.startNode()
	b := &bucket{&csi.Volume{VolumeId: "s3://bucket"}, filepath.Join(dir, "s"), filepath.Join(dir, "t")}
	must(t, os.MkdirAll(b.staging, 0o755))
	must(t, errors.Join(w.stage(t.Context(), b), w.publish(t.Context(), b)))
	stop := writer(b.target)
	wait := func(d time.Duration) {
		t.Helper()
		select {
		case <-time.After(d):
		case <-t.Context().Done():
		}
	}
	wait(5 * life / 2)
	settle(t, b.target, 5)
	a.down.Store(true)
	wait(life + 2*time.Second) // the last session ends; s3fs tries for some 20 s
	a.down.Store(false)
	settle(t, b.target, 5)
	n, err := stop()
	if err != nil {
		t.Errorf("after %d files: %v", n, err)
	}
	if a.given.Load() < 3 || a.refused.Load() == 0 {
		t.Errorf("%d sessions were given, %d refused", a.given.Load(), a.refused.Load())
	}
	t.Logf("%d files, %d sessions of %s, %d questions without an answer", n, a.given.Load(), life, a.refused.Load())
	must(t, errors.Join(w.unpublish(t.Context(), b), w.unstage(t.Context(), b)))
}
