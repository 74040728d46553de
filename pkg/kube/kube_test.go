package kube

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/kube/kubetest"
)

const driver = "ebs.csi.diskbridge.io"

func open(t *testing.T, s *kubetest.Server) *Client {
	t.Helper()
	c, err := New(s.Kubeconfig, "test")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNew_WrongAccess(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("neither: YAML: nor"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{bad, bad + "-missing"} {
		if _, err := New(path, "test"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), path) {
			t.Errorf("New(%s) = %v", path, err)
		}
	}
}

func TestClient_ClusterID(t *testing.T) {
	s := kubetest.New(t)
	c := open(t, s)
	if _, err := c.ClusterID(t.Context()); !fault.Is(err, fault.NotFound) {
		t.Errorf("without the namespace: %v", err)
	}
	s.Put("/api/v1/namespaces/kube-system", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"6f0e-1"}}`)
	if id, err := c.ClusterID(t.Context()); id != "6f0e-1" || err != nil {
		t.Errorf("ClusterID = %q, %v", id, err)
	}
	for status, kind := range map[int]fault.Kind{
		http.StatusForbidden: fault.Denied, http.StatusUnauthorized: fault.Denied, http.StatusServiceUnavailable: fault.Unavailable,
	} {
		s.Hook(func(string, string) int { return status })
		if _, err := c.ClusterID(t.Context()); !fault.Is(err, kind) {
			t.Errorf("status %d: %v, want %s", status, err, kind)
		}
	}
}

func TestPatiently_AsksAgain(t *testing.T) {
	s := kubetest.New(t)
	var asked atomic.Int32
	s.Hook(func(string, string) int {
		if asked.Add(1) == 1 {
			return http.StatusInternalServerError
		}
		s.Put("/api/v1/namespaces/kube-system", `{"apiVersion":"v1","kind":"Namespace","metadata":{"uid":"u"}}`)
		return 0
	})
	if id, err := Patiently(t.Context(), open(t, s).ClusterID); id != "u" || err != nil {
		t.Errorf("Patiently = %q, %v", id, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s.Hook(func(string, string) int { return http.StatusForbidden })
	if _, err := Patiently(ctx, open(t, s).ClusterID); err == nil {
		t.Error("it answered although it could not")
	}
}

func TestClient_Node(t *testing.T) {
	s := kubetest.New(t)
	c := open(t, s)
	labels := `"labels":{"topology.kubernetes.io/zone":"us-east-1a","topology.kubernetes.io/region":"us-east-1","node.kubernetes.io/instance-type":"m5.large"}`
	for _, tc := range []struct {
		name, metadata, id string
		want               Node
		kind               fault.Kind
	}{
		{"as AWS's cloud controller writes it", labels, "aws:///us-east-1a/i-0123456789abcdef0", Node{"i-0123456789abcdef0", "us-east-1a", "us-east-1", "m5.large"}, 0},
		{"without labels", `"labels":{}`, "aws:///us-east-1b/i-0123456789abcdef0", Node{"i-0123456789abcdef0", "us-east-1b", "", ""}, 0},
		{"the instance alone", labels, "i-0123456789abcdef0", Node{"i-0123456789abcdef0", "us-east-1a", "us-east-1", "m5.large"}, 0},
		{"not known yet", labels, "", Node{}, fault.Pending},
		{"another cloud's", labels, "gce://project/zone/name", Node{}, fault.Invalid},
		{"a path", labels, "aws:///us-east-1a/../i-0123456789abcdef0", Node{}, fault.Invalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Put("/api/v1/nodes/n", fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"n",%s},"spec":{"providerID":%q}}`, tc.metadata, tc.id))
			got, err := c.Node(t.Context(), "n")
			if got != tc.want || (tc.kind == 0) != (err == nil) || err != nil && !fault.Is(err, tc.kind) {
				t.Errorf("Node = %+v, %v; want %+v, %s", got, err, tc.want, tc.kind)
			}
		})
	}
	if _, err := c.Node(t.Context(), "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such node: %v", err)
	}
}

