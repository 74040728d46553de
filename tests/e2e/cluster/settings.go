package cluster

import "fmt"

// inCloud is what an instance's kubelet is told beside; nothing on a machine that is in no cloud.
func (n *Node) inCloud() string {
	if n.Zone == "" {
		return ""
	}
	return "providerID: aws:///" + n.Zone + "/" + n.Name + "\n" +
		"registerWithTaints: [{key: ebs.csi.diskbridge.io/agent-not-ready, effect: NoExecute}]\n"
}

// labels are the flags that give the node the labels of an instance.
func (n *Node) labels() []string {
	if n.Zone == "" {
		return nil
	}
	return []string{"--node-labels=topology.kubernetes.io/region=" + Region + ",topology.kubernetes.io/zone=" + n.Zone + ",node.kubernetes.io/instance-type=m5.large"}
}

// settings are the node's configuration files by path.
func (n *Node) settings() map[string]string {
	return map[string]string{
		"/var/lib/e2e/kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
healthzBindAddress: 127.0.0.1
%[2]sauthentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: %[3]s}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: %[4]s
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
resolvConf: ""
evictionHard: {memory.available: 50Mi, nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%"}
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
nodeStatusUpdateFrequency: 2s
syncFrequency: 10s
`, n.ip(), n.inCloud(), n.Paths.run("pki/ca.crt"), n.cgroup()),

		"/var/lib/e2e/containerd.toml": containerd("/var/lib/containerd", "/run/containerd"),
		"/var/lib/e2e/cni/10-e2e.conflist": fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "e2e", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": false,
   "ipam": {"type": "host-local", "subnet": %q}}]}
`, n.pods()),
	}
}

// containerd is the configuration of one that keeps everything in root, and what goes with a power cut in state.
// A missing CAP_SYS_RESOURCE, as in some sandboxes, keeps runc from lowering its OOM score.
func containerd(root, state string) string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = %[2]q
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "%[2]s/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "localhost/pause:e2e"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "/var/lib/e2e/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
`, root, state)
}
