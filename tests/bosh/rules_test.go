package bosh

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

const (
	holderTag = "diskbridge.io/holder"
	layoutTag = "diskbridge.io/layout"
)

// foreignCIDs are of no form of ours: other CPIs make them, and people.
var foreignCIDs = []string{
	"disk-8c2a1b4e-1111-2222-3333-444455556666", "8c2a1b4e-1111-2222-3333-444455556666", "datastore1/disk-8c2a.vmdk",
	"caching:None;disk_name:bosh-data-1;resource_group_name:cf", "default:disk-1", "vol-nonsense", "vol-0123", "VOL-0123456789ABCDEF0",
	" vol-0123456789abcdef0", "vol-0123456789abcdef0\n", "i-0123456789abcdef0", "../..", "ünïcode", strings.Repeat("x", 4000),
}

// TestRules_CIDsOfOtherCPIs: no such disk is here, whatever the CID looks like. has_disk says so, detach_disk has nothing to do, and the
// others do not find it.
func TestRules_CIDsOfOtherCPIs(t *testing.T) {
	s := newSite(t, "--devices=none")
	vm := s.emulator.Instances[0].ID
	for _, cid := range foreignCIDs {
		if a := s.call(t.Context(), "has_disk", cid); a.Error != nil || string(a.Result) != "false" {
			t.Errorf("has_disk %.60q: %s, %+v", cid, a.Result, a.Error)
		}
		if a := s.call(t.Context(), "detach_disk", vm, cid); a.Error != nil || string(a.Result) != "null" {
			t.Errorf("detach_disk %.60q: %s, %+v", cid, a.Result, a.Error)
		}
		want := "Bosh::Clouds::DiskNotFound"
		if strings.Contains(cid, "/") && !strings.HasPrefix(cid, ".") { // it could be a bucket's, and nothing is done to it
			want = "Bosh::Clouds::NotSupported"
		}
		for method, arguments := range map[string][]any{
			"delete_disk": {cid}, "attach_disk": {vm, cid}, "resize_disk": {cid, 2048}, "update_disk": {cid, 2048, map[string]any{}},
			"set_disk_metadata": {cid, map[string]string{"a": "b"}}, "snapshot_disk": {cid, map[string]any{}},
		} {
			if a := s.call(t.Context(), method, arguments...); a.Error == nil || a.Error.Type != want || a.Error.OK {
				t.Errorf("%s %.60q: %s, %+v, want %s", method, cid, a.Result, a.Error, want)
			}
		}
		if a := s.call(t.Context(), "delete_snapshot", cid); a.Error != nil {
			t.Errorf("delete_snapshot %.60q: %+v", cid, a.Error)
		}
	}
	for _, cid := range []string{"fs-0123abcd", "s3://bucket/prefix/"} { // kinds of ours, of which BOSH has none
		if a := s.call(t.Context(), "has_disk", cid); a.Error == nil || a.Error.Type != "Bosh::Clouds::NotSupported" {
			t.Errorf("has_disk %q: %s, %+v", cid, a.Result, a.Error)
		}
	}
	if calls, err := s.emulator.Calls(t.Context()); err != nil || len(calls) > 0 {
		t.Errorf("AWS was asked: %v, %v", calls, err)
	}
}

