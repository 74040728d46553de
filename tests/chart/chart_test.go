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

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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
	for _, set := range []string{"colour=red", "controller.replica=3", "backends={floppy}", "logLevel=loud", "storageClasses[0].name=x", "tags.a=1\\,b", "kubeletDir=var"} {
		if _, problems, err := helm(t, "template", ".", "--set", set); err == nil || !strings.Contains(problems, "schema") {
			t.Errorf("--set %s: %v\n%s", set, err, problems)
		}
	}
}

func TestController_RunsTheDriverAndItsSidecars(t *testing.T) {
	r := render(t, "")
	d := r.deployments["diskbridge-controller"]
	pod := d.Spec.Template.Spec
	if *d.Spec.Replicas != 2 || pod.PriorityClassName != "system-cluster-critical" || pod.ServiceAccountName != "diskbridge-controller" ||
		!*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("deployment = %+v", d.Spec)
	}
	want := map[string][]string{
		"ebs-provisioner": {"--timeout=60s", "--worker-threads=100", "--extra-create-metadata", "--default-fstype=ext4"},
		"ebs-attacher":    {"--timeout=6m", "--worker-threads=100"},
		"ebs-resizer":     {"--timeout=60s", "--workers=100", "--handle-volume-inuse-error=false"},
		"ebs-snapshotter": {"--timeout=60s", "--worker-threads=100", "--extra-create-metadata"},
	}
	for name, args := range want {
		c := container(t, pod, name)
		for _, arg := range append(args, "--csi-address=/csi/"+driver+"/csi.sock", "--leader-election", "--kube-api-qps=20", "--kube-api-burst=100") {
			if !slices.Contains(c.Args, arg) {
				t.Errorf("%s has no %s: %v", name, arg, c.Args)
			}
		}
		if !strings.HasPrefix(c.Image, "registry.k8s.io/sig-storage/csi-"+strings.TrimPrefix(name, "ebs-")+":v") {
			t.Errorf("%s has image %s", name, c.Image)
		}
	}
	if len(pod.Containers) != len(want)+1 {
		t.Errorf("%d containers", len(pod.Containers))
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || c.Resources.Requests.Memory().IsZero() {
			t.Errorf("%s is not confined: %+v, %+v", c.Name, s, c.Resources)
		}
	}
	budget := r.budgets["diskbridge-controller"]
	if budget.Spec.MaxUnavailable.IntValue() != 1 || !maps.Equal(budget.Spec.Selector.MatchLabels, d.Spec.Selector.MatchLabels) {
		t.Errorf("budget = %+v", budget.Spec)
	}
}

func TestNode_MountsForOthers(t *testing.T) {
	pod := render(t, "kubeletDir: /var/lib/k0s/kubelet/").daemonSets["diskbridge-node"].Spec.Template.Spec
	c := container(t, pod, "driver")
	if !*c.SecurityContext.Privileged || !*c.SecurityContext.ReadOnlyRootFilesystem || pod.PriorityClassName != "system-node-critical" || pod.HostNetwork || pod.HostPID {
		t.Errorf("pod = %+v", pod)
	}
	const kubelet = "/var/lib/k0s/kubelet"
	for _, arg := range []string{"node", "--socket-dir=" + kubelet + "/plugins", "--kubelet-registration-dir=" + kubelet + "/plugins_registry", "--path-root=" + kubelet} {
		if !slices.Contains(c.Args, arg) {
			t.Errorf("no %s in %v", arg, c.Args)
		}
	}
	mounts := map[string]corev1.VolumeMount{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = m
	}
	if m := mounts[kubelet]; m.MountPropagation == nil || *m.MountPropagation != corev1.MountPropagationBidirectional {
		t.Errorf("kubelet's folder is mounted as %+v", m)
	}
	if mounts["/dev"].Name == "" {
		t.Errorf("devices that come later do not appear: %+v", c.VolumeMounts)
	}
	if !slices.Contains(pod.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists}) {
		t.Errorf("tolerations = %+v", pod.Tolerations)
	}
	if !c.Resources.Limits.Memory().IsZero() {
		t.Error("a memory limit would kill fsck")
	}
}

