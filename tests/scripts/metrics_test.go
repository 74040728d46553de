package scripts

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/pkg/observe"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestMetrics lets the real driver make a volume while AWS throttles and refuses, and reads what it tells of it.
func TestMetrics(t *testing.T) {
	dir, endpoint := harness.Dir(t), freeAddress(t)
	e := harness.Emulator(t, dir)
	instance := e.Instances[0]
	instance.DeviceRoot, instance.SysfsRoot = dir, dir // a node without any disk
	driver := harness.All(t, e, instance, dir, "s", "--http-endpoint="+endpoint, "--volume-attach-limit=7", "--absence-interval=10ms",
		"--backends=ebs,s3", "--mounter-socket="+filepath.Join(dir, "none"))
	err := harness.SetFaults(t.Context(), e,
		harness.Fault{Operation: "CreateVolume", Nth: 1, Effect: "throttle"},
		harness.Fault{Operation: "DeleteVolume", Nth: 1, Effect: "refuse", Code: "UnauthorizedOperation"})
	if err != nil {
		t.Fatal(err)
	}
	client := csi.NewControllerClient(driver.Conn)
	created, err := client.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "metrics", CapacityRange: &csi.CapacityRange{RequiredBytes: 1 << 30},
		VolumeCapabilities: []*csi.VolumeCapability{{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	remove := &csi.DeleteVolumeRequest{VolumeId: created.GetVolume().GetVolumeId()}
	if _, err := client.DeleteVolume(t.Context(), remove); err == nil {
		t.Fatal("the refused DeleteVolume succeeds")
	}
	if _, err := client.DeleteVolume(t.Context(), remove); err != nil {
		t.Fatal(err)
	}
	text := scrape(t, "http://"+endpoint+"/metrics")
	for _, want := range []string{
		`diskbridge_csi_request_duration_seconds_count{code="OK",driver="ebs.csi.diskbridge.io",method="CreateVolume"} 1`,
		`diskbridge_csi_request_duration_seconds_count{code="PermissionDenied",driver="ebs.csi.diskbridge.io",method="DeleteVolume"} 1`,
		`diskbridge_aws_requests_throttled_total{operation="CreateVolume",service="EC2"} 1`,
		`diskbridge_aws_request_errors_total{code="UnauthorizedOperation",operation="DeleteVolume",service="EC2"} 1`,
		`diskbridge_aws_request_duration_seconds_count{operation="CreateVolume",outcome="ok",service="EC2"} 1`,
		`diskbridge_aws_batch_keys_count{batch="volumes"} `,
		`diskbridge_pending_detaches{driver="ebs.csi.diskbridge.io"} 0`,
		`diskbridge_node_attached_volumes{driver="ebs.csi.diskbridge.io"} 0`,
		`diskbridge_node_attach_limit_volumes{driver="ebs.csi.diskbridge.io"} 7`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	for _, m := range observe.Declared() {
		if !strings.Contains(text, "\n# TYPE "+m.Name+" "+m.Type+"\n") {
			t.Errorf("the driver does not tell %s", m.Name)
		}
	}
	if strings.Contains(text, remove.GetVolumeId()) {
		t.Error("a metric names a volume")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return string(body)
}
