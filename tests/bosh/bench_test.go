package bosh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// process runs our executable with its file, from the start of the process to its end.
func process(b *testing.B, config, request, want string) {
	b.Helper()
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), filepath.Join(harness.Bin(b), "diskbridge-cpi"), "-config", config)
		cmd.Env, cmd.Stdin = []string{"PATH=/usr/bin:/bin"}, strings.NewReader(request)
		if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), want) {
			b.Fatalf("%v, %s", err, out)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/call")
}

// BenchmarkInfo is to stay below 30 ms, also with a delegate that sleeps.
func BenchmarkInfo(b *testing.B) {
	dir := harness.Dir(b)
	delegate, config := filepath.Join(dir, "delegate"), filepath.Join(dir, "cpi.json")
	for path, text := range map[string]string{
		delegate: "#!/bin/sh\nsleep 2\n",
		config:   `{"cloud":{"properties":{"aws":{"region":"us-east-1"},"diskbridge":{"delegate":{"exec_path":"` + delegate + `"}}}}}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	process(b, config, `{"method":"info","arguments":[],"context":{}}`, `{"result":{"api_version":`)
}

// BenchmarkHasDisk is to stay below 60 ms on the instant emulator.
func BenchmarkHasDisk(b *testing.B) {
	dir := harness.Dir(b)
	e := harness.Emulator(b, dir, "--profile=instant", "--zones=us-east-1a")
	config := filepath.Join(dir, "cpi.json")
	text := `{"cloud":{"properties":{"aws":{"region":"us-east-1","access_key_id":"test","secret_access_key":"test","ec2_endpoint":"` + e.Endpoint + `"}}}}`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), filepath.Join(harness.Bin(b), "diskbridge-cpi"), config)
	cmd.Stdin = strings.NewReader(`{"method":"create_disk","arguments":[1024,{},"` + e.Instances[0].ID + `"],"context":{},"api_version":2}`)
	out, err := cmd.Output()
	_, id, found := strings.Cut(string(out), `"result":"`)
	if err != nil || !found {
		b.Fatalf("%v, %s", err, out)
	}
	id, _, _ = strings.Cut(id, `"`)
	process(b, config, `{"method":"has_disk","arguments":["`+id+`"],"context":{},"api_version":2}`, `{"result":true`)
}
