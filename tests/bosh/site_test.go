// Package bosh takes diskbridge-cpi through what BOSH does with disks, with doubles of its Director, CLI and agent and of
// the AWS CPI, on the emulator and loop devices. It knows executables and JSON only.
package bosh

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/doubles/agent"
	"github.com/diskbridge/diskbridge/tests/doubles/director"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// doubleVariable names the double of the AWS CPI, which TestMain builds.
const doubleVariable = "DISKBRIDGE_AWS_CPI_DOUBLE"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "diskbridge-double-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	out, err := exec.Command("go", "build", "-tags", "grpcnotrace", "-o", dir+"/aws-cpi", "../doubles/cmd/aws-cpi").CombinedOutput()
	if err == nil {
		err = os.Setenv(doubleVariable, dir+"/aws-cpi")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	fmt.Fprintln(os.Stderr, who())
	return harness.Main(m)
}

// site is an emulator and both CPIs, each behind a wrapper as a BOSH job has it.
type site struct {
	t        *testing.T
	dir      string
	emulator *sandbox.Emulator
	ours     string // wrapper of diskbridge-cpi
	aws      string // wrapper of the AWS CPI's double
	config   map[string]any
	agents   int
	library  string // of the Director; empty: it is simulated
}

// directorVariable points at the folder bosh-director/lib of the Director itself.
const directorVariable = "BOSH_DIRECTOR_LIB"

// eachDirector runs a test with the simulated Director, and with the Director's own library where that is at hand.
func eachDirector(t *testing.T, test func(t *testing.T, library string)) {
	t.Helper()
	t.Run("simulated Director", func(t *testing.T) { test(t, "") })
	if library := os.Getenv(directorVariable); library != "" {
		t.Run("the Director's library", func(t *testing.T) { test(t, library) })
	}
}

// who says which Director and CLI the tests run with.
func who() string {
	text := "tests/bosh: the Director is simulated; with the Director's own library too where " + directorVariable + " names its bosh-director/lib (it is not set)"
	if library := os.Getenv(directorVariable); library != "" {
		text = "tests/bosh: the Director is simulated, and also its own library, " + library
	}
	if path, err := exec.LookPath("bosh"); err == nil {
		version, err := exec.Command(path, "--version").Output()
		return text + fmt.Sprintf("\ntests/bosh: the bosh CLI is simulated, and also %s: %s %v", path, bytes.TrimSpace(version), err)
	}
	return text + "\ntests/bosh: the bosh CLI is simulated; there is no bosh on the PATH"
}

func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	s := &site{t: t, dir: harness.Dir(t)}
	devices := "--devices=none"
	if harness.IsRoot() {
		devices = "--devices=loop"
	}
	s.emulator = harness.Emulator(t, s.dir, append([]string{"--profile=instant", "--zones=us-east-1a", devices}, args...)...)
	s.aws = s.wrap("aws_cpi", os.Getenv(doubleVariable), "")
	s.configure(nil)
	return s
}

// configure writes both configurations: the AWS CPI's file, and ours, which is the same with our object in it.
func (s *site) configure(own map[string]any) {
	s.t.Helper()
	properties := map[string]any{
		"aws": map[string]any{
			"credentials_source": "static", "access_key_id": "test", "secret_access_key": "test", "region": sandbox.Region,
			"ec2_endpoint": s.emulator.Endpoint, "elb_endpoint": s.emulator.Endpoint, "max_retries": 8, "encrypted": false,
		},
		"agent": map[string]any{"ntp": []string{}}, "debug": map[string]any{"cpi": map[string]any{"api_version": 3}},
	}
	s.write("aws_cpi.json", properties)
	mine := map[string]any{
		"delegate":            map[string]any{"exec_path": s.aws, "stemcell_formats": []string{"aws-raw", "aws-light"}, "api_version": 3},
		"absence_interval_ms": 50,
	}
	for k, v := range own {
		mine[k] = v
	}
	properties["diskbridge"], s.config = mine, mine
	s.write("diskbridge_cpi.json", properties)
	s.ours = s.wrap("diskbridge_cpi", filepath.Join(harness.Bin(s.t), "diskbridge-cpi"), "-config")
}

