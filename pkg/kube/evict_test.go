package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/diskbridge/diskbridge/pkg/kube/kubetest"
)

const (
	web     = "/api/v1/namespaces/shop/pods/web"
	evicted = "POST " + web + "/eviction"
	bucket  = "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/pv-1/mount"
)

// again is when the volume was there again, after the pod began.
var again = time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC)

// shop is an API server with a claim's volume and a pod that has it: its metadata beside name and UID, and its volume mount.
func shop(t *testing.T, metadata, mount string) *kubetest.Server {
	t.Helper()
	s := kubetest.New(t)
	s.Put("/api/v1/persistentvolumes/pv-1", `{"metadata":{"name":"pv-1"},"spec":{"claimRef":{"namespace":"shop","name":"claim","uid":"uid-9"}}}`)
	s.Put(web, podText("uid-1", metadata, mount))
	return s
}

func podText(uid, metadata, mount string) string {
	return fmt.Sprintf(`{"metadata":{"name":"web","namespace":"shop","uid":%q%s},"spec":{
		"volumes":[{"name":"other","emptyDir":{}},{"name":"files","persistentVolumeClaim":{"claimName":"claim"}},{"name":"own","ephemeral":{}}],
		"initContainers":[{"name":"first","volumeMounts":[{"name":"files"}]}],
		"containers":[{"name":"main","volumeMounts":[{"name":%s}]}]},
		"status":{"initContainerStatuses":[{"name":"first","state":{"terminated":{}}}],
		"containerStatuses":[{"name":"main","state":{"running":{"startedAt":"2026-01-01T12:00:00Z"}}}]}}`, uid, metadata, mount)
}

const replicated = `,"ownerReferences":[{"kind":"Team"},{"kind":"ReplicaSet","controller":true}]`

func count(s *kubetest.Server, request string) int {
	n := 0
	for _, r := range s.Requests() {
		if r == request {
			n++
		}
	}
	return n
}

func TestEvictions_OnlyWhatCannotSeeAndComesBack(t *testing.T) {
	for name, tc := range map[string]struct {
		metadata, mount string
		again           time.Time
		want            bool
	}{
		"a container that sees nothing":     {replicated, `"files"`, again, true},
		"private mounts":                    {replicated, `"files","mountPropagation":"None"`, again, true},
		"a subPath, which is mounted once":  {replicated, `"files","mountPropagation":"HostToContainer","subPath":"a"`, again, true},
		"a claim that the pod has as well":  {replicated, `"own"`, again, false},
		"mounts from the host":              {replicated, `"files","mountPropagation":"HostToContainer"`, again, false},
		"mounts to the host":                {replicated, `"files","mountPropagation":"Bidirectional"`, again, false},
		"another volume":                    {replicated, `"other"`, again, false},
		"a container restarted since":       {replicated, `"files"`, again.Add(-time.Minute), false},
		"a bare pod":                        {``, `"files"`, again, false},
		"a pod that somebody merely owns":   {`,"ownerReferences":[{"kind":"Team"}]`, `"files"`, again, false},
		"a pod of a file on the node":       {`,"ownerReferences":[{"kind":"Node","controller":true}]`, `"files"`, again, false},
		"a pod that ends":                   {replicated + `,"deletionTimestamp":"2026-01-01T12:00:31Z"`, `"files"`, again, false},
		"a pod of the same name, not of it": {replicated, `"files"`, again, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := shop(t, tc.metadata, tc.mount)
			if strings.HasPrefix(name, "a pod of the same name") {
				s.Put(web, podText("uid-2", tc.metadata, tc.mount))
			}
			if !NewEvictions(open(t, s), driver, "node-1").try(t.Context(), &attempt{loss: loss{bucket, tc.again}}) {
				t.Error("it is tried again")
			}
			if n, stays := count(s, evicted), slices.Contains(s.Under("/api/v1/namespaces/shop/pods"), web); n > 1 || n == 1 != tc.want || stays == tc.want {
				t.Errorf("%d evictions, and the pod stays: %t", n, stays)
			}
		})
	}
}

// TestEvictions_EphemeralClaim knows the claim that Kubernetes makes for a pod, by its name.
func TestEvictions_EphemeralClaim(t *testing.T) {
	s := shop(t, replicated, `"own"`)
	s.Put("/api/v1/persistentvolumes/pv-1", `{"spec":{"claimRef":{"namespace":"shop","name":"web-own"}}}`)
	if !NewEvictions(open(t, s), driver, "node-1").try(t.Context(), &attempt{loss: loss{bucket, again}}) || count(s, evicted) != 1 {
		t.Errorf("asked %v", s.Requests())
	}
}

// until has Evictions that try quickly ask for the pod's, until enough requests of a kind were made, and once more.
func until(t *testing.T, s *kubetest.Server, request string, n int) {
	t.Helper()
	e := NewEvictions(open(t, s), driver, "node-1")
	e.first, e.longest = time.Millisecond, 2*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	defer func() { cancel(); running.Wait() }()
	e.Ask(ctx, bucket, again)
	for end := time.Now().Add(time.Minute); count(s, request) < n; {
		if time.Now().After(end) {
			t.Fatalf("asked only %v", s.Requests())
		}
		e.Ask(ctx, bucket, again) // a pod and its loss are one; Run takes this when it has tried
	}
	e.Ask(ctx, bucket, again)
	e.Ask(ctx, "/nowhere", again) // the one before is done
}

// TestEvictions_Refused asks again while a PodDisruptionBudget does not allow it, says so once, and evicts once.
func TestEvictions_Refused(t *testing.T) {
	s := shop(t, replicated, `"files"`)
	s.Hook(func(method, path string) int {
		if method+" "+path == evicted && count(s, evicted) < 4 {
			return http.StatusTooManyRequests
		}
		return 0
	})
	until(t, s, evicted, 4)
	if n := count(s, evicted); n != 4 || len(s.Under("/api/v1/namespaces/shop/pods")) != 0 {
		t.Errorf("%d evictions; left are %v", n, s.Under("/api/v1/namespaces/shop/pods"))
	}
	events := s.Under("/api/v1/namespaces/shop/events")
	if len(events) != 1 {
		t.Fatalf("events %v", events)
	}
	var event corev1.Event
	s.Object(t, events[0], &event)
	if event.InvolvedObject.Name != "web" || event.Reason != "EvictionRefused" || !strings.Contains(event.Message, "PodDisruptionBudget") {
		t.Errorf("event %+v", event)
	}
}

// TestEvictions_AnotherPod does nothing to a pod that has the name by the time that the request comes.
func TestEvictions_AnotherPod(t *testing.T) {
	s := shop(t, replicated, `"files"`)
	s.Hook(func(method, path string) int {
		if method+" "+path == evicted {
			s.Put(web, podText("uid-2", replicated, `"files"`))
		}
		return 0
	})
	until(t, s, "GET /api/v1/namespaces/shop/pods", 2)
	if n, pods := count(s, evicted), s.Under("/api/v1/namespaces/shop/pods"); n != 1 || !slices.Equal(pods, []string{web}) {
		t.Errorf("%d evictions; left are %v", n, pods)
	}
	if events := s.Under("/api/v1/namespaces/shop/events"); len(events) != 0 {
		t.Errorf("events %v", events)
	}
}
