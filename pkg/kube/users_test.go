package kube

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/kube/kubetest"
)

func TestClient_WarnUsers(t *testing.T) {
	const target = "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/pv-1/mount"
	s := kubetest.New(t)
	s.Put("/api/v1/persistentvolumes/pv-1", `{"metadata":{"name":"pv-1"},"spec":{"claimRef":{"namespace":"shop","name":"claim","uid":"uid-9"}}}`)
	s.Put("/api/v1/persistentvolumes/pv-2", `{"metadata":{"name":"pv-2"},"spec":{}}`)
	s.Put("/api/v1/namespaces/shop/pods/web", `{"metadata":{"name":"web","uid":"uid-1"}}`)
	s.Put("/api/v1/namespaces/shop/pods/other", `{"metadata":{"name":"other","uid":"uid-2"}}`)
	c := open(t, s)
	if err := c.WarnUsers(t.Context(), driver, "node-1", target, "VolumeMountLost", "restart the pod"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, path := range s.Under("/api/v1/namespaces/shop/events") {
		var event corev1.Event
		s.Object(t, path, &event)
		got[event.InvolvedObject.Kind] = event.InvolvedObject.Name
		if event.Type != corev1.EventTypeWarning || event.Message != "restart the pod" || event.InvolvedObject.Namespace != "shop" {
			t.Errorf("event %+v", event)
		}
	}
	if len(got) != 2 || got["Pod"] != "web" || got["PersistentVolumeClaim"] != "claim" {
		t.Errorf("events on %v", got)
	}
	for name, path := range map[string]string{
		"no path of kubelet's": "/tmp/target", "a volume that nobody claims": strings.ReplaceAll(target, "pv-1", "pv-2"), "a volume that is gone": strings.ReplaceAll(target, "pv-1", "pv-3"),
	} {
		if err := c.WarnUsers(t.Context(), driver, "node-1", path, "r", "m"); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Hook(func(string, string) int { return http.StatusForbidden })
	if err := c.WarnUsers(t.Context(), driver, "node-1", target, "r", "m"); !fault.Is(err, fault.Denied) {
		t.Errorf("forbidden: %v", err)
	}
}