// TestDriver_KnowsItsFlags compares all flags that the chart can give with what the driver says.
func TestDriver_KnowsItsFlags(t *testing.T) {
	r := render(t, everything)
	for mode, pod := range map[string]corev1.PodSpec{
		"controller": r.deployments["diskbridge-controller"].Spec.Template.Spec,
		"node":       r.daemonSets["diskbridge-node"].Spec.Template.Spec,
	} {
		help := driverHelp(t, mode)
		c := container(t, pod, "driver")
		if c.Args[0] != mode {
			t.Errorf("the first argument is %q", c.Args[0])
		}
		for _, arg := range c.Args[1:] {
			name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if !regexp.MustCompile(`(?m)^\s*-` + name + `\b`).MatchString(help) {
				t.Errorf("diskbridge-csi %s has no flag --%s", mode, name)
			}
		}
		for _, path := range []string{c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path} {
			if path != "/healthz" && path != "/readyz" {
				t.Errorf("nobody answers at %s", path)
			}
		}
	}
}

// everything sets every value that becomes a flag of the driver.
const everything = `
clusterID: prod-1
region: eu-west-1
driverNames: { ebs: ebs.csi.aws.com }
tags: { team: storage, "cost/centre": "7 = 8" }
encryption: { byDefault: true, kmsKeyID: alias/disks }
defaultFSType: xfs
node: { volumeAttachLimit: 12 }
`

func TestDriver_GetsTheValues(t *testing.T) {
	r := render(t, everything)
	c := container(t, r.deployments["diskbridge-controller"].Spec.Template.Spec, "driver")
	for _, arg := range []string{"--cluster-id=prod-1", "--driver-names=ebs=ebs.csi.aws.com", "--tags=cost/centre=7 = 8,team=storage", "--default-encrypted", "--default-kms-key-id=alias/disks"} {
		if !slices.Contains(c.Args, arg) {
			t.Errorf("no %q in %q", arg, c.Args)
		}
	}
	if !slices.Contains(c.Env, corev1.EnvVar{Name: "AWS_REGION", Value: "eu-west-1"}) {
		t.Errorf("env = %v", c.Env)
	}
	if r.drivers["ebs.csi.aws.com"] == nil || r.drivers[driver] != nil {
		t.Errorf("drivers = %v", r.drivers)
	}
	sidecar := container(t, r.deployments["diskbridge-controller"].Spec.Template.Spec, "ebs-provisioner")
	if !slices.Contains(sidecar.Args, "--csi-address=/csi/ebs.csi.aws.com/csi.sock") || !slices.Contains(sidecar.Args, "--default-fstype=xfs") {
		t.Errorf("provisioner: %v", sidecar.Args)
	}
	if leases := r.roles["diskbridge-controller"].Rules[1].ResourceNames; !slices.Contains(leases, "external-attacher-leader-ebs-csi-aws-com") {
		t.Errorf("leases = %v", leases)
	}
}

// TestCSIDriver_IsAsDecided: every kind that the driver knows, each with its own switches; by default those of block storage.
func TestCSIDriver_IsAsDecided(t *testing.T) {
	if got := slices.Sorted(maps.Keys(render(t, "").drivers)); !slices.Equal(got, []string{driver}) {
		t.Errorf("CSIDrivers %v", got)
	}
	r := render(t, allKinds())
	var want []string
	for _, kind := range all.Kinds() {
		want = append(want, kind.Driver)
	}
	if got := slices.Sorted(maps.Keys(r.drivers)); !slices.Equal(got, want) {
		t.Errorf("CSIDrivers %v, the driver serves %v", got, want)
	}
	if s := r.drivers["efs.csi.diskbridge.io"].Spec; !*s.AttachRequired || *s.FSGroupPolicy != storagev1.NoneFSGroupPolicy || *s.SELinuxMount || s.NodeAllocatableUpdatePeriodSeconds != nil {
		t.Errorf("efs: %+v", s)
	}
	s := r.drivers[driver].Spec
	if !*s.AttachRequired || *s.FSGroupPolicy != storagev1.FileFSGroupPolicy || !*s.SELinuxMount || *s.PodInfoOnMount || *s.StorageCapacity || *s.NodeAllocatableUpdatePeriodSeconds != 60 {
		t.Errorf("spec = %+v", s)
	}
	if s := render(t, "", "--kube-version=1.32.0").drivers[driver].Spec; s.NodeAllocatableUpdatePeriodSeconds != nil {
		t.Error("Kubernetes 1.32 does not know nodeAllocatableUpdatePeriodSeconds")
	}
}

func allKinds() string { return "backends: [" + strings.Join(all.Kinds().Names(), ", ") + "]" }

