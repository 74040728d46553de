package ebs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// TestDisks_MayUse walks every combination of the tags that mean something, and says of each by the plain words of the
// rule whether BOSH may attach the disk.
func TestDisks_MayUse(t *testing.T) {
	type tags = map[string]string
	holders := []string{"", "bosh:me", "bosh:other", "kubernetes:c/pv", "kubernetes:other/pv"}
	layouts := []string{"", "blank", "bosh", "raw", "unknown", "nonsense"}
	others := []struct {
		tags tags
		csi  bool
	}{
		{nil, false},
		{tags{"CSIVolumeName": "pvc-1"}, true},
		{tags{"ebs.csi.aws.com/cluster": "true"}, true},
		{tags{"ebs.csi.diskbridge.io/cluster": "true"}, true},
		{tags{"kubernetes.io/created-for/pvc/name": "claim"}, true},
		{tags{"kubernetes.io/created-for/pv/name": "pv"}, true},
		{tags{"kubernetes.io/cluster/prod": "owned", "KubernetesCluster": "prod"}, false}, // a manifest's tags
		{tags{"director": "d", "deployment": "cf", "Name": "db/0"}, false},
	}
	origins := []ec2.Volume{{}, {Snapshot: "snap-1"}, {Source: "vol-9"}}
	metadata := []tags{nil, {"attached_at": "2026"}, {"instance_id": "i"}, {"attached_at": "2026", "instance_id": "i"}}
	count := 0
	for _, holder := range holders {
		for _, layout := range layouts {
			for _, other := range others {
				for _, v := range origins {
					for _, meta := range metadata {
						for _, allow := range []bool{false, true} {
							v.ID, v.Tags = "vol-1", tags{}
							for _, set := range []tags{other.tags, meta, {TagHolder: holder, TagLayout: layout}} {
								for k, value := range set {
									if value != "" {
										v.Tags[k] = value
									}
								}
							}
							want := true
							switch {
							case strings.HasPrefix(holder, "kubernetes:"), other.csi, layout == "raw":
								want = false
							case layout == "blank", layout == "bosh":
							case layout == "" && (len(meta) == 2 || v.Snapshot == "" && v.Source == ""):
							default:
								want = allow
							}
							d := &Disks{disk: DiskOptions{Director: "me", AllowUnknown: allow}}
							err := d.mayUse(v, v.Tags[TagLayout])
							if (err == nil) != want || err != nil && !fault.Is(err, fault.InUse) {
								t.Errorf("%v, snapshot %q, source %q, allow %v: %v", v.Tags, v.Snapshot, v.Source, allow, err)
							}
							count++
						}
					}
				}
			}
		}
	}
	if count != 5*6*8*3*4*2 {
		t.Errorf("only %d combinations", count)
	}
}

// TestDisks_TheRefusalSaysWhatToDo: the messages name commands and settings, which exist.
func TestDisks_TheRefusalSaysWhatToDo(t *testing.T) {
	for layout, want := range map[string]string{
		"raw": "To convert it, copy its files", "unknown": "diskbridge convert vol-1 --layout=bosh",
	} {
		err := (&Disks{}).mayUse(ec2.Volume{ID: "vol-1"}, layout)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", layout, err)
		}
	}
	err := (&Disks{}).mayUse(ec2.Volume{ID: "vol-1", Tags: map[string]string{TagHolder: "kubernetes:c/pv"}}, "")
	if err == nil || !strings.Contains(err.Error(), "held by kubernetes:c/pv") || !strings.Contains(err.Error(), "diskbridge release vol-1") {
		t.Errorf("held: %v", err)
	}
}

func TestDiskNames_AreTheAWSCPIs(t *testing.T) {
	xen, nvme := diskNames("t2.micro"), diskNames("m5.large")
	if len(xen) != 11 || xen[0] != "/dev/sdf" || xen[10] != "/dev/sdp" || len(nvme) <= 100 || nvme[0] != "/dev/sdf" {
		t.Errorf("Xen %v, NVMe %d names from %s", xen, len(nvme), nvme[0])
	}
	if place("/dev/sdf") != place("/dev/xvdf") || place("xvdba") == place("/dev/sdb") {
		t.Error("/dev/sdf and /dev/xvdf are one place, /dev/xvdba and /dev/sdb are two")
	}
}

func TestHint_IsWhatTheAgentFinds(t *testing.T) {
	for kind, want := range map[string]string{
		"m5.large": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123", "future9.large": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123",
		"i3.metal": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123", "m4.large": "/dev/sdg", "i3.large": "/dev/sdg", "g2.2xlarge": "/dev/sdg",
	} {
		if got := hint(kind, "vol-0123", "/dev/sdg"); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

// FuzzReserved: no tag of a user says who holds a disk or what it carries.
func FuzzReserved(f *testing.F) {
	for _, seed := range []string{TagHolder, TagLayout, "CSIVolumeName", "aws:x", "AWS:x", "kubernetes.io/cluster/c", "", "a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		before := heldByKubernetes(map[string]string{key: "x"}) != "" || key == TagHolder || key == TagLayout
		if before && reserved(key) == "" {
			t.Errorf("%q may be set by anybody", key)
		}
		_ = fmt.Sprint(cut(key, 3))
	})
}
