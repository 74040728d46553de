//go:build chart

package chart

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/diskbridge/diskbridge/pkg/config"
)

// knows fails for each argument that the program's mode does not take.
func knows(t *testing.T, c corev1.Container) {
	t.Helper()
	text := help(t, "diskbridge-csi", c.Args[0], "--help")
	for _, arg := range c.Args[1:] {
		if name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "="); !regexp.MustCompile(`(?m)^\s*-` + name + `\b`).MatchString(text) {
			t.Errorf("diskbridge-csi %s has no flag --%s", c.Args[0], name)
		}
	}
}

// mountsOf are the mounts of a container by path.
func mountsOf(c corev1.Container) map[string]corev1.VolumeMount {
	mounts := map[string]corev1.VolumeMount{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = m
	}
	return mounts
}

// TestMounter_OutlivesTheNode: no update of the chart ends it, and it may do no more than its backends need.
func TestMounter_OutlivesTheNode(t *testing.T) {
	if r := render(t, ""); r.daemonSets["diskbridge-mounter"] != nil || r.accounts["diskbridge-mounter"] != nil {
		t.Error("ebs alone needs no mounter")
	}
	if r := render(t, "backends: [efs]\nmounter: { enabled: false }"); r.daemonSets["diskbridge-mounter"] != nil {
		t.Error("a mounter that nobody wants")
	}
	for backend, privileged := range map[string]bool{"efs": false, "s3": true} {
		r := render(t, "backends: [ebs, "+backend+"]\nmounter: { serviceAccount: { annotations: { role: files } } }")
		d := r.daemonSets["diskbridge-mounter"]
		pod := d.Spec.Template.Spec
		c := container(t, pod, "mounter")
		knows(t, c)
		if d.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType || !pod.HostNetwork || pod.DNSPolicy != corev1.DNSClusterFirstWithHostNet {
			t.Errorf("%s: daemon set %+v", backend, d.Spec)
		}
		s := c.SecurityContext
		if got := s.Privileged != nil && *s.Privileged; got != privileged || !privileged && !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: %+v", backend, s)
		}
		kubelet, ok := mountsOf(c)["/var/lib/kubelet"]
		if ok != privileged || ok && *kubelet.MountPropagation != corev1.MountPropagationBidirectional {
			t.Errorf("%s: kubelet's folder is mounted as %+v", backend, kubelet)
		}
		if _, ok := mountsOf(c)["/var/cache/diskbridge"]; ok != privileged {
			t.Errorf("%s: where s3fs writes is mounted: %t", backend, ok)
		}
		if r.accounts["diskbridge-mounter"].Annotations["role"] != "files" || *pod.AutomountServiceAccountToken {
			t.Errorf("%s: account %+v", backend, r.accounts["diskbridge-mounter"])
		}
		node := r.daemonSets["diskbridge-node"].Spec.Template.Spec
		plugin := container(t, node, "driver")
		knows(t, plugin)
		if socket := "=" + mountsOf(c)["/run/diskbridge"].MountPath + "/mounter.sock"; !slices.Contains(c.Args, "--socket"+socket) ||
			!slices.Contains(plugin.Args, "--mounter-socket"+socket) || folder(pod, "sockets") == "" || folder(pod, "sockets") != folder(node, "mounter") {
			t.Errorf("%s: node %v and mounter %v do not meet", backend, plugin.Args, c.Args)
		}
		if !slices.Equal(pod.Tolerations, node.Tolerations) || pod.Affinity.NodeAffinity == nil || !slices.Equal(pod.Containers[0].Command, node.Containers[0].Command) {
			t.Errorf("%s: the mounter is on other nodes than the node plugin", backend)
		}
	}
}

// folder is the host's folder behind a pod's volume.
func folder(pod corev1.PodSpec, volume string) string {
	for _, v := range pod.Volumes {
		if v.Name == volume && v.HostPath != nil {
			return v.HostPath.Path
		}
	}
	return ""
}

