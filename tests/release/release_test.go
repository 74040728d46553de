// Package release renders and runs the BOSH release: its templates with Ruby, as a director does, and its package in an
// empty folder. It knows the release's files and what the executable answers.
package release

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/diskbridge/diskbridge/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const job = "deploy/bosh/jobs/diskbridge_cpi"

// render renders the job into a folder and returns the properties that its templates looked at.
func render(t *testing.T, jobDir, out, properties string) ([]string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ruby", "render.rb", jobDir, out)
	cmd.Stdin = strings.NewReader(properties)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, &renderError{stderr.String(), err}
	}
	var seen []string
	return seen, json.Unmarshal(text, &seen)
}

type renderError struct {
	text string
	err  error
}

func (e *renderError) Error() string { return e.err.Error() + ": " + e.text }

type property struct {
	Description string `json:"description"`
	Default     any    `json:"default"`
}

type spec struct {
	Name       string              `json:"name"`
	Templates  map[string]string   `json:"templates"`
	Packages   []string            `json:"packages"`
	Properties map[string]property `json:"properties"`
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// everything sets every property.
const everything = `{"aws":{"credentials_source":"static","access_key_id":"test","secret_access_key":"test","session_token":"t","role_arn":"arn:aws:iam::000000000000:role/bosh",
 "region":"us-east-1","ec2_endpoint":"ec2.us-east-1.amazonaws.com","elb_endpoint":"e","dualstack":true,"max_retries":3,"encrypted":true,"kms_key_arn":"arn:k",
 "connection_options":{"ca_cert":"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"}},
 "debug":{"cpi":{"api_version":2}},"env":{"http_proxy":"http://a b'$(touch /nowhere)","https_proxy":"http://p","no_proxy":"10.0.0.0/8"},
 "diskbridge":{"delegate":{"exec_path":"/d","stemcell_formats":["f"],"api_version":2},"endpoints":{"sts":"https://s"},"strict":true,"unknown_layout":"allow",
 "snapshot_wait":"completed","availability_zone":"us-east-1a","tags":{"a":"b"},"timeouts":{"attach_disk":7}}}`

func TestJob_EveryPropertyIsDescribedAndUsed(t *testing.T) {
	root := harness.Root(t)
	var s spec
	readYAML(t, filepath.Join(root, job, "spec"), &s)
	seen, err := render(t, filepath.Join(root, job), t.TempDir(), everything)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range s.Properties {
		if !strings.HasSuffix(p.Description, ".") {
			t.Errorf("property %s has no description that is a sentence: %q", name, p.Description)
		}
		if !slices.Contains(seen, name) {
			t.Errorf("no template uses property %s", name)
		}
	}
	for _, name := range s.Packages {
		if _, err := os.Stat(filepath.Join(root, "deploy/bosh/packages", name, "packaging")); err != nil {
			t.Error(err)
		}
	}
	if len(s.Properties) < 25 {
		t.Errorf("only %d properties", len(s.Properties))
	}
}

// TestRelease_HasWhatTheCLIWants: `bosh create-release` refuses a release that lacks one of these.
func TestRelease_HasWhatTheCLIWants(t *testing.T) {
	root := filepath.Join(harness.Root(t), "deploy/bosh")
	var final struct{ Name string }
	readYAML(t, filepath.Join(root, "config/final.yml"), &final)
	var blobs map[string]any
	readYAML(t, filepath.Join(root, "config/blobs.yml"), &blobs)
	if final.Name != "diskbridge-cpi" || len(blobs) != 0 {
		t.Errorf("name %q, blobs %v", final.Name, blobs)
	}
	jobs, err := filepath.Glob(filepath.Join(root, "jobs/*"))
	packages, err2 := filepath.Glob(filepath.Join(root, "packages/*"))
	if err != nil || err2 != nil || len(jobs) != 1 || len(packages) != 1 {
		t.Fatalf("jobs %v, packages %v", jobs, packages)
	}
	for _, dir := range append(jobs, packages...) {
		var s spec
		readYAML(t, filepath.Join(dir, "spec"), &s)
		needed := []string{"packaging"}
		if dir == jobs[0] {
			needed = []string{"monit"}
		}
		for template := range s.Templates {
			needed = append(needed, "templates/"+template)
		}
		for _, name := range needed {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Name != filepath.Base(dir) {
				t.Errorf("%s, named %q: %v", dir, s.Name, err)
			}
		}
	}
}

// TestJob_APropertyThatTheSpecLacksFails takes one property after the other out of the spec.
func TestJob_APropertyThatTheSpecLacksFails(t *testing.T) {
	root := harness.Root(t)
	text, err := os.ReadFile(filepath.Join(root, job, "spec"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"aws.region", "aws.encrypted", "diskbridge.strict", "env.no_proxy", "aws.connection_options.ca_cert"} {
		dir := filepath.Join(t.TempDir(), "job")
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, job))); err != nil {
			t.Fatal(err)
		}
		without := regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(name)+`:\n(    .*\n)+`).ReplaceAll(text, nil)
		if err := os.WriteFile(filepath.Join(dir, "spec"), without, 0o600); err != nil || len(without) == len(text) {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := render(t, dir, t.TempDir(), everything); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestRelease_Runs installs the package in an empty folder, renders the job, and calls bin/cpi as the Director does.
func TestRelease_Runs(t *testing.T) {
	dir := harness.Dir(t)
	emulator := harness.Emulator(t, dir, "--profile=instant", "--zones=us-east-1a")
	jobs, packages := filepath.Join(dir, "jobs"), filepath.Join(dir, "packages")
	install(t, dir, filepath.Join(packages, "diskbridge_cpi"))
	delegate := filepath.Join(dir, "delegate")
	if err := os.WriteFile(delegate, []byte("#!/bin/sh\ncat >/dev/null\necho '{\"result\":\"from the delegate\",\"error\":null,\"log\":\"\"}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	properties := `{"aws":{"region":"us-east-1","access_key_id":"test","secret_access_key":"test","ec2_endpoint":"` + emulator.Endpoint + `"},
		"env":{"http_proxy":"http://nowhere'$(touch ` + dir + `/hacked)","no_proxy":"127.0.0.1"},"diskbridge":{"delegate":{"exec_path":"` + delegate + `"}}}`
	if _, err := render(t, filepath.Join(harness.Root(t), job), filepath.Join(jobs, "diskbridge_cpi"), properties); err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		`{"method":"info","arguments":[],"context":{}}`: `{"result":{"api_version":3,"stemcell_formats":["aws-raw","aws-light"]},"error":null,"log":""}`,
		`{"method":"create_disk","arguments":[1024,{"type":"gp3"},"` + emulator.Instances[0].ID + `"],"context":{"director_uuid":"d"},"api_version":3}`: `{"result":"vol-`,
		`{"method":"has_vm","arguments":["i-1"],"context":{"director_uuid":"d"},"api_version":3}`:                                                       `{"result":"from the delegate"`,
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(jobs, "diskbridge_cpi/bin/cpi"))
		cmd.Env = []string{"PATH=/usr/bin:/bin", "BOSH_JOBS_DIR=" + jobs, "BOSH_PACKAGES_DIR=" + packages}
		cmd.Stdin = strings.NewReader(request)
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: %v, %s", request, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "hacked")); err == nil {
		t.Error("a property reached the shell")
	}
}

// install runs packaging as a compilation VM does: in an empty folder with the files that the package's spec names.
func install(t *testing.T, dir, target string) {
	t.Helper()
	root, work := harness.Root(t), filepath.Join(dir, "compile")
	var p struct {
		Files []string `json:"files"`
	}
	readYAML(t, filepath.Join(root, "deploy/bosh/packages/diskbridge_cpi/spec"), &p)
	binary, err := os.ReadFile(filepath.Join(harness.Bin(t), "diskbridge-cpi"))
	if err != nil || len(p.Files) != 1 {
		t.Fatalf("the package has the files %v, %v", p.Files, err)
	}
	for _, d := range []string{target, filepath.Dir(filepath.Join(work, p.Files[0]))} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(work, p.Files[0]), binary, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-x", filepath.Join(root, "deploy/bosh/packages/diskbridge_cpi/packaging"))
	cmd.Dir, cmd.Env = work, []string{"PATH=/usr/bin:/bin", "BOSH_INSTALL_TARGET=" + target}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("packaging: %v\n%s", err, out)
	}
}
