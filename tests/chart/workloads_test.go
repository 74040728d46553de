//go:build chart

package chart

import (
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/diskbridge/diskbridge/pkg/backend/all"
	"github.com/diskbridge/diskbridge/tests/harness"
)

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
		"ebs-resizer":     {"--timeout=60s", "--workers=100", "--handle-volume-inuse-error=false", "--extra-modify-metadata"},
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
	if p := budget.Spec.UnhealthyPodEvictionPolicy; p == nil || *p != policyv1.AlwaysAllow || budget.Spec.MaxUnavailable.IntValue() != 1 || !maps.Equal(budget.Spec.Selector.MatchLabels, d.Spec.Selector.MatchLabels) {
		t.Errorf("budget = %+v", budget.Spec)
	}
}

// TestController_CanBeReplaced: with the machine's ports, a new pod would wait for the old one, and the old one for the new.
func TestController_CanBeReplaced(t *testing.T) {
	if s := render(t, "").deployments["diskbridge-controller"].Spec.Strategy; s.RollingUpdate != nil {
		t.Errorf("strategy = %+v", s)
	}
	d := render(t, "controller: { hostNetwork: true }").deployments["diskbridge-controller"].Spec
	if u := d.Strategy.RollingUpdate; u == nil || u.MaxSurge.IntValue() != 0 || u.MaxUnavailable.IntValue() != 1 || d.Template.Spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet {
		t.Errorf("strategy = %+v, DNS %s", d.Strategy, d.Template.Spec.DNSPolicy)
	}
}

// TestProfiles_AreReadByNewPods: the driver reads the file when it starts.
func TestProfiles_AreReadByNewPods(t *testing.T) {
	of := func(values string) (sums []string) {
		r := render(t, "backends: [s3]\n"+values)
		for _, pod := range []corev1.PodTemplateSpec{
			r.deployments["diskbridge-controller"].Spec.Template, r.daemonSets["diskbridge-node"].Spec.Template, r.daemonSets["diskbridge-mounter"].Spec.Template,
		} {
			sums = append(sums, pod.Annotations["diskbridge.io/s3-profiles"])
		}
		return sums
	}
	const minio = "s3: { profiles: { minio: { endpoint: 'https://minio:9000', region: us-east-1 } } }"
	one, other := of(minio), of(strings.Replace(minio, "9000", "9001", 1))
	for i, sum := range of("controller: { podAnnotations: { a: b } }") {
		if sum != "" || one[i] == "" || one[i] == other[i] {
			t.Errorf("without profiles %q, with %q, with another %q", sum, one[i], other[i])
		}
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
	mounts := mountsOf(c)
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
		c := container(t, pod, "driver")
		if c.Args[0] != mode {
			t.Errorf("the first argument is %q", c.Args[0])
		}
		knows(t, c)
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
	if s := r.drivers["s3.csi.diskbridge.io"].Spec; *s.AttachRequired || *s.FSGroupPolicy != storagev1.NoneFSGroupPolicy || *s.SELinuxMount {
		t.Errorf("s3: %+v", s)
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
		if !has("provisioner") || has("snapshotter") != (kind.SnapshotParameters != nil) || has("attacher") != kind.Attach || has("resizer") != kind.Grows {
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

// TestEmulator_NeedsNoAWS: the emulator, the controller that asks it, and the node that is its instance agree.
func TestEmulator_NeedsNoAWS(t *testing.T) {
	r := render(t, "emulator: { port: 4999 }", "--values=values-emulator.yaml")
	pod := r.deployments["diskbridge-emulator"].Spec.Template.Spec
	aws := container(t, pod, "aws")
	text := help(t, "aws-emulator", "--help")
	for _, arg := range aws.Args {
		if name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "="); !regexp.MustCompile(`(?m)^\s*-` + name + `\b`).MatchString(text) {
			t.Errorf("aws-emulator has no flag --%s", name)
		}
	}
	controller := r.deployments["diskbridge-controller"].Spec.Template.Spec
	if !pod.HostNetwork || !controller.HostNetwork || !slices.Contains(aws.Args, "--listen=127.0.0.1:4999") {
		t.Errorf("the controller cannot reach the emulator: %v", aws.Args)
	}
	env := map[string]string{}
	for _, e := range container(t, controller, "driver").Env {
		env[e.Name] = e.Value
	}
	if env["AWS_ENDPOINT_URL"] != "http://127.0.0.1:4999" || env["AWS_ACCESS_KEY_ID"] == "" || env["AWS_SECRET_ACCESS_KEY"] == "" {
		t.Errorf("env = %v", env)
	}
	first := firstInstance(t, aws.Args)
	if first.Zone != env["AWS_REGION"]+"a" {
		t.Errorf("the emulator's instance is in %s, the controller looks at %s", first.Zone, env["AWS_REGION"])
	}
	node := container(t, r.daemonSets["diskbridge-node"].Spec.Template.Spec, "driver")
	tree := "/var/lib/diskbridge-emulator/instances/" + first.ID
	for _, arg := range []string{"--node-id=" + first.ID, "--zone=" + first.Zone, "--device-root=" + tree + "/dev", "--sysfs-root=" + tree + "/sys"} {
		if !slices.Contains(node.Args, arg) {
			t.Errorf("the node has no %s: %v", arg, node.Args)
		}
	}
	if r := render(t, ""); r.deployments["diskbridge-emulator"] != nil {
		t.Error("an emulator that nobody asked for")
	}
}

// instance is what the emulator says of one.
type instance struct{ ID, Zone string }

// firstInstance starts an emulator with the flags that decide about its instances, and ends it.
func firstInstance(t *testing.T, args []string) instance {
	t.Helper()
	flags := []string{"--state-dir=" + t.TempDir()}
	for _, arg := range args {
		if strings.HasPrefix(arg, "--instances=") || strings.HasPrefix(arg, "--zones=") {
			flags = append(flags, arg)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(harness.Bin(t), "aws-emulator"), flags...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var ready struct{ Instances []instance }
	err = json.NewDecoder(out).Decode(&ready)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	if err != nil || len(ready.Instances) != 1 {
		t.Fatalf("%v, %v", ready, err)
	}
	return ready.Instances[0]
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
