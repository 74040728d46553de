package backend

import (
	"strings"
	"testing"
)

func TestValues_ExpandPath(t *testing.T) {
	filled := map[string]string{"csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "team-a", "csi.storage.k8s.io/pv/name": "pvc-1"}
	for _, tc := range []struct {
		text   string
		values map[string]string
		want   string
		err    string
	}{
		{"", filled, "", ""},
		{"plain/path", filled, "plain/path", ""},
		{"${.PVC.namespace}/", filled, "team-a/", ""},
		{"a/${pvc.metadata.namespace}/${pvc.metadata.name}-${pv.metadata.name}", filled, "a/team-a/data-pvc-1", ""},
		{"${.PVC.name}${.PV.name}", filled, "datapvc-1", ""},
		{"a$b{c}", filled, "a$b{c}", ""},
		{"${pvc.metadata.label}/", filled, "", "none of ${.PV.name}"},
		{"${PVC.name}", filled, "", "none of"},
		{"${.PVC.name", filled, "", "none of"},
		{"${.PVC.${.PVC.name}}", filled, "", "none of"},
		{"{{ .PVCName }}/", filled, "", "only tags"},
		{"${.PVC.name}", nil, "", "--extra-create-metadata"},
		{"${.PVC.name}", map[string]string{"csi.storage.k8s.io/pvc/name": "${.PV.name}", "csi.storage.k8s.io/pv/name": "x"}, "${.PV.name}", ""}, // no value is a pattern
		{"${.PVC.name}", map[string]string{"csi.storage.k8s.io/pvc/name": "../other"}, "", "more than one part"},
	} {
		values := Values{"key": tc.text}
		for key, value := range tc.values {
			values[key] = value
		}
		got, err := values.ExpandPath("key")
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && (!strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "parameter key")) {
			t.Errorf("%q: %q, %v", tc.text, got, err)
		}
	}
}
