package ebs

import (
	"maps"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// isCSITag recognises the tags that Kubernetes' EBS drivers write onto their own volumes. kubernetes.io/cluster/… and
// KubernetesCluster are not among them: manifests put those onto BOSH's disks.
func isCSITag(key string) bool {
	return key == TagVolumeName || key == "ebs.csi.aws.com/cluster" || key == DefaultDriver+"/cluster" || strings.HasPrefix(key, "kubernetes.io/created-for/")
}

// heldByKubernetes says how Kubernetes holds a disk, or "".
func heldByKubernetes(tags map[string]string) string {
	if who := tags[TagHolder]; strings.HasPrefix(who, holderKubernetes) {
		return "held by " + who
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if isCSITag(key) {
			return "Kubernetes' volume by its tag " + key + "=" + tags[key]
		}
	}
	return ""
}

// mayUse refuses what BOSH's agent would erase and what Kubernetes holds. The agent keeps a disk that has one partition
// and destroys a file system on the whole device.
func (d *Disks) mayUse(v ec2.Volume) error {
	if who := heldByKubernetes(v.Tags); who != "" {
		return fault.New(fault.InUse, opAttachDisk, v.ID,
			"the disk is %s; BOSH does not get it. Once its PersistentVolume is gone, hand it over: diskbridge release %s", who, v.ID)
	}
	switch layout := v.Tags[TagLayout]; {
	case layout == layoutBlank, layout == string(volume.LayoutBosh):
		return nil
	case layout == layoutRaw:
		return fault.New(fault.InUse, opAttachDisk, v.ID, "the disk carries a file system without a partition (%s=raw), which BOSH's agent would erase. "+
			"To convert it, copy its files onto a claim whose StorageClass says layout: bosh, and release that one to BOSH", TagLayout)
	case layout == "" && (v.Snapshot == "" && v.Source == "" || v.Tags["attached_at"] != "" && v.Tags["instance_id"] != ""):
		return nil // the AWS CPI made it
	case d.disk.AllowUnknown:
		return nil
	}
	return fault.New(fault.InUse, opAttachDisk, v.ID, "nobody knows what the disk carries (it comes from %s), and BOSH's agent would erase a file system without a partition. "+
		"If it has BOSH's partition: diskbridge convert %s --layout=bosh; to allow all such disks set diskbridge.unknown_layout to allow", origins(v), v.ID)
}

func origins(v ec2.Volume) string {
	for _, from := range []string{v.Snapshot, v.Source} {
		if from != "" {
			return from
		}
	}
	return "elsewhere"
}