const (
	nodePath    = "/api/v1/nodes/n"
	csiNodePath = "/apis/storage.k8s.io/v1/csinodes/n"
	startup     = `{"key":"` + driver + `/agent-not-ready","effect":"NoExecute","timeAdded":"2026-01-02T03:04:05Z"}`
	gpu         = `{"key":"gpu","value":"1","effect":"NoSchedule","invented":"later"}`
)

func putNode(s *kubetest.Server, taints ...string) {
	s.Put(nodePath, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"spec":{"taints":[`+strings.Join(taints, ",")+`]}}`)
}

func putCSINode(s *kubetest.Server, drivers ...string) {
	s.Put(csiNodePath, `{"apiVersion":"storage.k8s.io/v1","kind":"CSINode","metadata":{"name":"n"},"spec":{"drivers":[`+strings.Join(drivers, ",")+`]}}`)
}

func taintsOf(t *testing.T, s *kubetest.Server) (keys []string) {
	t.Helper()
	var node corev1.Node
	s.Object(t, nodePath, &node)
	for _, taint := range node.Spec.Taints {
		keys = append(keys, taint.Key+":"+string(taint.Effect))
	}
	return keys
}

func welcome(c *Client, giveUp time.Duration) Welcome {
	return Welcome{Client: c, Node: "n", Drivers: []string{driver}, First: time.Millisecond, Longest: 5 * time.Millisecond, GiveUp: giveUp}
}

func TestWelcome_RemovesItsOwnTaintsOnly(t *testing.T) {
	s := kubetest.New(t)
	putNode(s, startup, gpu, `{"key":"other.csi.example/agent-not-ready","effect":"NoExecute"}`, strings.Replace(startup, "NoExecute", "NoSchedule", 1))
	putCSINode(s, `{"name":"other.csi.example"}`, `{"name":"`+driver+`"}`)
	welcome(open(t, s), time.Minute).Run(t.Context())
	if got := taintsOf(t, s); !slices.Equal(got, []string{"gpu:NoSchedule", "other.csi.example/agent-not-ready:NoExecute"}) {
		t.Errorf("left: %v", got)
	}
}

// TestWelcome_WaitsForKubelet: neither a missing CSINode nor one without the driver is enough.
func TestWelcome_WaitsForKubelet(t *testing.T) {
	s := kubetest.New(t)
	putNode(s, startup)
	var looks atomic.Int32
	s.Hook(func(_, path string) int {
		if path == csiNodePath {
			switch looks.Add(1) {
			case 3:
				putCSINode(s, `{"name":"other.csi.example"}`)
			case 6:
				if len(taintsOf(t, s)) != 1 {
					t.Error("the taint went before the driver was registered")
				}
				putCSINode(s, `{"name":"`+driver+`"}`)
			}
		}
		return 0
	})
	welcome(open(t, s), time.Minute).Run(t.Context())
	if got := taintsOf(t, s); len(got) > 0 || looks.Load() != 6 {
		t.Errorf("left: %v after %d looks", got, looks.Load())
	}
}

// TestWelcome_WaitsForThisProcess: the CSINode of a node that was restarted tells of the process before.
func TestWelcome_WaitsForThisProcess(t *testing.T) {
	s := kubetest.New(t)
	putNode(s, startup)
	putCSINode(s, `{"name":"`+driver+`"}`)
	w, asked := welcome(open(t, s), time.Minute), 0
	w.Registered = func(string) bool {
		if asked++; len(taintsOf(t, s)) != 1 {
			t.Error("the taint went before this process was registered")
		}
		return asked == 3
	}
	w.Run(t.Context())
	if got := taintsOf(t, s); len(got) > 0 || asked != 3 {
		t.Errorf("left: %v after %d questions", got, asked)
	}
}

// TestWelcome_LosesNobodysTaint lets another controller change the taints between our reading and our writing, in each way.
func TestWelcome_LosesNobodysTaint(t *testing.T) {
	for name, after := range map[string][]string{
		"one is put before ours": {gpu, startup}, "one is put behind ours": {startup, gpu}, "ours is gone": {gpu},
	} {
		t.Run(name, func(t *testing.T) {
			s := kubetest.New(t)
			putNode(s, startup)
			putCSINode(s, `{"name":"`+driver+`"}`)
			var patches atomic.Int32
			s.Hook(func(method, _ string) int {
				if method == http.MethodPatch && patches.Add(1) == 1 {
					putNode(s, after...)
				}
				return 0
			})
			welcome(open(t, s), time.Minute).Run(t.Context())
			if got := taintsOf(t, s); !slices.Equal(got, []string{"gpu:NoSchedule"}) {
				t.Errorf("left: %v", got)
			}
		})
	}
}

func TestWelcome_NothingToDo(t *testing.T) {
	s := kubetest.New(t)
	putNode(s, gpu)
	putCSINode(s, `{"name":"`+driver+`"}`)
	welcome(open(t, s), time.Minute).Run(t.Context())
	for _, request := range s.Requests() {
		if strings.HasPrefix(request, http.MethodPatch) {
			t.Errorf("it wrote: %v", s.Requests())
		}
	}
}

func TestWelcome_GivesUp(t *testing.T) {
	s := kubetest.New(t)
	putNode(s, startup)
	putCSINode(s, `{"name":"`+driver+`"}`)
	s.Hook(func(method, _ string) int {
		if method == http.MethodPatch {
			return http.StatusForbidden
		}
		return 0
	})
	welcome(open(t, s), 20*time.Millisecond).Run(t.Context())
	if got := taintsOf(t, s); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	welcome(open(t, s), time.Hour).Run(ctx) // ends at once
}

func TestEvents_WarnOnTheVolume(t *testing.T) {
	s := kubetest.New(t)
	for i := range 2*pageSize + 3 {
		s.Put(fmt.Sprintf("/api/v1/persistentvolumes/pv-%04d", i), fmt.Sprintf(
			`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pv-%04d","uid":"uid-%d"},"spec":{"csi":{"driver":%q,"volumeHandle":"vol-%d"}}}`, i, i, driver, i))
	}
	s.Put("/api/v1/persistentvolumes/a-hostpath", `{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"a-hostpath"},"spec":{"hostPath":{"path":"/x"}}}`)
	e := NewEvents(open(t, s))
	w := warning{driver, "vol-1001", "VolumeKept", "it is BOSH's"}
	if err := e.write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	paths := s.Under("/api/v1/namespaces/default/events")
	if len(paths) != 1 {
		t.Fatalf("events: %v", paths)
	}
	var event corev1.Event
	s.Object(t, paths[0], &event)
	if event.InvolvedObject.Kind != "PersistentVolume" || event.InvolvedObject.Name != "pv-1001" || event.InvolvedObject.UID != "uid-1001" ||
		event.Type != corev1.EventTypeWarning || event.Reason != w.reason || event.Message != w.message || event.Source.Component != driver || event.FirstTimestamp.IsZero() {
		t.Errorf("event = %+v", event)
	}
	s.Put("/api/v1/persistentvolumes/b-in-tree", `{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"b-in-tree"},"spec":{"awsElasticBlockStore":{"volumeID":"aws://us-east-1a/vol-0"}}}`)
	handles, err := e.client.VolumeHandles(t.Context())
	if err != nil || len(handles) != 2*pageSize+4 || !slices.Contains(handles, "vol-1002") || !slices.Contains(handles, "aws://us-east-1a/vol-0") {
		t.Errorf("%d handles, %v", len(handles), err)
	}
	for handle, of := range map[string]string{"vol-9999": driver, "vol-1": "other.csi.example"} {
		if err := e.write(t.Context(), warning{of, handle, "r", "m"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s of %s: %v", handle, of, err)
		}
	}
}

// TestEvents_NeverWait: a server that hangs, and too many events, cost the caller nothing.
func TestEvents_NeverWait(t *testing.T) {
	s := kubetest.New(t)
	release := make(chan struct{})
	s.Hook(func(string, string) int { <-release; return http.StatusInternalServerError })
	e := NewEvents(open(t, s))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { e.Run(ctx); close(ended) }()
	for range 10 * eventQueue {
		e.Warn(driver, "vol-1", "r", "m")
	}
	if waiting := len(e.queue); waiting > eventBurst {
		t.Errorf("%d events wait, want at most %d", waiting, eventBurst)
	}
	stop()
	close(release)
	<-ended
}
