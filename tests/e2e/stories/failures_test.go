package stories

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
	"github.com/diskbridge/diskbridge/tests/e2e/install"
)

// These stories change what all share, so that none of them is parallel.

func TestFailingKMSKey(t *testing.T) {
	s := tell(t)
	const key = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-00000000dead"
	s.apply(`apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: locked}
provisioner: ebs.csi.diskbridge.io
parameters: {encrypted: "true", kmsKeyId: "` + key + `"}
volumeBindingMode: WaitForFirstConsumer`)
	s.Cleanup(func() { _, _ = here.Kubectl(context.Background(), "", "delete", "storageclass", "locked") })
	s.apply(claim("secret", "1Gi", "storageClassName: locked"), pod("writer", "secret"))
	s.event("secret", "took it back", key, "enable it, and grant the driver's role", "kms:CreateGrant")
}

func TestExhaustedQuota(t *testing.T) {
	s := tell(t)
	repair := s.fault(`[{"operation":"CreateVolume","effect":"refuse","code":"VolumeLimitExceeded"}]`)
	s.apply(claim("data", "1Gi"), pod("writer", "data"))
	s.event("data", "VolumeLimitExceeded", "ask for a higher quota of EBS in Service Quotas")
	repair()
	s.running("writer")
}

func TestNodePluginRestart(t *testing.T) {
	s := tell(t)
	s.apply(claim("data", "1Gi"), strings.Replace(pod("writer", "data"), "[sleep, infinity]",
		`[sh, -c, "while date >>/data/log; do sleep 0.2; done"]`, 1))
	node := s.running("writer")
	s.deleteDriver("component=node", "--field-selector=spec.nodeName="+node)
	lines := s.sh("writer", "wc -l </data/log")
	s.eventually("the pod writes on", func(context.Context) error {
		if now := s.sh("writer", "wc -l </data/log"); now == lines {
			return fmt.Errorf("still %s lines", now)
		}
		return nil
	})
	s.apply(claim("other", "1Gi"), pod("next", "other", on(node)))
	s.running("next")
	s.kubectl("delete", "pod", "writer")
}

func TestControllerRestart(t *testing.T) {
	s := tell(t)
	s.fault(`[{"operation":"CreateVolume","nth":1,"effect":"hold-after"}]`)
	s.apply(claim("data", "1Gi"), pod("writer", "data"))
	s.held("CreateVolume") // it is made, and the driver does not know
	s.deleteDriver("component=controller", "--grace-period=1")
	if err := cluster.Emulator(s.Context(), http.MethodPost, "release", `{"operation":"*"}`, nil); err != nil {
		s.Fatal(err)
	}
	s.running("writer")
	if disks, _, err := inAWS(s.Context(), s.ns); err != nil || len(disks) != 1 {
		s.Errorf("AWS has %v, %v for one claim", disks, err)
	}
}

// deleteDriver deletes pods of the driver and waits until others are ready in their place.
func (s *story) deleteDriver(component string, args ...string) {
	s.Helper()
	ask := func(verb ...string) string {
		out, err := here.Kubectl(s.Context(), "", slices.Concat(verb, []string{"--namespace=" + install.Namespace})...)
		if err != nil {
			s.Fatal(err)
		}
		return out
	}
	selector := "--selector=app.kubernetes.io/" + component
	ask(append([]string{"delete", "pods", selector}, args...)...)
	for _, kind := range []string{"deployment", "daemonset"} {
		if name := strings.TrimSpace(ask("get", kind, selector, "-o", "name")); name != "" {
			ask("rollout", "status", name, "--timeout="+patience.String())
		}
	}
}

func TestNodeLost(t *testing.T) {
	s := tell(t)
	controller, err := here.Client.CoreV1().Pods(install.Namespace).List(s.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=controller"})
	if err != nil {
		s.Fatal(err)
	}
	there := slices.DeleteFunc(nodes("us-east-1a"), func(n string) bool { return n == controller.Items[0].Spec.NodeName })
	lost := here.Nodes[slices.IndexFunc(here.Nodes, func(n *cluster.Node) bool { return n.Name == there[0] })]

	// Only the node that will be lost takes pods until db-0 runs there.
	for _, n := range here.Nodes {
		if n != lost {
			s.kubectl("cordon", n.Name)
			s.Cleanup(func() { _, _ = here.Kubectl(context.Background(), "", "uncordon", n.Name) })
		}
	}
	s.apply(claim("data", "1Gi"), `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
`+indent(podSpec("data", "nodeSelector: {topology.kubernetes.io/zone: us-east-1a}")))
	if node := s.running("db-0"); node != lost.Name {
		s.Fatalf("db-0 runs on %s, want %s", node, lost.Name)
	}
	for _, n := range here.Nodes {
		if n != lost {
			s.kubectl("uncordon", n.Name)
		}
	}
	s.writes("db-0", "survived")

	if err := lost.Stop(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.restart(lost) })
	s.eventually("the node is lost", func(ctx context.Context) error {
		node, err := here.Client.CoreV1().Nodes().Get(ctx, lost.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == "Ready" && c.Status != "True" }) {
			return errors.New("it is ready")
		}
		return nil
	})
	s.kubectl("taint", "node", lost.Name, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
	s.eventually("the pod moves", func(ctx context.Context) error {
		p, err := here.Client.CoreV1().Pods(s.ns).Get(ctx, "db-0", metav1.GetOptions{})
		if err == nil && (p.Spec.NodeName == lost.Name || p.Status.Phase != corev1.PodRunning) {
			err = fmt.Errorf("it is %s on %s", p.Status.Phase, p.Spec.NodeName)
		}
		return err
	})
	node := s.running("db-0")
	s.reads("db-0", "survived")
	if holders := s.disk("data").holders(); fmt.Sprint(holders) != fmt.Sprint([]string{node}) {
		s.Errorf("the volume is attached to %v, want %s alone", holders, node)
	}
}

func indent(yaml string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(yaml), "\n", "\n    ")
}

// restart gives a lost node its power back.
func (s *story) restart(n *cluster.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := here.Kubectl(ctx, "", "taint", "node", n.Name, "node.kubernetes.io/out-of-service-")
	if err != nil {
		s.Log(err) // it may not have come so far
	}
	if err := here.Restart(ctx, n); err != nil {
		s.Error(err)
	}
}
