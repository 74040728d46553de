package scripts

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestRegistration plays kubelet for the real driver: what the driver announces is where it answers, and what kubelet
// refuses makes the process not ready until kubelet changes its mind.
func TestRegistration(t *testing.T) {
	dir := harness.Dir(t)
	registry, sockets, endpoint := filepath.Join(dir, "r"), filepath.Join(dir, "s"), freeAddress(t)
	driver, err := sandbox.StartDriver(t.Context(), harness.Bin(t), sandbox.EBSDriver, "node", sockets, os.Environ(),
		"--node-id=i-0123456789abcdef0", "--zone=us-east-1a", "--http-endpoint="+endpoint, "--kubelet-registration-dir="+registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := driver.Stop(ctx); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(registry); err != nil || len(left) > 0 {
			t.Errorf("left in kubelet's folder: %v, %v", left, err)
		}
	})
	conn, err := sandbox.Dial(filepath.Join(registry, sandbox.EBSDriver+"-reg.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := registerapi.NewRegistrationClient(conn)
	info, err := client.GetInfo(t.Context(), &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil || info.GetType() != "CSIPlugin" || info.GetName() != sandbox.EBSDriver || info.GetEndpoint() != driver.Socket {
		t.Fatalf("GetInfo = %v, %v; the driver answers on %s", info, err, driver.Socket)
	}
	for _, decision := range []struct {
		reason string
		status int
	}{{"", http.StatusOK}, {"the node name is wrong", http.StatusServiceUnavailable}, {"", http.StatusOK}} {
		_, err := client.NotifyRegistrationStatus(t.Context(),
			&registerapi.RegistrationStatus{PluginRegistered: decision.reason == "", Error: decision.reason}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "readyz follows kubelet", func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+endpoint+"/readyz", nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err == nil && (resp.StatusCode != decision.status || !strings.Contains(string(body), decision.reason)) {
				err = fmt.Errorf("%s: %s", resp.Status, body)
			}
			return err
		})
	}
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