// TestJanitor_MountsForItself: it is root and may mount, in the pod alone, and has the controller's account.
func TestJanitor_MountsForItself(t *testing.T) {
	if r := render(t, "backends: [efs]"); r.deployments["diskbridge-janitor"] != nil {
		t.Error("a janitor that nobody asked for")
	}
	r := render(t, "backends: [efs]\nclusterID: prod-1\njanitor: { enabled: true, encryptInTransit: true }")
	d := r.deployments["diskbridge-janitor"]
	pod := d.Spec.Template.Spec
	c := container(t, pod, "janitor")
	knows(t, c)
	s := c.SecurityContext
	if *d.Spec.Replicas != 1 || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || !pod.HostNetwork || pod.ServiceAccountName != "diskbridge-controller" {
		t.Errorf("janitor = %+v", d.Spec)
	}
	if s.Privileged != nil || !slices.Contains(s.Capabilities.Add, corev1.Capability("SYS_ADMIN")) || *s.RunAsUser != 0 || pod.SecurityContext.AppArmorProfile.Type != corev1.AppArmorProfileTypeUnconfined {
		t.Errorf("janitor may %+v", s)
	}
	for _, arg := range []string{"--cluster-id=prod-1", "--mounter-socket=/run/diskbridge/mounter.sock", "--mount-point=/run/janitor/files"} {
		if !slices.Contains(c.Args, arg) {
			t.Errorf("no %s in %v", arg, c.Args)
		}
	}
	for path, m := range mountsOf(c) {
		if m.MountPropagation != nil {
			t.Errorf("what it mounts on %s leaves the pod", path)
		}
	}
	if _, problems, err := helm(t, "template", ".", "--set", "janitor.enabled=true"); err == nil || !strings.Contains(problems, "backends has no efs") {
		t.Errorf("a janitor without efs: %v %s", err, problems)
	}
}

// TestS3_ProfilesAndSecrets: the profiles are the driver's file, and secrets are readable by name only.
func TestS3_ProfilesAndSecrets(t *testing.T) {
	r := render(t, `
backends: [s3]
s3:
  profiles: { minio: { endpoint: "https://minio.storage.svc:9000", region: us-east-1, lacks: [versions] } }
  secrets: [{ namespace: storage, names: [s3-keys] }]
`)
	data := r.others["ConfigMap/diskbridge-s3-profiles"]["data"].(map[string]any)
	profiles, err := config.ParseS3Profiles([]byte(data["profiles.yaml"].(string)))
	if err != nil || profiles["minio"].Endpoint != "https://minio.storage.svc:9000" {
		t.Errorf("profiles = %v, %v", profiles, err)
	}
	for _, c := range []corev1.Container{
		container(t, r.deployments["diskbridge-controller"].Spec.Template.Spec, "driver"),
		container(t, r.daemonSets["diskbridge-node"].Spec.Template.Spec, "driver"),
		container(t, r.daemonSets["diskbridge-mounter"].Spec.Template.Spec, "mounter"),
	} {
		knows(t, c)
		if !slices.Contains(c.Args, "--s3-profiles="+mountsOf(c)["/etc/diskbridge/s3"].MountPath+"/profiles.yaml") {
			t.Errorf("%s does not read the profiles: %v", c.Args[0], c.Args)
		}
	}
	role, bind := r.roles["diskbridge-s3-secrets"], r.binds["diskbridge-s3-secrets"]
	if rule := role.Rules[0]; len(role.Rules) != 1 || role.Namespace != "storage" || !slices.Equal(flat(rule), []string{"secrets get of s3-keys"}) {
		t.Errorf("role = %+v", role)
	}
	if bind.Namespace != "storage" || bind.Subjects[0].Name != "diskbridge-controller" || bind.Subjects[0].Namespace != "kube-system" {
		t.Errorf("binding = %+v", bind)
	}
	if r := render(t, "backends: [s3]"); r.others["ConfigMap/diskbridge-s3-profiles"] != nil || r.roles["diskbridge-s3-secrets"] != nil {
		t.Error("profiles or rights that nobody gave")
	}
}
