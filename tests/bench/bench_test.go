package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator"
)

// fastAWS is an emulator in this process whose clock runs fast.
func fastAWS(t *testing.T, profile string) *emulator.Server {
	t.Helper()
	server, err := emulator.Start(klog.NewContext(t.Context(), klog.Logger{}), emulator.Options{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := server.SetSpeed(100); err != nil {
		t.Fatal(err)
	}
	return server
}

// TestBench_MeasuresAnotherDriver takes the trivial driver for the other one. It looks at what is counted and written,
// never at a time.
func TestBench_MeasuresAnotherDriver(t *testing.T) {
	aws, dir := fastAWS(t, emulator.Reference), t.TempDir()
	_, stop, err := startFloor(t.Context(), newAWSSide(aws.Endpoint()), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	out := filepath.Join(dir, "out.json")
	page := filepath.Join(dir, "README.md")
	if err := os.WriteFile(page, []byte("before\n<!-- begin reference -->\nold\n<!-- end reference -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	args := []string{"-endpoint=unix://" + dir + "/floor.sock", "-emulator=" + aws.Endpoint(), "-n=1,5", "-repeats=2", "-out=" + out, "-docs=" + dir}
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(text, &report); err != nil || len(report.Runs) != 2 {
		t.Fatalf("%d runs in %s (%v)", len(report.Runs), text, err)
	}
	for _, r := range report.Runs {
		for _, op := range operations(false) {
			want := 1.0
			if op.name == "publish_again" {
				want = 0
			}
			if o, ok := r.Operations[op.name]; !ok || o.Errors != 0 || o.CallsEach != want {
				t.Errorf("n = %d, %s: %+v", r.N, op.name, o)
			}
		}
	}
	for _, key := range []string{`"setting": "reference"`, `"floor_s"`, `"p50_s"`, `"p99_s"`, `"errors"`, `"aws_calls_per_op"`, `"idle_rss_mb"`, `"peak_rss_mb"`} {
		if !strings.Contains(string(text), key) {
			t.Errorf("the JSON has no %s", key)
		}
	}
	text, err = os.ReadFile(page)
	if err != nil || !strings.HasPrefix(string(text), "before\n") || !strings.HasSuffix(string(text), "after\n") ||
		strings.Contains(string(text), "old") || !strings.Contains(string(text), "| unpublish |") {
		t.Errorf("the page became %q (%v)", text, err)
	}
	plot, err := os.ReadFile(filepath.Join(dir, "reference-5.svg"))
	if err != nil || !strings.HasPrefix(string(plot), "<svg") {
		t.Errorf("the plot is %.20q (%v)", plot, err)
	}
	if left := aws.State(); len(left.Volumes)+len(left.Snapshots) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBench_RefusesAnotherSetting(t *testing.T) {
	aws := fastAWS(t, emulator.Instant)
	dir := t.TempDir()
	_, stop, err := startFloor(t.Context(), newAWSSide(aws.Endpoint()), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"-endpoint=unix://" + dir + "/floor.sock", "-emulator=" + aws.Endpoint()}, &stderr, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), `--profile=reference, not "instant"`) {
		t.Errorf("exit status %d: %s", code, &stderr)
	}
	for _, args := range [][]string{
		{"-endpoint=unix:///nowhere.sock"},
		{"-emulator=" + aws.Endpoint()},
		{"-endpoint=tcp://localhost:1", "-emulator=" + aws.Endpoint()},
		{"-n=0"},
		{"extra"},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, &stderr, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%v: exit status %d: %s", args, code, &stderr)
		}
	}
}

func TestSample(t *testing.T) {
	s := sample{calls: map[string]sandbox.Calls{"A": {OK: 3, Throttled: 1}, "B": {Error: 2}}}
	for i := range 100 {
		s.took = append(s.took, time.Duration(100-i)*time.Second)
	}
	if s.percentile(50) != 50 || s.percentile(99) != 99 || s.percentile(100) != 100 || (sample{}).percentile(50) != 0 {
		t.Errorf("percentiles %v %v %v", s.percentile(50), s.percentile(99), s.percentile(100))
	}
	if calls, throttled := s.asked(); calls != 6 || throttled != 1 {
		t.Errorf("%d calls, %d throttled", calls, throttled)
	}
	if median([]float64{3, 1, 2}) != 2 || median([]float64{4, 1}) != 2.5 || median(nil) != 0 {
		t.Error("medians are wrong")
	}
	if d := difference(map[string]sandbox.Calls{"A": {OK: 1}, "B": {OK: 2}}, map[string]sandbox.Calls{"A": {OK: 4}, "B": {OK: 2}}); len(d) != 1 || d["A"].OK != 3 {
		t.Errorf("difference %v", d)
	}
}

func TestSummary_CountsWhatThrottlesCost(t *testing.T) {
	one := once{driver: "d", ours: []map[string]sample{{"create": {
		took: []time.Duration{time.Second}, wall: time.Minute, errors: 1, why: "refused",
		calls: map[string]sandbox.Calls{"CreateVolume": {OK: 1, Throttled: 1}},
	}}}}
	r := Report{Runs: []Run{summary("throttled", 2, []once{one})}}
	got := *r.Runs[0].Throttled
	if got != (Throttled{Calls: 2, Throttled: 1, Failures: 1}) || r.Runs[0].Operations["create"].PerMinute != 1 {
		t.Errorf("%+v", r.Runs[0])
	}
	if !strings.Contains(r.table(), "one in 2") {
		t.Error(r.table())
	}
}
