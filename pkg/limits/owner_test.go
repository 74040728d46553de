package limits

import "testing"

func TestOwner_Owns(t *testing.T) {
	const csi = "/var/lib/kubelet/plugins/kubernetes.io/csi/"
	kubelet := Owner{Driver: "ebs.csi.diskbridge.io", PathRoot: "/var/lib/kubelet", PublishedBy: func(dir string) string {
		return map[string]string{
			csi + "volumeDevices/pvc-ours/data":   "ebs.csi.diskbridge.io",
			csi + "volumeDevices/pvc-theirs/data": "ebs.csi.aws.com",
		}[dir]
	}}
	rootless := kubelet
	rootless.PathRoot = ""
	other := Owner{Driver: "ebs.csi.diskbridge.io", PathRoot: "/srv/volumes/"}
	const pod = "/var/lib/kubelet/pods/0b1/volumes/kubernetes.io~csi/pvc-1/mount"
	for _, tc := range []struct {
		name   string
		owner  Owner
		points []string
		want   bool
	}{
		{"staged by us", kubelet, []string{csi + "ebs.csi.diskbridge.io/5f2/globalmount"}, true},
		{"staged and published by us", kubelet, []string{csi + "ebs.csi.diskbridge.io/5f2/globalmount", pod}, true},
		{"staged by us, without a root for paths", rootless, []string{pod, csi + "ebs.csi.diskbridge.io/5f2/globalmount"}, true},
		{"staged by another driver", kubelet, []string{csi + "ebs.csi.aws.com/5f2/globalmount", pod}, false},
		{"staged by a driver whose name begins as ours", kubelet, []string{csi + "ebs.csi.diskbridge.io.test/5f2/globalmount"}, false},
		{"only a pod's mount is left", kubelet, []string{pod}, false},
		{"our raw device", kubelet, []string{csi + "volumeDevices/publish/pvc-ours/0b1"}, true},
		{"another's raw device", kubelet, []string{csi + "volumeDevices/publish/pvc-theirs/0b1"}, false},
		{"a raw device of nobody", kubelet, []string{csi + "volumeDevices/publish/pvc-lost/0b1"}, false},
		{"the root volume", kubelet, []string{"/"}, false},
		{"staged by us and mounted by an administrator as well", kubelet, []string{"/mnt", csi + "ebs.csi.diskbridge.io/5f2/globalmount"}, true},
		{"staged by us, with a subpath", rootless, []string{"/var/lib/kubelet/pods/0b1/volume-subpaths/pvc-1/app/0", csi + "ebs.csi.diskbridge.io/5f2/globalmount"}, true},
		{"only a subpath is left", kubelet, []string{"/var/lib/kubelet/pods/0b1/volume-subpaths/pvc-1/app/0"}, false},
		{"mounted by nobody", kubelet, nil, false},
		{"kubelet's own disk", kubelet, []string{"/var/lib/kubelet"}, false},
		{"below the root of another orchestrator", other, []string{"/srv/volumes/a/staging", "/srv/volumes/a/target"}, true},
		{"beside it", other, []string{"/srv/volumes-old/a"}, false},
		{"anywhere, without a root for paths", rootless, []string{"/srv/volumes/a"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.owner.Owns(tc.points); got != tc.want {
				t.Errorf("Owns(%q) = %t", tc.points, got)
			}
		})
	}
}
