package limits

import (
	"path"
	"strings"
)

// EBSModel is the model of an NVMe controller that is an EBS volume, and StoreModel that of an instance store disk:
// https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html and
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/nvme-instance-store-volumes.html
const (
	EBSModel   = "Amazon Elastic Block Store"
	StoreModel = "Amazon EC2 NVMe Instance Storage"
)

// Owner tells a driver's own disks from others by where they are mounted.
type Owner struct {
	Driver   string // its name
	PathRoot string // only this driver's and kubelet's paths are below it; "" if that is not known
	// PublishedBy names the driver of a raw volume of kubelet's, by the folder of its data; "" if it cannot be told.
	PublishedBy func(dataDir string) string
}

// kubelet's folders, relative to its root: a file system is staged in csi/<driver>/<hash>/globalmount, a raw device is
// published in csi/volumeDevices/publish/<volume>/<pod>, with the driver's name in csi/volumeDevices/<volume>/data. What a
// pod sees is below pods/<pod>/volumes and pods/<pod>/volume-subpaths, and does not say whose it is.
const (
	csiPlugins = "/plugins/kubernetes.io/csi/"
	podVolumes = "/volumes/kubernetes.io~csi/"
	podSubpath = "/volume-subpaths/"
	rawDevices = "volumeDevices"
	rawPublish = "publish"
)

// Owns reports whether a disk with these mount points is the driver's own: it is staged where only this driver stages,
// or else it is mounted below PathRoot and not staged by another.
func (o Owner) Owns(points []string) bool {
	own := false
	for _, point := range points {
		point = path.Clean(point)
		if mine, says := o.staged(point); says {
			return mine
		}
		inPod := strings.Contains(point, podVolumes) || strings.Contains(point, podSubpath)
		if o.PathRoot != "" && !inPod && strings.HasPrefix(point, strings.TrimSuffix(path.Clean(o.PathRoot), "/")+"/") {
			own = true
		}
	}
	return own
}

// staged reads a point in kubelet's folder for plugins; says is false for all others, and where it cannot be told.
func (o Owner) staged(point string) (mine, says bool) {
	root, rest, ok := strings.Cut(point, csiPlugins)
	if !ok {
		return false, false
	}
	parts := strings.Split(rest, "/")
	if parts[0] != rawDevices {
		return parts[0] == o.Driver, true
	}
	if len(parts) < 3 || parts[1] != rawPublish || o.PublishedBy == nil {
		return false, true
	}
	return o.PublishedBy(root+csiPlugins+rawDevices+"/"+parts[2]+"/data") == o.Driver, true
}
