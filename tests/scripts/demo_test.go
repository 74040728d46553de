package scripts

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// demo is a run of `diskbridge demo` with its temporary folder below dir.
type demo struct {
	cmd *exec.Cmd
	out *sandbox.Output
	dir string
}

func startDemo(t *testing.T, program string, credential *syscall.Credential, args ...string) demo {
	t.Helper()
	dir := harness.Dir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	d := demo{cmd: exec.Command(program, append([]string{"demo"}, args...)...), out: &sandbox.Output{}, dir: dir}
	d.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			_ = d.cmd.Process.Kill()
			_ = d.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the demo said:\n%s", d.out.String())
		}
	})
	return d
}

// wait returns the exit status and proves that the demo removed its folder.
func (d demo) wait(t *testing.T) int {
	t.Helper()
	if err := d.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v in its TMPDIR (%v)", left, err)
	}
	return d.cmd.ProcessState.ExitCode()
}

func TestDemo_Interrupted(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("it interrupts mounted file systems, which needs root")
	}
	for moment, only := range map[string]string{"start the driver on node 1": "ebs", "publish to a pod": "ebs", "restore it into": "ebs", "stage NFS": "efs", "kill the node plugin": "s3"} {
		if only == "s3" {
			requireS3Server(t)
		}
		t.Run("while it says "+moment, func(t *testing.T) {
			d := startDemo(t, filepath.Join(harness.Bin(t), "diskbridge"), nil, "--only="+only)
			harness.Eventually(t, "the demo says "+moment, func(context.Context) error {
				if !strings.Contains(d.out.String(), moment) {
					return errors.New("not yet")
				}
				return nil
			})
			if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if code := d.wait(t); code != 130 {
				t.Errorf("exit status %d, want 130", code)
			}
			if text := d.out.String(); !strings.Contains(text, "Interrupted.") || !strings.Contains(text, "nothing is left of it") {
				t.Error("it must say that it was interrupted and that nothing is left")
			}
		})
	}
}

func TestDemo_WithoutRoot(t *testing.T) {
	program := filepath.Join(harness.Bin(t), "diskbridge")
	var nobody *syscall.Credential
	if harness.IsRoot() {
		program = publish(t)
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	d := startDemo(t, program, nobody)
	if code := d.wait(t); code != 0 {
		t.Fatalf("exit status %d, want 0", code)
	}
	for _, want := range []string{"left out, for they need root", "take a snapshot", "Nothing is left", "All of it happened"} {
		if !strings.Contains(d.out.String(), want) {
			t.Errorf("the demo did not say %q", want)
		}
	}
	if strings.Contains(d.out.String(), "\x1b[") {
		t.Error("it colours what no terminal reads")
	}
	if strings.Contains(d.out.String(), "stage ext4") {
		t.Error("it claims to have staged a volume without root")
	}
}

// requireS3Server puts the S3 server where `make demo` has it.
func requireS3Server(t *testing.T) {
	t.Helper()
	tools := filepath.Join(harness.Bin(t), "tools")
	if found, _ := filepath.Glob(filepath.Join(tools, "versitygw-v*")); len(found) == 0 {
		server := s3test.Program(t)
		if err := errors.Join(os.MkdirAll(tools, 0o755), os.Symlink(server, filepath.Join(tools, filepath.Base(server)))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDemo_Bucket plays S3's part.
func TestDemo_Bucket(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("it mounts, which needs root")
	}
	requireS3Server(t)
	d := startDemo(t, filepath.Join(harness.Bin(t), "diskbridge"), nil, "--only=s3")
	if code := d.wait(t); code != 0 {
		t.Fatalf("exit status %d, want 0", code)
	}
	for _, want := range []string{"stage S3", `"written by node 2"`, "SIGKILL", "no write failed", "All of it happened"} {
		if !strings.Contains(d.out.String(), want) {
			t.Errorf("the demo did not say %q", want)
		}
	}
}

// TestDemo_Shared plays EFS's part, wherever this machine lets it play.
func TestDemo_Shared(t *testing.T) {
	d := startDemo(t, filepath.Join(harness.Bin(t), "diskbridge"), nil, "--only=efs")
	if code := d.wait(t); code != 0 {
		t.Fatalf("exit status %d, want 0", code)
	}
	for _, want := range []string{"on this machine's kernel", "stage NFS", `"written by node 1"`, `"written by node 2"`, "no mount", "All of it happened"} {
		if !strings.Contains(d.out.String(), want) {
			t.Errorf("the demo did not say %q", want)
		}
	}
}

// TestDemo_WithoutAKernel says what to install.
func TestDemo_WithoutAKernel(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	d := startDemo(t, filepath.Join(harness.Bin(t), "diskbridge"), nil, "--only=efs")
	code, said := d.wait(t), d.out.String()
	if here := strings.Contains(said, "on this machine's kernel, in"); code != 0 || !here && !strings.Contains(said, "apt-get install user-mode-linux") {
		t.Errorf("exit status %d", code)
	}
}

// publish copies the binaries to where any user can run them.
func publish(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "db-bin-") //nolint:usetesting // the parent of TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"diskbridge", "diskbridge-csi", "diskbridge-cpi", "aws-emulator"} {
		copyProgram(t, filepath.Join(harness.Bin(t), name), filepath.Join(dir, name))
	}
	return filepath.Join(dir, "diskbridge")
}

// copyProgram leaves the writing to another process: a descriptor of ours, inherited by a concurrent fork, would make the
// program "text file busy" for a moment.
func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// TestDemo_TellsFailure breaks a companion and expects the truth: no success, the log, and nothing left.
func TestDemo_TellsFailure(t *testing.T) {
	program := publish(t)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho it has a cold >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyProgram(t, broken, filepath.Join(filepath.Dir(program), "diskbridge-csi"))
	d := startDemo(t, program, nil, "--only=ebs")
	if code := d.wait(t); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	for _, want := range []string{"FAILED: start the driver's controller", "it has a cold", "nothing is left of it"} {
		if !strings.Contains(d.out.String(), want) {
			t.Errorf("the demo did not say %q", want)
		}
	}
	if regexp.MustCompile(`(?i)all of it happened`).MatchString(d.out.String()) {
		t.Error("it claims success")
	}
}