// TestSidecars_FitTheKind: a sidecar ends at once where the driver lacks what it is for, and would take the pod with it.
func TestSidecars_FitTheKind(t *testing.T) {
	r := render(t, allKinds())
	pod := r.deployments["diskbridge-controller"].Spec.Template.Spec
	leases := r.roles["diskbridge-controller"].Rules[1].ResourceNames
	ports := map[int32]string{}
	for _, c := range pod.Containers {
		for _, p := range c.Ports {
			if other := ports[p.ContainerPort]; other != "" {
				t.Errorf("%s and %s both listen on %d", c.Name, other, p.ContainerPort)
			}
			ports[p.ContainerPort] = c.Name
		}
	}
	sidecars := 0
	for _, kind := range all.Kinds() {
		has := func(name string) bool {
			return slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == string(kind.Name)+"-"+name })
		}
		if !has("provisioner") || has("snapshotter") != (kind.SnapshotParameters != nil) {
			t.Errorf("the sidecars of %s do not fit", kind.Name)
		}
		for _, arg := range container(t, pod, string(kind.Name)+"-provisioner").Args {
			if kind.Name != "ebs" && strings.HasPrefix(arg, "--default-fstype") {
				t.Errorf("%s has no file systems to make: %s", kind.Name, arg)
			}
		}
		for _, name := range []string{"provisioner", "attacher", "resizer", "snapshotter"} {
			if has(name) {
				sidecars++
			}
		}
	}
	if len(leases) != sidecars || len(pod.Containers) != sidecars+1 {
		t.Errorf("%d sidecars, leases %v", sidecars, leases)
	}
	if !r.daemonSets["diskbridge-node"].Spec.Template.Spec.HostNetwork {
		t.Error("an NFS mount hangs once the network of the pod that made it is gone")
	}
	files := render(t, "backends: [efs]")
	for _, rule := range files.clusterRoles["diskbridge-controller"].Rules {
		if slices.Contains(rule.APIGroups, "snapshot.storage.k8s.io") {
			t.Errorf("without snapshots, still %v", rule)
		}
	}
}

func TestRBAC_IsLeast(t *testing.T) {
	r := render(t, "")
	var got []string
	for _, rule := range r.clusterRoles["diskbridge-controller"].Rules {
		got = append(got, flat(rule)...)
	}
	slices.Sort(got)
	want := []string{
		"csinodes.storage.k8s.io get list watch",
		"events create patch",
		"namespaces get of kube-system",
		"nodes get list watch",
		"persistentvolumeclaims get list watch update",
		"persistentvolumeclaims/status patch",
		"persistentvolumes get list watch create patch delete",
		"storageclasses.storage.k8s.io get list watch",
		"volumeattachments.storage.k8s.io get list watch patch",
		"volumeattachments.storage.k8s.io/status patch",
		"volumeattributesclasses.storage.k8s.io get list watch",
		"volumesnapshotclasses.snapshot.storage.k8s.io get list watch",
		"volumesnapshotcontents.snapshot.storage.k8s.io get list watch update patch",
		"volumesnapshotcontents.snapshot.storage.k8s.io/status update patch",
		"volumesnapshots.snapshot.storage.k8s.io get list watch update",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cluster role of the controller (- want, + got):\n%s", diff)
	}
	got = nil
	for _, rule := range r.clusterRoles["diskbridge-node"].Rules {
		got = append(got, flat(rule)...)
	}
	if diff := cmp.Diff([]string{"nodes get patch", "csinodes.storage.k8s.io get"}, got); diff != "" {
		t.Errorf("cluster role of the node (- want, + got):\n%s", diff)
	}
	if r.others["ValidatingAdmissionPolicy/diskbridge-node"] == nil || r.others["ValidatingAdmissionPolicyBinding/diskbridge-node"] == nil {
		t.Error("nothing confines the node's patches to its own Node")
	}
	lease := "ebs-csi-diskbridge-io"
	names := []string{"external-attacher-leader-" + lease, lease, "external-resizer-" + lease, "external-snapshotter-leader-" + lease}
	rules := r.roles["diskbridge-controller"].Rules
	if len(rules) != 2 || !slices.Equal(rules[0].Verbs, []string{"create"}) || !slices.Equal(rules[1].ResourceNames, names) {
		t.Errorf("role = %+v", rules)
	}
	for _, role := range r.clusterRoles {
		for _, rule := range role.Rules {
			for _, word := range append(append(rule.Verbs, rule.Resources...), rule.APIGroups...) {
				if word == "*" || word == "secrets" {
					t.Errorf("%s may %v", role.Name, rule)
				}
			}
		}
	}
	without := render(t, "sidecars: { snapshotter: { enabled: false } }")
	for _, rule := range without.clusterRoles["diskbridge-controller"].Rules {
		if slices.Contains(rule.APIGroups, "snapshot.storage.k8s.io") {
			t.Errorf("without snapshots, still %v", rule)
		}
	}
}

