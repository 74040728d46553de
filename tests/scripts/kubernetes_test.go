package scripts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/kube/kubetest"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// maxIdle bounds a driver that has talked to Kubernetes and rests, in MiB.
const maxIdle = 35

// TestKubernetes_Controller takes the cluster's identity for its tags, and tells users by an event what it kept.
func TestKubernetes_Controller(t *testing.T) {
	dir := harness.Dir(t)
	cluster, e := kubetest.New(t), harness.Emulator(t, dir, "--instances=1")
	cluster.Put("/api/v1/namespaces/kube-system", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"0b1c-the-cluster"}}`)
	driver := harness.Controller(t, e, dir, "c", "--kubeconfig="+cluster.Kubeconfig)
	controller := csi.NewControllerClient(driver.Conn)

	config := aws.Config{Region: sandbox.Region, BaseEndpoint: &e.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	foreign, err := ec2.NewFromConfig(config).CreateVolume(t.Context(), &ec2.CreateVolumeInput{
		AvailabilityZone: &e.Instances[0].Zone, Size: aws.Int32(10), VolumeType: "gp3",
	})
	if err != nil {
		t.Fatal(err)
	}
	ours, adopted := create(t, controller, e.Instances[0].Zone, nil), create(t, controller, e.Instances[0].Zone, map[string]string{"existingResourceId": *foreign.VolumeId})
	if adopted != *foreign.VolumeId {
		t.Fatalf("adopted %s, not %s", adopted, *foreign.VolumeId)
	}
	truth, err := harness.ReadTruth(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range truth.Volumes {
		if v.Tags["diskbridge.io/cluster"] != "0b1c-the-cluster" {
			t.Errorf("%s has tags %v", v.ID, v.Tags)
		}
	}
	cluster.Put("/api/v1/persistentvolumes/pvc-b", fmt.Sprintf(
		`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pvc-b"},"spec":{"csi":{"driver":%q,"volumeHandle":%q}}}`, sandbox.EBSDriver, adopted))
	for _, id := range []string{ours, adopted} {
		if _, err := controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
			t.Fatal(err)
		}
	}
	events := "/api/v1/namespaces/default/events"
	harness.Eventually(t, "an event on the volume that was kept", func(context.Context) error {
		if len(cluster.Under(events)) == 0 {
			return errors.New("no event")
		}
		return nil
	})
	var event corev1.Event
	cluster.Object(t, cluster.Under(events)[0], &event)
	if event.InvolvedObject.Name != "pvc-b" || event.Type != corev1.EventTypeWarning || !strings.Contains(event.Message, adopted) {
		t.Errorf("event = %+v", event)
	}
	if n := len(cluster.Under(events)); n != 1 {
		t.Errorf("%d events", n)
	}
	wantIdle(t, driver.PID())
}

// create makes a volume, named after the parameters, and returns its handle.
func create(t *testing.T, controller csi.ControllerClient, zone string, parameters map[string]string) string {
	t.Helper()
	made, err := controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: fmt.Sprint("pvc-", len(parameters)), Parameters: parameters,
		CapacityRange: &csi.CapacityRange{RequiredBytes: 10 << 30},
		VolumeCapabilities: []*csi.VolumeCapability{{
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		}},
		AccessibilityRequirements: &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"topology.kubernetes.io/zone": zone}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return made.GetVolume().GetVolumeId()
}