// TestRules asks the process for what the engine decides by itself, rule by rule.
func TestRules(t *testing.T) {
	s := newSite(t, "--zones=us-east-1a,us-east-1b", "--devices=none", "--instances=3")
	vm, far := s.emulator.Instances[0].ID, ""
	for _, i := range s.emulator.Instances {
		if i.Zone != s.emulator.Instances[0].Zone {
			far = i.ID
		}
	}
	disk := func() string { return s.text("create_disk", 1024, map[string]any{}, vm) }
	attached := func() string { d := disk(); _ = s.text("attach_disk", vm, d); return d }
	held := func(tags map[string]string) string { return s.foreign(tags) }
	kubernetes := map[string]string{holderTag: "kubernetes:prod/pv-1"}
	csi := map[string]string{"CSIVolumeName": "pvc-1"}
	notes := func(text string) string { return "note: " + text }
	for name, tc := range map[string]struct {
		method    string
		arguments []any
		want      string // the result, or the error's type and a part of its text; with "note: " a part of the log
	}{
		"attach: again is the same hint":            {"attach_disk", []any{vm, attached()}, `"/dev/disk/by-id/nvme-`},
		"attach: in another zone":                   {"attach_disk", []any{far, disk()}, "CloudError: can only be attached in its own zone"},
		"attach: held by Kubernetes":                {"attach_disk", []any{vm, held(kubernetes)}, "CloudError: diskbridge release"},
		"attach: of a CSI driver":                   {"attach_disk", []any{vm, held(csi)}, "CloudError: CSIVolumeName=pvc-1"},
		"attach: a file system without partition":   {"attach_disk", []any{vm, held(map[string]string{layoutTag: "raw"})}, "CloudError: would erase"},
		"attach: nobody knows":                      {"attach_disk", []any{vm, held(map[string]string{layoutTag: "unknown"})}, "CloudError: diskbridge convert"},
		"attach: the AWS CPI's":                     {"attach_disk", []any{vm, held(map[string]string{"attached_at": "2026", "instance_id": "i"})}, `"/dev/disk/by-id/nvme-`},
		"attach: made by hand, which is said":       {"attach_disk", []any{vm, held(nil)}, notes("nothing on disk")},
		"attach: another Director's, which is said": {"attach_disk", []any{vm, held(map[string]string{holderTag: "bosh:other"})}, notes("is held by bosh:other")},
		"attach: to a VM that is not there":         {"attach_disk", []any{"i-00000000000000000", disk()}, "VMNotFound: "},
		"detach: of a disk that is not attached":    {"detach_disk", []any{vm, disk()}, "DiskNotAttached: EC2 knows no such attachment"},
		"detach: of a disk that is gone":            {"detach_disk", []any{vm, "vol-00000000000000000"}, "null"},
		"detach: of Kubernetes'":                    {"detach_disk", []any{vm, held(csi)}, "DiskNotAttached: Kubernetes' volume"},
		"detach: from what is no VM":                {"detach_disk", []any{"vm-1", disk()}, "VMNotFound: no VM can have this id"},
		"delete: another Director's":                {"delete_disk", []any{held(map[string]string{holderTag: "bosh:other"})}, "CloudError: diskbridge adopt"},
		"delete: of Kubernetes'":                    {"delete_disk", []any{held(kubernetes)}, "DiskNotFound: so it is kept"},
		"delete: what is not there":                 {"delete_disk", []any{"vol-00000000000000000"}, "DiskNotFound: "},
		"has: a disk":                               {"has_disk", []any{disk()}, "true"},
		"has: Kubernetes' too":                      {"has_disk", []any{held(kubernetes)}, "true"},
		"has: one that is not there":                {"has_disk", []any{"vol-00000000000000000"}, "false"},
		"create: a reserved tag":                    {"create_disk", []any{1024, map[string]any{"tags": map[string]string{holderTag: "me"}}, vm}, "CloudError: is reserved"},
		"create: a type of nowhere":                 {"create_disk", []any{1024, map[string]any{"type": "gp9"}, vm}, "CloudError: gp9"},
		"create: larger than the type":              {"create_disk", []any{2 << 20, map[string]any{"type": "standard"}, vm}, "CloudError: more than the 1024 GiB"},
		"create: without a VM the zone is said":     {"create_disk", []any{1024, map[string]any{}, nil}, notes("no VM was named")},
		"create: with a VM its zone counts":         {"create_disk", []any{1024, map[string]any{"availability_zone": "us-east-1z"}, vm}, notes("is ignored")},
		"resize: smaller":                           {"resize_disk", []any{s.text("create_disk", 4096, map[string]any{}, vm), 1024}, "NotSupported: disks never shrink"},
		"resize: the same":                          {"resize_disk", []any{disk(), 1024}, "null"},
		"resize: of Kubernetes'":                    {"resize_disk", []any{held(kubernetes), 2048}, "CloudError: held by kubernetes"},
		"update: encryption":                        {"update_disk", []any{disk(), 1024, map[string]any{"encrypted": true}}, "NotSupported: encryption needs a new one"},
		"update: to another zone":                   {"update_disk", []any{disk(), 1024, map[string]any{"availability_zone": "us-east-1b"}}, "NotSupported: the disk is in zone"},
		"update: a reserved tag":                    {"update_disk", []any{disk(), 1024, map[string]any{"tags": map[string]string{"aws:a": "b"}}}, "NotSupported: is reserved"},
		"metadata: what says who holds it":          {"set_disk_metadata", []any{disk(), map[string]string{layoutTag: "raw", "CSIVolumeName": "x", "aws:a": "b", "": "c"}}, notes("tag CSIVolumeName is left out")},
		"snapshot: of a disk that is not there":     {"snapshot_disk", []any{"vol-00000000000000000", map[string]any{}}, "DiskNotFound: "},
		"snapshot: deleted twice":                   {"delete_snapshot", []any{"snap-00000000000000000"}, "null"},
		"snapshot: Kubernetes' stays":               {"delete_snapshot", []any{s.snapshotOf(disk(), map[string]string{"CSIVolumeSnapshotName": "snapshot-1"})}, "CloudError: Kubernetes' snapshot"},
		"disks of a VM that is not there":           {"get_disks", []any{"i-00000000000000000"}, "VMNotFound: "},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call(t.Context(), tc.method, tc.arguments...)
			got := string(a.Result)
			if a.Error != nil {
				got = strings.TrimPrefix(a.Error.Type, "Bosh::Clouds::") + ": " + a.Error.Message
			}
			kind, part, isError := strings.Cut(tc.want, ": ")
			switch {
			case kind == "note" && (a.Error != nil || !strings.Contains(a.Log, part)),
				kind != "note" && isError && (!strings.HasPrefix(got, kind+": ") || !strings.Contains(got, part)),
				!isError && !strings.HasPrefix(got, tc.want):
				t.Errorf("%s (log %s), want %q", got, a.Log, tc.want)
			}
		})
	}
}

