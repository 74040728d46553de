package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abc", true},
		{"a*b*c", "a-b-c", true}, {"a*b*c", "a-c", false}, {"ab*ba", "aba", false}, {"x[*].y", "x[1].y", true}, {"x[*].y", "x[1].z", false},
	} {
		if got := match(tc.pattern, tc.text); got != tc.want {
			t.Errorf("match(%q, %q) = %v", tc.pattern, tc.text, got)
		}
	}
}

func TestNewAnswer(t *testing.T) {
	out := &ec2.DescribeVolumesOutput{Volumes: []types.Volume{
		{VolumeId: aws.String("vol-0123456789abcdef0"), Size: aws.Int32(4), SnapshotId: aws.String(""), Tags: tags("b", "vol-0123456789abcdef0")},
		{VolumeId: aws.String("vol-1123456789abcdef0"), State: types.VolumeStateInUse},
	}}
	got := newAnswer(out, nil, map[string]string{"vol-0123456789abcdef0": "vol-a"})
	want := answer{
		"Volumes[vol-a].VolumeId": "vol-a", "Volumes[vol-a].Size": "4", "Volumes[vol-a].SnapshotId": "",
		"Volumes[vol-a].Tags[b].Key": "b", "Volumes[vol-a].Tags[b].Value": "vol-a",
		"Volumes[vol-(17)].VolumeId": "vol-(17)", "Volumes[vol-(17)].State": "in-use",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if id := find(out, "Volumes[*].VolumeId"); id != "vol-0123456789abcdef0" {
		t.Errorf("found %q", id)
	}
}

func TestKeys_areFieldsOfText(t *testing.T) {
	for element, names := range keys {
		for _, name := range names {
			field, ok := element.FieldByName(name)
			if kind := field.Type; !ok || kind.Kind() != reflect.String && kind != reflect.TypeFor[*string]() {
				t.Errorf("%v has no text in %s", element, name)
			}
		}
	}
}

func TestCompare_anErrorIsAllThatCounts(t *testing.T) {
	failed := newAnswer(nil, errors.New("no answer"), nil)
	got := compare("row", answer{"A": "1", "B": "2"}, failed)
	if want := []difference{{"row", "error", absent, "not of AWS's form (0)"}}; !cmp.Equal(want, got, cmp.AllowUnexported(difference{})) {
		t.Errorf("got %v", got)
	}
	if got := compare("row", answer{"A": "1"}, answer{"A": "1", "B": "2"}); len(got) != 1 || got[0].moto != absent || got[0].ours != "2" {
		t.Errorf("a field that one of them lacks: %v", got)
	}
}

func TestReport_failsForWhatNobodyExplained(t *testing.T) {
	known := []explanation{{rows: "r*", fields: []string{"A", "B.*"}, moto: absent, ours: "*"}}
	explained := difference{"row", "B.C", absent, "1"}
	for name, tc := range map[string]struct {
		all  []difference
		want string
	}{
		"an explained difference":           {[]difference{explained}, ""},
		"a value that nobody explained":     {[]difference{explained, {"row", "B.C", "0", "1"}}, "1 differences are not explained and 0"},
		"an explanation that is not needed": {nil, "0 differences are not explained and 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := judge(3, tc.all, known).write(&out)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestKnown_sayWhere(t *testing.T) {
	for _, e := range known() {
		if e.why == "" || !strings.HasPrefix(e.doc, "https://") {
			t.Errorf("rows %q, fields %q: no reason or no source", e.rows, e.fields)
		}
	}
}

// TestRows_theEmulatorAnswersEach runs without moto what `make conformance` compares.
func TestRows_theEmulatorAnswersEach(t *testing.T) {
	server, err := startEmulator(t.Context(), s3test.Program(t))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	table := rows()
	answers, err := ask(t.Context(), server.Endpoint(), table)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, r := range table {
		if seen[r.name] {
			t.Errorf("two rows are called %q", r.name)
		}
		seen[r.name] = true
		if got := answers[i]["error"]; strings.HasPrefix(got, "not of AWS's form") || strings.HasPrefix(got, "Internal") || strings.HasPrefix(got, "InvalidAction") {
			t.Errorf("%s: %s", r.name, got)
		}
		if len(r.keep) > 0 && answers[i]["error"] != "" {
			t.Errorf("%s: later rows need it, and it failed: %s", r.name, answers[i]["error"])
		}
	}
}