// TestKubernetes_Region: where neither a flag, nor the SDK, nor metadata knows the region, the Node object does.
func TestKubernetes_Region(t *testing.T) {
	dir := harness.Dir(t)
	cluster, e := kubetest.New(t), harness.Emulator(t, dir, "--instances=1")
	cluster.Put("/api/v1/nodes/n", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","labels":{"topology.kubernetes.io/region":"us-east-1"}},"spec":{"providerID":"aws:///us-east-1a/i-0123456789abcdef0"}}`)
	env := slices.DeleteFunc(e.CloudEnv(), func(v string) bool { return strings.HasPrefix(v, "AWS_REGION=") })
	driver, err := sandbox.StartDriver(t.Context(), harness.Bin(t), sandbox.EBSDriver, "controller", filepath.Join(dir, "c"), append(env, "HOME="+dir),
		"--kubeconfig="+cluster.Kubeconfig, "--node-name=n", "--cluster-id=x")
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestKubernetes_Node: without instance metadata, the Node object says which machine this is, once it does; and the startup
// taint goes when kubelet shows the driver.
func TestKubernetes_Node(t *testing.T) {
	dir, cluster := harness.Dir(t), kubetest.New(t)
	const node = `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","labels":{"topology.kubernetes.io/zone":"us-east-1b"}},"spec":{%s
		"taints":[{"key":"gpu","effect":"NoSchedule"},{"key":"ebs.csi.diskbridge.io/agent-not-ready","effect":"NoExecute"}]}}`
	cluster.Put("/api/v1/nodes/n", fmt.Sprintf(node, "")) // the cloud controller was not here yet
	asked := make(chan struct{}, 1)
	cluster.Hook(func(_, path string) int {
		select {
		case asked <- struct{}{}:
			t.Log("first asked for", path)
		default:
			cluster.Hook(nil)
			cluster.Put("/api/v1/nodes/n", fmt.Sprintf(node, `"providerID":"aws:///us-east-1b/i-0123456789abcdef0",`))
		}
		return 0
	})
	driver, err := sandbox.StartDriver(t.Context(), harness.Bin(t), sandbox.EBSDriver, "node", filepath.Join(dir, "s"),
		append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true"), "--kubeconfig="+cluster.Kubeconfig, "--node-name=n", "--kubelet-registration-dir="+filepath.Join(dir, "r"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := driver.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	info, err := csi.NewNodeClient(driver.Conn).NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	if err != nil || info.GetNodeId() != "i-0123456789abcdef0" || info.GetAccessibleTopology().GetSegments()["topology.kubernetes.io/zone"] != "us-east-1b" {
		t.Fatalf("NodeGetInfo = %v, %v", info, err)
	}
	var object corev1.Node
	if cluster.Object(t, "/api/v1/nodes/n", &object); len(object.Spec.Taints) != 2 {
		t.Errorf("too early: %v", object.Spec.Taints)
	}
	cluster.Put("/apis/storage.k8s.io/v1/csinodes/n", `{"apiVersion":"storage.k8s.io/v1","kind":"CSINode","metadata":{"name":"n"},"spec":{"drivers":[{"name":"ebs.csi.diskbridge.io"}]}}`)
	kubelet, err := sandbox.Dial(filepath.Join(dir, "r", sandbox.EBSDriver+"-reg.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer kubelet.Close()
	if _, err := registerapi.NewRegistrationClient(kubelet).NotifyRegistrationStatus(t.Context(),
		&registerapi.RegistrationStatus{PluginRegistered: true}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the startup taint goes, and no other", func(context.Context) error {
		var object corev1.Node
		cluster.Object(t, "/api/v1/nodes/n", &object)
		if len(object.Spec.Taints) != 1 || object.Spec.Taints[0].Key != "gpu" {
			return fmt.Errorf("taints: %v", object.Spec.Taints)
		}
		return nil
	})
	wantIdle(t, driver.PID())
}

// wantIdle reads how much memory a process has, as /proc says it.
func wantIdle(t *testing.T, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	kib := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if kib == nil {
		t.Fatalf("no VmRSS in %s", text)
	}
	n, err := strconv.Atoi(string(kib[1]))
	t.Logf("resident memory: %d KiB", n)
	if err != nil || n > maxIdle<<10 {
		t.Errorf("resident memory is %d KiB (%v), want at most %d MiB", n, err, maxIdle)
	}
}