// TestRules_WhatASnapshotCarries: a disk that was restored, or cloned, carries what its source did, of which the source's tag
// tells; a Director's own snapshot has one.
func TestRules_WhatASnapshotCarries(t *testing.T) {
	s := newSite(t, "--devices=none")
	vm := s.emulator.Instances[0].ID
	ours := s.text("create_disk", 1024, map[string]any{}, vm)
	blank := s.text("snapshot_disk", ours, map[string]any{})
	_ = s.text("attach_disk", vm, ours)
	used := s.text("snapshot_disk", ours, map[string]any{})
	raw := s.snapshotOf(s.foreign(nil), map[string]string{layoutTag: "raw"})
	unknown := s.snapshotOf(s.foreign(nil), map[string]string{layoutTag: "unknown"})
	silent := s.snapshotOf(s.foreign(nil), nil)
	gone := s.snapshotOf(s.foreign(nil), map[string]string{layoutTag: "bosh"})
	for name, tc := range map[string]struct {
		disk, says string // a part of the refusal; empty: it is attached
	}{
		"a Director's snapshot":                               {s.restored(used, nil), ""},
		"of a disk never used":                                {s.restored(blank, nil), ""},
		"with a file system on the device":                    {s.restored(raw, nil), "would erase"},
		"that says it is not known":                           {s.restored(unknown, nil), "diskbridge convert"},
		"that says nothing":                                   {s.restored(silent, nil), "diskbridge convert"},
		"that says nothing, and BOSH used the disk since":     {s.restored(silent, map[string]string{"attached_at": "2026", "instance_id": "i"}), ""},
		"of BOSH's, and the disk was made a claim's":          {s.restored(used, map[string]string{"CSIVolumeName": "pvc"}), "CSIVolumeName"},
		"of BOSH's, and the disk itself says it is formatted": {s.restored(used, map[string]string{layoutTag: "raw"}), "would erase"},
		"that is gone meanwhile": {func() string {
			disk := s.restored(gone, nil)
			_, err := s.sdk().DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &gone})
			s.must(err)
			return disk
		}(), "diskbridge convert"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call(t.Context(), "attach_disk", vm, tc.disk)
			v := s.truth(tc.disk)
			if tc.says == "" && (a.Error != nil || v.Tags[layoutTag] != "bosh" || len(v.Attachments) != 1) ||
				tc.says != "" && (a.Error == nil || !strings.Contains(a.Error.Message, tc.says) || len(v.Attachments) != 0) {
				t.Errorf("%s, %+v; %+v", a.Result, a.Error, v)
			}
		})
	}
}

// snapshotOf takes a snapshot as other programs do.
func (s *site) snapshotOf(id string, tags map[string]string) string {
	s.t.Helper()
	out, err := s.sdk().CreateSnapshot(s.t.Context(), &ec2.CreateSnapshotInput{VolumeId: &id})
	s.must(err)
	s.hold(*out.SnapshotId, tags)
	return *out.SnapshotId
}

// restored makes a volume of a snapshot as other programs do.
func (s *site) restored(snapshot string, tags map[string]string) string {
	s.t.Helper()
	zone := s.emulator.Instances[0].Zone
	out, err := s.sdk().CreateVolume(s.t.Context(), &ec2.CreateVolumeInput{SnapshotId: &snapshot, VolumeType: types.VolumeTypeGp3, AvailabilityZone: aws.String(zone)})
	s.must(err)
	s.hold(*out.VolumeId, tags)
	return *out.VolumeId
}
