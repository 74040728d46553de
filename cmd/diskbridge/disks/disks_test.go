package disks

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/kube/kubetest"
)

// TestOrphans_OfACluster: volumes of the cluster that no PersistentVolume has are listed, and nothing is where the cluster
// cannot be read.
func TestOrphans_OfACluster(t *testing.T) {
	server, err := emulator.Start(t.Context(), emulator.Options{Zones: []string{"us-east-1a"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	for key, value := range map[string]string{"AWS_ENDPOINT_URL": server.Endpoint(), "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"} {
		t.Setenv(key, value)
	}
	session, err := aws.NewSession(t.Context(), aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client := ec2.New(session.Config(), ec2.Options{})
	t.Cleanup(client.Close)
	made := func(cluster, claim string) string {
		v, err := client.CreateVolume(t.Context(), ec2.VolumeSpec{Zone: "us-east-1a", Type: "gp3", SizeGiB: 1, Tags: map[string]string{
			"diskbridge.io/cluster": cluster, "kubernetes.io/created-for/pvc/name": claim, "kubernetes.io/created-for/pvc/namespace": "team"}})
		if err != nil {
			t.Fatal(err)
		}
		return v.ID
	}
	bound, lost, other := made("uid-1", "bound"), made("uid-1", "lost"), made("uid-2", "other")

	api := kubetest.New(t)
	run := func(args ...string) (stdout, stderr string, status int) {
		var out, problems bytes.Buffer
		for _, c := range Commands() {
			if c.Name == "orphans" {
				status = c.Run(t.Context(), args, &out, &problems)
			}
		}
		return out.String(), problems.String(), status
	}
	kubeconfig := "--kubeconfig=" + api.Kubeconfig
	if out, problems, status := run(kubeconfig, "--older-than=0s"); status != 1 || out != "" || !strings.Contains(problems, "kube-system") {
		t.Errorf("a cluster that cannot be read: %d, %q, %q", status, out, problems)
	}
	api.Put("/api/v1/namespaces/kube-system", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"uid-1"}}`)
	api.Put("/api/v1/persistentvolumes/pv-1", fmt.Sprintf(`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pv-1"},"spec":{"csi":{"driver":"d","volumeHandle":%q}}}`, bound))
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{kubeconfig, "--older-than=0s"}, lost},
		{[]string{kubeconfig, "--older-than=0s", "--cluster-id=uid-2"}, other},
		{[]string{kubeconfig}, ""}, // all are of this moment
		{nil, ""},
	} {
		out, problems, status := run(row.args...)
		if status != 0 || problems != "" || strings.Count(out, "vol-") != len(row.want)/len(lost) || !strings.Contains(out, row.want) {
			t.Errorf("%v: %d, %q, %q; want %s", row.args, status, out, problems, row.want)
		}
	}
}
