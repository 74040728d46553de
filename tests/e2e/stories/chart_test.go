package stories

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/diskbridge/diskbridge/tests/e2e/install"
)

// TestStartupTaint begins a node plugin anew on a node that shall take no pods before it is ready. It runs alone: other stories
// need the node.
func TestStartupTaint(t *testing.T) {
	s := tell(t)
	node := nodes("us-east-1a")[0]
	startup := install.Driver + "/agent-not-ready"
	s.Cleanup(func() {
		_, _ = here.Kubectl(context.Background(), "", "taint", "node", node, startup+"-", "stories/other-")
	})
	s.kubectl("taint", "node", node, startup+":NoSchedule", "stories/other:PreferNoSchedule")
	s.kubectl("-n", install.Namespace, "delete", "pod", "-l", "app.kubernetes.io/component=node", "--field-selector=spec.nodeName="+node)
	s.eventually("node without the startup taint", func(ctx context.Context) error {
		n, err := here.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var keys []string
		for _, taint := range n.Spec.Taints {
			keys = append(keys, taint.Key)
		}
		if !slices.Contains(keys, "stories/other") {
			s.Fatalf("somebody else's taint is gone: %v", keys)
		}
		if slices.Contains(keys, startup) {
			return fmt.Errorf("its taints are %v", keys)
		}
		return nil
	})
}

// TestNodeImage starts the tools of backends that need a kernel or a server which this cluster does not have.
func TestNodeImage(t *testing.T) {
	t.Parallel()
	s := tell(t)
	for tool, says := range map[string]string{"mount.nfs4 -V": "nfs-utils", "s3fs --version": "Amazon Simple Storage Service"} {
		args := append([]string{"-n", install.Namespace, "exec", "daemonset/" + install.Release + "-node", "-c", "driver", "--"}, strings.Fields(tool)...)
		if out := s.kubectl(args...); !strings.Contains(out, says) {
			s.Errorf("%s says %q, want %q", tool, out, says)
		}
	}
}

// TestNodePolicy tries with the node plugin's rights what a stolen token could try.
func TestNodePolicy(t *testing.T) {
	t.Parallel()
	s := tell(t)
	mine, other := nodes("us-east-1a")[0], nodes("us-east-1b")[0]
	as := []string{
		"--as=system:serviceaccount:" + install.Namespace + ":" + install.Release + "-node",
		"--as-user-extra=authentication.kubernetes.io/node-name=" + mine,
	}
	for _, try := range []struct {
		args []string
		why  string
	}{
		{[]string{"taint", "node", other, "stories/policy:PreferNoSchedule"}, "no other"},
		{[]string{"taint", "node", mine, "stories/policy:PreferNoSchedule"}, "may only take taints away"},
		{[]string{"label", "node", mine, "stories=policy"}, "may not change labels"},
		{[]string{"patch", "node", mine, "-p", `{"spec":{"unschedulable":true}}`}, "may not change labels, annotations or scheduling"},
		{[]string{"delete", "node", other}, "forbidden"},
		{[]string{"get", "secrets", "-A"}, "forbidden"},
	} {
		if out, err := here.Kubectl(s.Context(), "", append(try.args, as...)...); err == nil || !strings.Contains(text(err)+out, try.why) {
			s.Errorf("kubectl %s: %v %s; want %q", strings.Join(try.args, " "), text(err), out, try.why)
		}
	}
}
