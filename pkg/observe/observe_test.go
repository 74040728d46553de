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
	m.AWSRequest("EC2", "CreateVolume", "RequestLimitExceeded", true, time.Millisecond)
	m.AWSRequest("EC2", "CreateVolume", "InvalidParameterValue", false, time.Millisecond)
	m.AWSRequest("EC2", "CreateVolume", "", false, time.Millisecond)
	m.Batch("volumes", 7)
	m.LostMounts("d", 1, 0)
	m.UnboundedMounts("d", true)
	m.FailedFileSystems("ebs.csi.diskbridge.io", 1)
	m.WatchDetaches("ebs.csi.diskbridge.io", func() (int, time.Duration) { return 2, 90 * time.Second })
	m.WatchNode("ebs.csi.diskbridge.io", func() (int64, int64, error) { return 3, 26, nil })
	m.WatchNode("s3.csi.diskbridge.io", func() (int64, int64, error) { return 9, 9, errors.New("no sysfs") })
	addr := freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- observe.Serve(ctx, addr, m, func(ctx context.Context) error {
			if until, ok := ctx.Deadline(); !ok || time.Until(until) > 9*time.Second {
				return errors.New("kubelet waits for 10 s only, and would not learn the reason")
			}
			return errors.New("EC2 does not answer")
		})
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
		`diskbridge_aws_request_duration_seconds_count{operation="CreateVolume",outcome="throttled",service="EC2"} 1`,
		`diskbridge_aws_request_duration_seconds_count{operation="CreateVolume",outcome="error",service="EC2"} 1`,
		`diskbridge_aws_request_duration_seconds_count{operation="CreateVolume",outcome="ok",service="EC2"} 1`,
		`diskbridge_aws_requests_throttled_total{operation="CreateVolume",service="EC2"} 1`,
		`diskbridge_aws_request_errors_total{code="InvalidParameterValue",operation="CreateVolume",service="EC2"} 1`,
		`diskbridge_aws_batch_keys_sum{batch="volumes"} 7`,
		`diskbridge_pending_detaches{driver="ebs.csi.diskbridge.io"} 2`,
		`diskbridge_pending_detach_oldest_seconds{driver="ebs.csi.diskbridge.io"} 90`,
		`diskbridge_node_attached_volumes{driver="ebs.csi.diskbridge.io"} 3`,
		`diskbridge_node_attach_limit_volumes{driver="ebs.csi.diskbridge.io"} 26`,
		"process_resident_memory_bytes",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for _, m := range observe.Declared() {
		if !strings.Contains(body, "\n# TYPE "+m.Name+" "+m.Type+"\n") {
			t.Errorf("%s is declared as a %s, and not answered so", m.Name, m.Type)
		}
	}
	for _, unwanted := range []string{`code="RequestLimitExceeded"`, "s3.csi.diskbridge.io"} {
		if strings.Contains(body, unwanted) {
			t.Errorf("metrics have %s: a throttle is no error, and what cannot be read is absent", unwanted)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
