package volume_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestRange_SizeGiB(t *testing.T) {
	const gib = volume.GiB
	for _, tc := range []struct {
		name string
		r    volume.Range
		want int64
		fail string
	}{
		{"nothing asked takes the default", volume.Range{}, 10, ""},
		{"a limit below the default cuts it", volume.Range{LimitBytes: 4*gib + 5}, 4, ""},
		{"required is rounded up", volume.Range{RequiredBytes: gib + 1}, 2, ""},
		{"an exact fit", volume.Range{RequiredBytes: 3 * gib, LimitBytes: 3 * gib}, 3, ""},
		{"rounding up would break the limit", volume.Range{RequiredBytes: gib + 1, LimitBytes: 2*gib - 1}, 0, "no whole number"},
		{"required above the limit", volume.Range{RequiredBytes: 3 * gib, LimitBytes: 2 * gib}, 0, "more than limit_bytes"},
		{"a negative number", volume.Range{RequiredBytes: -1}, 0, "negative"},
		{"a limit below one GiB", volume.Range{LimitBytes: gib - 1}, 0, "smallest disk"},
		{"the largest number does not overflow", volume.Range{RequiredBytes: math.MaxInt64}, 0, "more than any disk"},
		{"nor does it with a limit", volume.Range{RequiredBytes: math.MaxInt64, LimitBytes: math.MaxInt64}, 0, "no whole number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.r.SizeGiB(10)
			if tc.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fail) {
					t.Errorf("got %d, %v; want an error with %q", got, err, tc.fail)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("got %d, %v; want %d", got, err, tc.want)
			}
		})
	}
}

func TestRange_Agreed(t *testing.T) {
	for _, tc := range []struct {
		required, limit, want int64
		wrong                 string
	}{
		{0, 0, volume.GiB, ""}, {7, 0, 7, ""}, {7, 9, 7, ""}, {0, 9, 9, ""}, {0, 9 * volume.GiB, volume.GiB, ""},
		{9, 7, 0, "more than limit_bytes 7"}, {-1, 0, 0, "must not be negative"}, {0, -1, 0, "must not be negative"}, {-1, 5, 0, "must not be negative"},
	} {
		got, err := volume.Range{RequiredBytes: tc.required, LimitBytes: tc.limit}.Agreed()
		if tc.wrong == "" && (err != nil || got != tc.want) || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
			t.Errorf("%d to %d: %d, %v; want %d, %q", tc.required, tc.limit, got, err, tc.want, tc.wrong)
		}
	}
}

func TestRange_Fits(t *testing.T) {
	r := volume.Range{RequiredBytes: 10, LimitBytes: 20}
	for bytes, want := range map[int64]bool{9: false, 10: true, 20: true, 21: false} {
		if r.Fits(bytes) != want {
			t.Errorf("Fits(%d) = %v", bytes, !want)
		}
	}
	if !(volume.Range{}).Fits(1) {
		t.Error("an empty range does not fit")
	}
}

func TestRequirement_CandidatesPreferredFirst(t *testing.T) {
	a, b, c := volume.Topology{Zone: "a"}, volume.Topology{Zone: "b"}, volume.Topology{ZoneID: "c"}
	r := volume.Requirement{Preferred: []volume.Topology{b, {}, b}, Requisite: []volume.Topology{a, b, c}}
	if diff := cmp.Diff([]volume.Topology{b, a, c}, r.Candidates()); diff != "" {
		t.Error(diff)
	}
	if got := (volume.Requirement{}).Candidates(); len(got) != 0 {
		t.Errorf("no requirement gives %v", got)
	}
}
