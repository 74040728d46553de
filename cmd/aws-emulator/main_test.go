package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asCommand makes the test binary be the command, so that it can be killed.
const asCommand = "AWS_EMULATOR_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestRun_invalidSettings(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		args   []string
		status int
		names  string
	}{
		"no state folder":         {nil, 2, "--state-dir"},
		"unknown flag":            {[]string{"--nonsense"}, 2, "nonsense"},
		"argument":                {[]string{"--state-dir=" + dir, "x"}, 2, `"x"`},
		"unknown profile":         {[]string{"--state-dir=" + dir, "--profile=slow"}, 2, "--profile"},
		"unknown devices":         {[]string{"--state-dir=" + dir, "--devices=nvme"}, 2, "--devices"},
		"unknown files":           {[]string{"--state-dir=" + dir, "--files=smb"}, 2, "--files"},
		"no instances":            {[]string{"--state-dir=" + dir, "--instances=0"}, 2, "--instances"},
		"zone of another region":  {[]string{"--state-dir=" + dir, "--zones=eu-west-1a"}, 2, "--zones"},
		"address without a port":  {[]string{"--state-dir=" + dir, "--listen=127.0.0.1"}, 2, "--listen"},
		"folder that is a file":   {[]string{"--state-dir=" + file}, 1, file},
		"devices in such a place": {[]string{"--state-dir=" + file, "--devices=loop"}, 2, "--state-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(row.args, &stdout, &stderr); status != row.status {
				t.Errorf("status %d, want %d", status, row.status)
			}
			if text := stderr.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, row.names) {
				t.Errorf("error is %q, want one line that names %s", text, row.names)
			}
		})
	}
}

func TestRun_help(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run([]string{"--help"}, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Errorf("status %d, %s", status, stderr.String())
	}
	for _, want := range []string{"-state-dir", "-profile", "-devices", "-instances", "-seed", "Examples:", "/_emulator/faults"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("help lacks %s", want)
		}
	}
}

// process is the command as a process of its own.
type process struct {
	*exec.Cmd
	announced struct {
		Endpoint  string
		Instances []struct{ ID, Zone, IMDS string }
	}
	t *testing.T
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), t: t}
	p.Env = append(os.Environ(), asCommand+"=1")
	p.Stderr = t.Output()
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			p.end(syscall.SIGKILL)
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &p.announced); err != nil {
		t.Fatalf("first line %q: %v", line, err)
	}
	return p
}

func (p *process) end(signal os.Signal) int {
	p.t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	_ = p.Wait() // its status is what is asked for
	return p.ProcessState.ExitCode()
}

func (p *process) get(path string) string {
	p.t.Helper()
	resp, err := http.Get(p.announced.Endpoint + path)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %d %s %v", path, resp.StatusCode, text, err)
	}
	return string(text)
}

func TestRun_aKilledProcessComesBack(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--state-dir=" + dir, "--instances=3", "--zones=us-east-1c,us-east-1a"}
	first := startProcess(t, args...)
	if n := len(first.announced.Instances); n != 3 || first.announced.Instances[0].Zone != "us-east-1c" {
		t.Fatalf("announced %+v", first.announced)
	}
	second := exec.Command(os.Args[0], args...)
	second.Env = append(os.Environ(), asCommand+"=1")
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "another emulator") {
		t.Errorf("a second one on the same folder: %v, %s", err, out)
	}
	before := first.get("/_emulator/state")
	first.end(syscall.SIGKILL)
	again := startProcess(t, args...)
	if after := again.get("/_emulator/state"); after != before {
		t.Errorf("state %s after the kill, want %s", after, before)
	}
	if status := again.end(syscall.SIGTERM); status != 0 {
		t.Errorf("status %d after SIGTERM, want 0", status)
	}
}
