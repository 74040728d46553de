package stories

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

// budget lets no uploader be evicted.
const budget = `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: uploaders}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: uploaders}}}`

// TestBucket lets two pods on two nodes write into one bucket while the node plugins go, and kills the s3fs of one of them,
// which a budget keeps from being evicted.
func TestBucket(t *testing.T) {
	s := tell(t)
	s.apply(s.manifest("storageclass-s3.yaml"))
	s.apply(s.manifest("pod-s3.yaml"), budget)
	if handle := s.bound("bucket"); !strings.HasPrefix(handle, "s3://my-company-") {
		s.Errorf("the volume is %s", handle)
	}
	pods := s.pods("app=uploaders", 2)
	for _, p := range pods {
		s.running(p.name)
	}
	if pods[0].node == pods[1].node {
		s.Fatalf("both pods are on %s", pods[0].node)
	}
	s.eventually("each pod sees what the other writes", func(context.Context) error {
		for _, p := range pods {
			for _, other := range pods {
				if s.objects(p.name, other.name) == 0 {
					return fmt.Errorf("%s sees nothing of %s", p.name, other.name)
				}
			}
		}
		return nil
	})

	s.deleteDriver("component=node")
	s.writesOn(pods)
	for _, p := range pods {
		if lost := s.kubectl("logs", p.name); lost != "" {
			s.Errorf("%s lost writes while the node plugins were away: %s", p.name, lost)
		}
	}

	victim := pods[0]
	s.killBucket(victim.node)
	for _, object := range []string{victim.name, "bucket"} {
		s.event(object, "the program that mounts s3://my-company-", "ended and was started again", "restart the pod")
	}
	s.event(victim.name, "it was to be evicted", "PodDisruptionBudget")
	s.event(victim.name, "Liveness probe failed")
	s.eventually("kubelet restarts the container", func(context.Context) error {
		if n := s.restarts(victim.name); n == 0 {
			return errors.New("it has not")
		}
		return nil
	})
	s.writesOn(pods)
	if n := s.restarts(pods[1].name); n > 0 {
		s.Errorf("the pod on the other node was restarted %d times", n)
	}
	s.kubectl("delete", "-f", here.Paths.Root+"/manifests/pod-s3.yaml")
}

// TestBucket_Evicted has a container that nothing restarts when its s3fs is killed: its pod gives way to another.
func TestBucket_Evicted(t *testing.T) {
	s := tell(t)
	s.apply(s.manifest("storageclass-s3.yaml"))
	head, rest, _ := strings.Cut(s.manifest("pod-s3.yaml"), "          livenessProbe:")
	_, volumes, found := strings.Cut(rest, "      volumes:")
	if !found {
		s.Fatal("pod-s3.yaml has no probe before its volumes")
	}
	s.apply(strings.Replace(head, "replicas: 2", "replicas: 1", 1) + "      volumes:" + volumes)
	blind := s.pods("app=uploaders", 1)[0]
	s.running(blind.name)
	s.killBucket(blind.node)
	var next []placed
	s.eventually("another pod takes its place", func(context.Context) error {
		if next = s.pods("app=uploaders", 1); next[0].name == blind.name {
			return errors.New("it is still there")
		}
		return nil
	})
	s.running(next[0].name)
	s.writesOn(next)
	if s.objects(next[0].name, blind.name) == 0 {
		s.Error("what the first pod wrote is gone")
	}
	s.kubectl("delete", "deployment,pvc", "--all")
}

// TestBucket_SeenAgain has a container that takes mounts from the host, and needs no restart when its s3fs is killed.
func TestBucket_SeenAgain(t *testing.T) {
	s := tell(t)
	s.apply(s.manifest("storageclass-s3.yaml"))
	s.apply(strings.NewReplacer("mountPath: /bucket }", "mountPath: /bucket, mountPropagation: HostToContainer }", "replicas: 2", "replicas: 1").Replace(s.manifest("pod-s3.yaml")))
	pods := s.pods("app=uploaders", 1)
	s.running(pods[0].name)
	s.killBucket(pods[0].node)
	s.writesOn(pods)
	if n := s.restarts(pods[0].name); n > 0 {
		s.Errorf("the container was restarted %d times", n)
	}
	s.kubectl("delete", "deployment,pvc", "--all")
}

// killBucket kills the node's s3fs, and waits until there is another.
func (s *story) killBucket(node string) {
	s.Helper()
	pid := s.process(node, "s3fs")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.Fatal(err)
	}
	s.eventually("s3fs runs again", func(context.Context) error {
		if again := s.process(node, "s3fs"); again == pid {
			return errors.New("it has not ended yet")
		}
		return nil
	})
}

// restarts is how often the pod's container was restarted.
func (s *story) restarts(pod string) int {
	s.Helper()
	number, err := strconv.Atoi(s.kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"))
	if err != nil {
		s.Fatal(err)
	}
	return number
}

// buckets are those in AWS.
func buckets(ctx context.Context) ([]string, error) {
	var state struct {
		Buckets []string `json:"buckets"`
	}
	err := cluster.Emulator(ctx, http.MethodGet, "state", "", &state)
	return state.Buckets, err
}

// objects is how many objects of a writer the pod sees.
func (s *story) objects(pod, writer string) int {
	s.Helper()
	number, err := strconv.Atoi(s.sh(pod, "ls /bucket | grep -c ^"+writer+"- || true"))
	if err != nil {
		s.Fatal(err)
	}
	return number
}

// writesOn waits until each pod has written more.
func (s *story) writesOn(pods []placed) {
	s.Helper()
	for _, p := range pods {
		before := -1
		s.eventually(p.name+" writes on", func(ctx context.Context) error {
			out, err := here.Kubectl(ctx, "", "--namespace="+s.ns, "exec", p.name, "--", "sh", "-c", "ls /bucket | grep -c ^"+p.name+"-")
			if err != nil {
				return err
			}
			now, err := strconv.Atoi(strings.TrimSpace(out))
			if err != nil {
				return err
			}
			if before < 0 {
				before = now
			}
			if now <= before {
				return fmt.Errorf("it has still written %d objects", now)
			}
			return nil
		})
	}
}

// process waits for a program on a node, and returns its number as this process sees it.
func (s *story) process(node, name string) (pid int) {
	s.Helper()
	n := here.Nodes[slices.IndexFunc(here.Nodes, func(n *cluster.Node) bool { return n.Name == node })]
	s.eventually(name+" runs on "+node, func(context.Context) error {
		files, err := filepath.Glob("/proc/[0-9]*/comm")
		for _, file := range files {
			comm, wrong := os.ReadFile(file)
			if wrong != nil || strings.TrimSpace(string(comm)) != name {
				continue // it has ended, or is another
			}
			number := strings.Split(file, "/")[2]
			if n.Runs(number) {
				pid, err = strconv.Atoi(number)
				return err
			}
		}
		return errors.Join(err, errors.New("it does not"))
	})
	return pid
}