func (s *site) write(name string, properties map[string]any) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{"cloud": map[string]any{"plugin": "aws", "properties": properties}})
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, name), text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// wrap writes a job's bin/cpi.
func (s *site) wrap(job, program, flag string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, job+"-bin-cpi")
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s %s/%s.json\n", program, flag, s.dir, job)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// director is a Director that calls the CPI.
func (s *site) director(exec string) *director.Director {
	d := &director.Director{Exec: exec, UUID: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", Home: s.dir, Stemcell: 3, Library: s.library}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("what the CPI said:\n%s", strings.Join(d.Log, ""))
		}
	})
	return d
}

// agentOf is the agent on a VM.
func (s *site) agentOf(cid string) (director.Agent, error) {
	a, err := s.newAgent(cid, "")
	return a, err
}

func (s *site) newAgent(cid, fs string) (*agent.Agent, error) {
	var all []sandbox.Instance
	if err := s.emulator.Control(s.t.Context(), http.MethodGet, "instances", nil, &all); err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.ID == cid {
			s.agents++
			a := &agent.Agent{DeviceRoot: i.DeviceRoot, Dir: filepath.Join(s.dir, fmt.Sprint("vcap", s.agents)), FS: fs, Partitioner: "parted"}
			s.t.Cleanup(a.Lost)
			return a, os.MkdirAll(a.Dir, 0o700)
		}
	}
	return nil, fmt.Errorf("the emulator has no instance %s", cid)
}

// vm is the emulator's n-th first instance as a VM of a deployment.
func (s *site) vm(d *director.Director, n int) *director.VM {
	s.t.Helper()
	cid := s.emulator.Instances[n].ID
	a, err := s.agentOf(cid)
	s.must(err)
	return d.Adopt(&director.VM{CID: cid, Agent: a, Name: fmt.Sprint("db/", n)})
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// truth is a volume as the emulator holds it.
func (s *site) truth(id string) harness.TrueVolume {
	s.t.Helper()
	truth, err := harness.ReadTruth(s.t.Context(), s.emulator)
	s.must(err)
	for _, v := range truth.Volumes {
		if v.ID == id {
			return v
		}
	}
	return harness.TrueVolume{State: "gone"}
}

// answer is what our executable says to one request.
type answer struct {
	Result json.RawMessage
	Error  *struct {
		Type, Message string
		OK            bool `json:"ok_to_retry"`
	}
	Log string
}

// call runs our executable once, with version 2.
func (s *site) call(ctx context.Context, method string, arguments ...any) answer {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{"method": method, "arguments": append([]any{}, arguments...), "api_version": 2,
		"context": map[string]any{"director_uuid": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"}})
	s.must(err)
	cmd := exec.CommandContext(ctx, s.ours)
	cmd.Env, cmd.Stdin = []string{"PATH=/usr/bin:/bin"}, bytes.NewReader(text)
	out, err := cmd.Output()
	s.must(err)
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		s.t.Fatalf("%s answered %s", method, out)
	}
	return a
}

// ok calls a method that has to succeed.
func (s *site) ok(method string, arguments ...any) {
	s.t.Helper()
	if a := s.call(s.t.Context(), method, arguments...); a.Error != nil {
		s.t.Fatalf("%s: %+v", method, a.Error)
	}
}

// text is the string that a method answers.
func (s *site) text(method string, arguments ...any) string {
	s.t.Helper()
	a := s.call(s.t.Context(), method, arguments...)
	var text string
	if err := json.Unmarshal(a.Result, &text); err != nil || a.Error != nil {
		s.t.Fatalf("%s: %s, %+v", method, a.Result, a.Error)
	}
	return text
}
