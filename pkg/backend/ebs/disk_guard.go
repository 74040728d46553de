package ebs

import (
	"context"
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

// layoutOf is what a disk carries, as far as its tags say so, or those of the snapshot or disk that it was made from.
func (d *Disks) layoutOf(ctx context.Context, v ec2.Volume) (string, error) {
	switch {
	case v.Tags[TagLayout] != "" || usedByBosh(v):
		return v.Tags[TagLayout], nil
	case v.Snapshot != "":
		s, _, err := d.api.Snapshot(ctx, v.Snapshot)
		return s.Tags[TagLayout], fault.Wrap(opAttachDisk, v.ID, err)
	case v.Source != "":
		source, _, err := d.api.Volume(ctx, v.Source)
		return source.Tags[TagLayout], fault.Wrap(opAttachDisk, v.ID, err)
	}
	return "", nil
}

// mayUse refuses what BOSH's agent would erase, as far as the layout says, and what Kubernetes holds. The agent keeps a disk
// that has one partition and destroys a file system on the whole device.
func (d *Disks) mayUse(v ec2.Volume, layout string) error {
	if who := heldByKubernetes(v.Tags); who != "" {
		return fault.New(fault.InUse, opAttachDisk, v.ID,
			"the disk is %s; BOSH does not get it. Once its PersistentVolume is gone, hand it over: diskbridge release %s", who, v.ID)
	}
	switch {
	case layout == layoutBlank, layout == string(volume.LayoutBosh):
		return nil
	case layout == layoutRaw:
		return fault.New(fault.InUse, opAttachDisk, v.ID, "the disk carries a file system without a partition (%s=raw), which BOSH's agent would erase. "+
			"To convert it, copy its files onto a claim whose StorageClass says layout: bosh, and release that one to BOSH", TagLayout)
	case layout == "" && (v.Snapshot == "" && v.Source == "" || usedByBosh(v)):
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