// flat writes a rule as one line for each resource.
func flat(rule rbacv1.PolicyRule) (lines []string) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			name, sub, _ := strings.Cut(resource, "/")
			if group != "" {
				name += "." + group
			}
			if sub != "" {
				name += "/" + sub
			}
			line := name + " " + strings.Join(rule.Verbs, " ")
			if len(rule.ResourceNames) > 0 {
				line += " of " + strings.Join(rule.ResourceNames, " ")
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func TestChart_BindsWhatItMakes(t *testing.T) {
	r := render(t, "")
	for name, b := range r.clusterBinds {
		if r.clusterRoles[b.RoleRef.Name] == nil || r.accounts[b.Subjects[0].Name] == nil || b.Subjects[0].Namespace != "kube-system" {
			t.Errorf("%s binds %v to %v", name, b.RoleRef, b.Subjects)
		}
	}
	for name, b := range r.binds {
		if r.roles[b.RoleRef.Name] == nil || r.accounts[b.Subjects[0].Name] == nil || b.Namespace != "kube-system" {
			t.Errorf("%s binds %v to %v", name, b.RoleRef, b.Subjects)
		}
	}
	for name, s := range r.services {
		pod := r.deployments["diskbridge-controller"].Spec.Template
		if strings.Contains(name, "node") {
			pod = r.daemonSets["diskbridge-node"].Spec.Template
		}
		var ports []string
		for _, c := range pod.Spec.Containers {
			for _, p := range c.Ports {
				ports = append(ports, p.Name)
				if len(p.Name) > 15 {
					t.Errorf("the port's name %s is too long", p.Name)
				}
			}
		}
		for _, p := range s.Spec.Ports {
			if !slices.Contains(ports, p.TargetPort.String()) {
				t.Errorf("%s: no container has port %s", name, p.TargetPort.String())
			}
		}
		for key, value := range s.Spec.Selector {
			if pod.Labels[key] != value {
				t.Errorf("%s selects %s=%s, the pods have %v", name, key, value, pod.Labels)
			}
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
		if _, problems, err := helm(t, append([]string{"template", c[1], "."}, strings.Fields(c[2])...)...); err != nil {
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

func TestAccounts_CarryTheRole(t *testing.T) {
	r := render(t, "controller: { serviceAccount: { annotations: { eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/disks' } } }")
	if r.accounts["diskbridge-controller"].Annotations["eks.amazonaws.com/role-arn"] == "" || len(r.accounts["diskbridge-node"].Annotations) > 0 {
		t.Errorf("accounts = %v", r.accounts)
	}
	r = render(t, "controller: { serviceAccount: { create: false, name: mine } }")
	if r.accounts["diskbridge-controller"] != nil || r.deployments["diskbridge-controller"].Spec.Template.Spec.ServiceAccountName != "mine" ||
		r.clusterBinds["diskbridge-controller"].Subjects[0].Name != "mine" {
		t.Error("the account that exists is not used")
	}
	if _, problems, err := helm(t, "template", ".", "--set", "node.serviceAccount.create=false"); err == nil || !strings.Contains(problems, "node.serviceAccount.name") {
		t.Errorf("an account without a name: %v %s", err, problems)
	}
}

func TestEmulator_NeedsNoAWS(t *testing.T) {
	r := render(t, "", "--values=values-emulator.yaml")
	c := container(t, r.deployments["diskbridge-controller"].Spec.Template.Spec, "driver")
	names := map[string]string{}
	for _, e := range c.Env {
		names[e.Name] = e.Value
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} {
		if names[name] == "" {
			t.Errorf("no %s in %v", name, c.Env)
		}
	}
	node := container(t, r.daemonSets["diskbridge-node"].Spec.Template.Spec, "driver")
	if !slices.ContainsFunc(node.Args, func(a string) bool { return strings.HasPrefix(a, "--device-root=/") }) {
		t.Errorf("node: %v", node.Args)
	}
}

// TestEnv_ReachesEveryContainer lets pods find the API server, or a proxy, in their own way.
func TestEnv_ReachesEveryContainer(t *testing.T) {
	r := render(t, "extraEnv: [{name: HTTPS_PROXY, value: 'http://proxy:3128'}]")
	pods := []corev1.PodSpec{r.deployments["diskbridge-controller"].Spec.Template.Spec, r.daemonSets["diskbridge-node"].Spec.Template.Spec}
	for _, pod := range pods {
		for _, c := range pod.Containers {
			if !slices.Contains(c.Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy:3128"}) {
				t.Errorf("%s has %v", c.Name, c.Env)
			}
		}
	}
}
