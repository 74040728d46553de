//go:build chart

package chart

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/yaml"

	"github.com/diskbridge/diskbridge/pkg/backend/all"
	"github.com/diskbridge/diskbridge/tests/harness"
)

const driver = "ebs.csi.diskbridge.io"

func TestChart_Lints(t *testing.T) {
	for _, values := range []string{"values.yaml", "values-emulator.yaml"} {
		if out, problems, err := helm(t, "lint", "--strict", "--values="+values, "."); err != nil {
			t.Errorf("%s: %v\n%s%s", values, err, out, problems)
		}
	}
}

func TestChart_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, set := range []string{"colour=red", "controller.replica=3", "backends={floppy}", "logLevel=loud", "storageClasses[0].name=x", "tags.a=1\\,b", "kubeletDir=var", "s3.profiles.minio.region=x"} {
		if _, problems, err := helm(t, "template", ".", "--set", set); err == nil || !strings.Contains(problems, "schema") {
			t.Errorf("--set %s: %v\n%s", set, err, problems)
		}
	}
}

// TestKubernetes_IsRendered: deploy/kubernetes has the chart's objects, and nothing that says Helm made them.
func TestKubernetes_IsRendered(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy", "kubernetes", "diskbridge.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "Helm") || strings.Contains(string(text), "helm.sh") {
		t.Error("it says that Helm made it")
	}
	r := decode(t, text)
	if len(r.deployments) != 1 || len(r.daemonSets) != 1 || len(r.drivers) == 0 || len(r.clusterBinds) == 0 {
		t.Errorf("rendered: %+v", r)
	}
}

// TestGuide_CommandsWork renders what the guide tells an operator to install.
func TestGuide_CommandsWork(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "guides", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^\s*helm install (\S+) deploy/charts/diskbridge (.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(commands) == 0 {
		t.Fatal("the guide has no helm install")
	}
	for _, c := range commands {
		args := strings.Fields(strings.ReplaceAll(c[2], "deploy/charts/diskbridge/", "")) // helm runs there
		if _, problems, err := helm(t, append([]string{"template", c[1], "."}, args...)...); err != nil {
			t.Errorf("%s: %v\n%s", c[0], err, problems)
		}
	}
	var kustomization struct {
		Resources []string `json:"resources"`
	}
	dir := filepath.Join(harness.Root(t), "deploy", "kubernetes")
	text, err = os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &kustomization)
	}
	if err != nil || !slices.Equal(kustomization.Resources, []string{"diskbridge.yaml"}) {
		t.Errorf("kubectl apply -k applies %v (%v)", kustomization.Resources, err)
	}
}

func TestClasses_AreMadeOnRequest(t *testing.T) {
	r := render(t, `
storageClasses:
  - { name: gp3, backend: ebs, default: true, parameters: { type: gp3, encrypted: true, iops: 4000 } }
  - { name: kept, backend: ebs, reclaimPolicy: Retain, allowVolumeExpansion: false, volumeBindingMode: Immediate }
volumeSnapshotClasses: [{ name: daily, backend: ebs, deletionPolicy: Retain }]
volumeAttributesClasses: [{ name: fast, backend: ebs, parameters: { iops: "6000" } }]
`)
	gp3, kept := r.storageClasses["gp3"], r.storageClasses["kept"]
	if gp3.Provisioner != driver || *gp3.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer || !*gp3.AllowVolumeExpansion ||
		!maps.Equal(gp3.Parameters, map[string]string{"type": "gp3", "encrypted": "true", "iops": "4000"}) {
		t.Errorf("gp3 = %+v", gp3)
	}
	if _, err := all.Kinds()[0].Parameters.Decode(gp3.Parameters); err != nil {
		t.Error(err)
	}
	if *kept.ReclaimPolicy != corev1.PersistentVolumeReclaimRetain || *kept.AllowVolumeExpansion || *kept.VolumeBindingMode != storagev1.VolumeBindingImmediate {
		t.Errorf("kept = %+v", kept)
	}
	if s := r.others["VolumeSnapshotClass/daily"]; s["driver"] != driver || s["deletionPolicy"] != "Retain" {
		t.Errorf("daily = %v", s)
	}
	if a := r.attributes["fast"]; a.DriverName != driver || a.Parameters["iops"] != "6000" {
		t.Errorf("fast = %+v", a)
	}
}

func TestMetrics_AreWatched(t *testing.T) {
	r := render(t, "metrics: { serviceMonitor: { enabled: true, labels: { release: prometheus } }, prometheusRule: { enabled: true } }")
	for _, name := range []string{"ServiceMonitor/diskbridge-controller", "ServiceMonitor/diskbridge-node", "PrometheusRule/diskbridge"} {
		if r.others[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	groups := r.others["PrometheusRule/diskbridge"]["spec"].(map[string]any)["groups"].([]any)
	if len(groups) != 1 || len(groups[0].(map[string]any)["rules"].([]any)) < 5 {
		t.Errorf("groups = %v", groups)
	}
}

// TestChart_AirGapped: one value moves every image.
func TestChart_AirGapped(t *testing.T) {
	r := render(t, "imageRegistry: mirror.example:5000/hub/\nimagePullSecrets: [{name: key}]\nnode: {image: {digest: 'sha256:"+strings.Repeat("a", 64)+"'}}")
	controller, node := r.deployments["diskbridge-controller"].Spec.Template.Spec, r.daemonSets["diskbridge-node"].Spec.Template.Spec
	for _, c := range slices.Concat(controller.Containers, node.Containers) {
		if !regexp.MustCompile(`^mirror\.example:5000/hub/(sig-storage|diskbridge)/[a-z-]+[:@]\w+`).MatchString(c.Image) {
			t.Errorf("%s comes from %s", c.Name, c.Image)
		}
	}
	if controller.ImagePullSecrets[0].Name != "key" || node.ImagePullSecrets[0].Name != "key" {
		t.Error("no pull secret")
	}
}

// TestChart_TwoReleases: names differ, and what selects pods too, also where names are long.
func TestChart_TwoReleases(t *testing.T) {
	long := strings.Repeat("storage-for-teams-", 3)[:53]
	var seen []string
	for _, release := range []string{"a", "b", "diskbridge", long} {
		out, problems, err := helm(t, "template", release, ".")
		if err != nil {
			t.Fatalf("%s: %s", release, problems)
		}
		r := decode(t, []byte(out))
		names := slices.Concat(slices.Sorted(maps.Keys(r.deployments)), slices.Sorted(maps.Keys(r.clusterRoles)), slices.Sorted(maps.Keys(r.services)))
		for i, name := range names {
			if len(name) > 63 {
				t.Errorf("%s is longer than 63", name)
			}
			if i == 0 && slices.Contains(seen, name) {
				t.Errorf("%s is made by two releases", name)
			}
		}
		seen = append(seen, names...)
		for _, d := range r.deployments {
			if d.Spec.Selector.MatchLabels["app.kubernetes.io/instance"] != release {
				t.Errorf("%s selects %v", d.Name, d.Spec.Selector.MatchLabels)
			}
		}
	}
}
