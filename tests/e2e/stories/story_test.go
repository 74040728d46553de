package stories

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

// patience bounds every wait; an idle machine needs a small part of it.
const patience = 3 * time.Minute

// story is one user's namespace, and what that user does. All methods fail the test when the user would give up.
type story struct {
	*testing.T
	ns string
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// tell begins a story. At its end its namespace goes, and with it all of it in AWS.
func tell(t *testing.T) *story {
	t.Helper()
	s := &story{t, strings.Trim(notInNames.ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-"), "-")}
	s.kubectl("create", "namespace", s.ns)
	t.Cleanup(func() {
		if t.Failed() {
			s.explain()
		}
		s.end()
	})
	return s
}

// end deletes everything and looks into AWS; the test's own context is over by then.
func (s *story) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// The namespace itself takes five seconds and more, for which nobody waits.
	for _, ask := range [][]string{
		{"delete", "deployments,statefulsets,pods,volumesnapshots,persistentvolumeclaims", "--all", "--namespace=" + s.ns, "--timeout=" + patience.String()},
		{"delete", "namespace", s.ns, "--wait=false"},
	} {
		if _, err := here.Kubectl(ctx, "", ask...); err != nil {
			s.Error(err)
		}
	}
	if err := cluster.Until(ctx, "nothing in AWS", func(ctx context.Context) error { return nothingLeft(ctx, s.ns) }); err != nil {
		s.Error(err)
	}
}

// explain shows what a person would ask for first.
func (s *story) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, ask := range [][]string{
		{"get", "pvc,pods,volumesnapshots", "-n", s.ns, "-o", "wide"},
		{"get", "events", "-n", s.ns, "--sort-by=.lastTimestamp", "-o", "custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message"},
		{"logs", "-n", "kube-system", "-l", "app.kubernetes.io/component=controller", "-c", "driver", "--tail=15"},
		{"logs", "-n", "kube-system", "-l", "app.kubernetes.io/component=node", "-c", "driver", "--tail=5", "--prefix"},
	} {
		out, err := here.Kubectl(ctx, "", ask...)
		s.Logf("kubectl %s\n%s%s", strings.Join(ask[:2], " "), out, text(err))
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// kubectl runs kubectl in the story's namespace.
func (s *story) kubectl(args ...string) string {
	s.Helper()
	out, err := here.Kubectl(s.Context(), "", append([]string{"--namespace=" + s.ns}, args...)...)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// apply creates what the manifest says.
func (s *story) apply(manifests ...string) {
	s.Helper()
	if _, err := here.Kubectl(s.Context(), strings.Join(manifests, "\n---\n"), "apply", "--namespace="+s.ns, "-f", "-"); err != nil {
		s.Fatal(err)
	}
}

// manifest is one of the project's examples.
func (s *story) manifest(name string) string {
	s.Helper()
	content, err := os.ReadFile(here.Paths.Root + "/manifests/" + name)
	if err != nil {
		s.Fatal(err)
	}
	return string(content)
}

// eventually waits until there is no error.
func (s *story) eventually(what string, ask func(context.Context) error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	if err := cluster.Until(ctx, what, ask); err != nil {
		s.Fatal(err)
	}
}

// running waits until the pod runs, and returns its node.
func (s *story) running(pod string) (node string) {
	s.Helper()
	s.eventually("pod "+pod+" runs", func(ctx context.Context) error {
		p, err := here.Client.CoreV1().Pods(s.ns).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				node = p.Spec.NodeName
				return nil
			}
		}
		return fmt.Errorf("it is %s", p.Status.Phase)
	})
	return node
}

// sh runs a shell command in the pod and returns what it printed.
func (s *story) sh(pod, command string) string {
	s.Helper()
	return s.kubectl("exec", pod, "--", "sh", "-c", command)
}

// writes puts a word where it is on the disk, and not only in memory.
func (s *story) writes(pod, word string) {
	s.Helper()
	s.sh(pod, "echo "+word+" >/data/word && sync /data/word")
}

// reads checks the word.
func (s *story) reads(pod, word string) {
	s.Helper()
	if got := s.sh(pod, "cat /data/word"); got != word {
		s.Fatalf("pod %s reads %q, want %q", pod, got, word)
	}
}

// event waits for an event about the object whose message has all parts.
func (s *story) event(object string, parts ...string) {
	s.Helper()
	s.eventually("event of "+object, func(ctx context.Context) error {
		events, err := here.Client.CoreV1().Events(s.ns).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + object})
		if err != nil {
			return err
		}
		err = errors.New("there is none")
		for _, e := range events.Items {
			if err = contains(e.Message, parts); err == nil {
				return nil
			}
		}
		return err
	})
}

func contains(message string, parts []string) error {
	for _, part := range parts {
		if !strings.Contains(message, part) {
			return fmt.Errorf("no %q in %q", part, message)
		}
	}
	return nil
}

// nodes are the names of the nodes in a zone.
func nodes(zone string) (names []string) {
	for _, n := range here.Nodes {
		if n.Zone == zone {
			names = append(names, n.Name)
		}
	}
	return names
}

// claim is a PersistentVolumeClaim.
func claim(name, size string, fields ...string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: %s}}
%s`, name, size, spec(fields, "storageClassName: diskbridge-ebs"))
}

// pod is a pod with the claim at /data, which does nothing until it is told to.
func pod(name, claim string, fields ...string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\n" + podSpec(claim, fields...)
}

func podSpec(claim string, fields ...string) string {
	return fmt.Sprintf(`spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "busybox:1.37", command: [sleep, infinity], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
%s`, claim, spec(fields))
}

// spec indents further fields; those in place of which nothing is given come last.
func spec(fields []string, defaults ...string) string {
	for _, d := range defaults {
		key, _, _ := strings.Cut(d, ":")
		if !strings.Contains(strings.Join(fields, "\n"), key+":") {
			fields = append(fields, d)
		}
	}
	var out strings.Builder
	for _, f := range fields {
		out.WriteString("  " + f + "\n")
	}
	return out.String()
}

// on places a pod on a node, as a scheduler would: the volume follows.
func on(node string) string { return "nodeSelector: {kubernetes.io/hostname: " + node + "}" }
