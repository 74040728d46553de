package observe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/observe"
)

// freePort returns an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue // the server is about to listen
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read to the end
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
}

func TestServe_MetricsHealthAndReadiness(t *testing.T) {
	m := observe.NewMetrics()
	m.RPC("ebs.csi.diskbridge.io", "CreateVolume", "OK", 20*time.Millisecond)
	m.AWSRequest("EC2", "CreateVolume", "RequestLimitExceeded", time.Millisecond)
	addr := freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- observe.Serve(ctx, addr, m, func(context.Context) error { return errors.New("EC2 does not answer") })
	}()
	if code, _ := get(t, "http://"+addr+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d", code)
	}
	if code, body := get(t, "http://"+addr+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "EC2 does not answer") {
		t.Errorf("readyz %d %q", code, body)
	}
	_, body := get(t, "http://"+addr+"/metrics")
	for _, want := range []string{
		`diskbridge_csi_request_duration_seconds_count{code="OK",driver="ebs.csi.diskbridge.io",method="CreateVolume"} 1`,
		`diskbridge_aws_request_duration_seconds_count{code="RequestLimitExceeded",operation="CreateVolume",service="EC2"} 1`,
		"process_resident_memory_bytes",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
