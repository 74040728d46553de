package bosh

import (
	"fmt"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestRefusals_ThatPass: what EC2 refuses for now is waited out, for nobody repeats a disk method. None of these refusals
// ends a call, makes the Director copy a disk or leaves what `diskbridge orphans` would list.
func TestRefusals_ThatPass(t *testing.T) {
	for _, tc := range []struct {
		method, operation string
		codes             []string
	}{
		{"create_disk", "CreateVolume", []string{"RequestLimitExceeded"}},
		{"create_disk", "DeleteTags", []string{"ConcurrentTagAccess", "RequestLimitExceeded"}},
		{"create_disk", "DescribeVolumes", []string{"InternalError", "Unavailable"}},
		{"create_disk with a name", "DeleteTags", []string{"ConcurrentTagAccess"}},
		{"attach_disk", "CreateTags", []string{"ConcurrentTagAccess", "RequestLimitExceeded", "InternalError"}},
		{"attach_disk", "AttachVolume", []string{"RequestLimitExceeded"}},
		{"attach_disk", "DescribeInstances", []string{"InternalError"}},
		{"detach_disk", "DetachVolume", []string{"RequestLimitExceeded"}},
		{"delete_disk", "DeleteVolume", []string{"RequestLimitExceeded"}},
		{"has_disk", "DescribeVolumes", []string{"ServiceUnavailable"}},
		{"update_disk", "CreateTags", []string{"ConcurrentTagAccess", "InternalError"}},
		{"update_disk", "ModifyVolume", []string{"RequestLimitExceeded"}},
		{"resize_disk", "DescribeVolumesModifications", []string{"InternalError"}},
		{"set_disk_metadata", "CreateTags", []string{"ConcurrentTagAccess", "InternalError"}},
		{"snapshot_disk", "CreateSnapshot", []string{"SnapshotCreationPerVolumeRateExceeded", "ConcurrentSnapshotLimitExceeded", "PendingSnapshotLimitExceeded"}},
		{"snapshot_disk", "DeleteTags", []string{"ConcurrentTagAccess"}},
		{"delete_snapshot", "DeleteSnapshot", []string{"RequestLimitExceeded"}},
	} {
		r := replayOf(t, tc.method)
		for _, code := range tc.codes {
			t.Run(fmt.Sprint(tc.method, ", ", tc.operation, ", ", code), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, "--devices=none")
				arguments := r.prepare(s)
				for nth := range 3 {
					s.must(harness.SetFaults(t.Context(), s.emulator, harness.Fault{Operation: tc.operation, Nth: nth + 1, Effect: "refuse", Code: code}))
				}
				a := s.call(t.Context(), r.method, arguments...)
				if a.Error != nil {
					t.Fatalf("%+v", a.Error)
				}
				if err := r.done(s, arguments, a); err != nil {
					t.Error(err)
				}
				volumes, snapshots := s.live()
				for _, v := range volumes {
					if v.Tags["diskbridge.io/unconfirmed"] != "" {
						t.Errorf("orphans lists %+v", v)
					}
				}
				for _, snap := range snapshots {
					if snap.Tags["diskbridge.io/unconfirmed"] != "" {
						t.Errorf("orphans lists %+v", snap)
					}
				}
				if !strings.Contains(a.Log, code) {
					t.Errorf("the log does not say what was waited for: %s", a.Log)
				}
			})
		}
	}
}

func replayOf(t *testing.T, name string) replayed {
	t.Helper()
	for _, r := range replays() {
		if r.name == name {
			return r
		}
	}
	t.Fatalf("no row is named %q", name)
	return replayed{}
}

// TestRefusals_ThatDoNotPass end the call when its time is over, with the refusal, and nothing is done or left; a change is
// then the Director's to make by a copy.
func TestRefusals_ThatDoNotPass(t *testing.T) {
	for method, tc := range map[string]struct{ operation, code, kind string }{
		"attach_disk":       {"CreateTags", "ConcurrentTagAccess", "CloudError"},
		"set_disk_metadata": {"CreateTags", "ConcurrentTagAccess", "CloudError"},
		"update_disk":       {"CreateTags", "ConcurrentTagAccess", "NotSupported"},
		"resize_disk":       {"ModifyVolume", "VolumeModificationRateExceeded", "NotSupported"},
		"snapshot_disk":     {"CreateSnapshot", "SnapshotCreationPerVolumeRateExceeded", "CloudError"},
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "--devices=none")
			s.configure(map[string]any{"timeouts": map[string]any{method: 3}})
			r := replayOf(t, method)
			arguments := r.prepare(s)
			before, _ := s.live()
			s.must(harness.SetFaults(t.Context(), s.emulator, harness.Fault{Operation: tc.operation, Effect: "refuse", Code: tc.code}))
			a := s.call(t.Context(), method, arguments...)
			if a.Error == nil || a.Error.Type != "Bosh::Clouds::"+tc.kind || !strings.Contains(a.Error.Message, tc.code) {
				t.Errorf("%s, %+v", a.Result, a.Error)
			}
			after, snapshots := s.live()
			if fmt.Sprint(after) != fmt.Sprint(before) || len(snapshots) > 0 {
				t.Errorf("before %+v\nafter %+v, %+v", before, after, snapshots)
			}
		})
	}
}
