package bosh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/tests/doubles/cli"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// delegateThat writes an executable that stands in for another CPI.
func (s *site) delegateThat(script string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, "delegate")
	s.must(os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755))
	return path
}

// runOurs runs our executable with exactly that on its standard input.
func (s *site) runOurs(ctx context.Context, stdin string, env ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	cmd := exec.CommandContext(ctx, s.ours)
	var out, log bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append([]string{"PATH=/usr/bin:/bin"}, env...), strings.NewReader(stdin), &out, &log
	err = cmd.Run()
	return out.String(), log.String(), err
}

// TestDelegate_ByteForByte: what is not about disks reaches the other CPI as it came, and its answer goes back as it is.
func TestDelegate_ByteForByte(t *testing.T) {
	s := newSite(t)
	path := s.delegateThat("cat >" + s.dir + "/request\nenv >" + s.dir + "/environment\necho to the log >&2\nprintf '%s' '{\"result\" : [\"i-1\",{}],\"error\":null,\"log\":\"\\u00e9\",\"more\":1}\n'\n")
	s.configure(map[string]any{"delegate": map[string]any{"exec_path": path, "stemcell_formats": []string{"f"}, "api_version": 3}})
	for _, method := range []string{
		"create_vm", "delete_vm", "has_vm", "reboot_vm", "set_vm_metadata", "calculate_vm_cloud_properties", "create_stemcell",
		"delete_stemcell", "create_network", "delete_network", "current_vm_id", "configure_networks", "ping",
	} {
		request := `{ "method":"` + method + `","arguments":[ 1.50, "\u00e9é", {"z":1,"a":2} ], "context":{"director_uuid":"d", "secret":"x"}, "api_version" : 3 }` + "\n\n"
		stdout, stderr, err := s.runOurs(t.Context(), request, "SEEN=1")
		got, _ := os.ReadFile(s.dir + "/request")
		environment, _ := os.ReadFile(s.dir + "/environment")
		if err != nil || string(got) != request || stdout != "{\"result\" : [\"i-1\",{}],\"error\":null,\"log\":\"\\u00e9\",\"more\":1}\n" || stderr != "to the log\n" || !strings.Contains(string(environment), "SEEN=1") {
			t.Errorf("%s: %v; it got %q, answered %q, logged %q", method, err, got, stdout, stderr)
		}
	}
	s.must(os.Remove(s.dir + "/request"))
	for _, method := range []string{"info", "has_disk", "make_coffee", "teleport_disk"} {
		if _, _, err := s.runOurs(t.Context(), `{"method":"`+method+`","arguments":[],"context":{},"api_version":2}`); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.dir + "/request"); err == nil {
			t.Errorf("%s reached the delegate", method)
		}
	}
}

func TestDelegate_ThatFails(t *testing.T) {
	s := newSite(t)
	for name, tc := range map[string]struct {
		script, stdout string
		status         int
	}{
		"an answer and a status": {`echo '{"result":null,"error":null,"log":""}'; exit 7`, `{"result":null,"error":null,"log":""}`, 7},
		"no answer":              {"exit 3", `"type":"Bosh::Clouds::CpiError","message":"the delegate`, 0},
		"killed":                 {"kill -9 $$", `gave no answer to create_vm`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s.configure(map[string]any{"delegate": map[string]any{"exec_path": s.delegateThat(tc.script)}})
			stdout, _, err := s.runOurs(t.Context(), `{"method":"create_vm","arguments":[],"context":{},"api_version":2}`)
			status := 0
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				status = exit.ExitCode()
			}
			if status != tc.status || !strings.Contains(stdout, tc.stdout) {
				t.Errorf("status %d, %s", status, stdout)
			}
		})
	}
	s.configure(map[string]any{"delegate": map[string]any{"exec_path": "/nowhere/cpi"}})
	stdout, _, err := s.runOurs(t.Context(), `{"method":"create_vm","arguments":[],"context":{},"api_version":2}`)
	if err != nil || !strings.Contains(stdout, "no such file") {
		t.Errorf("%v, %s", err, stdout)
	}
}

// TestDelegate_WithHabits: what it does with its input and output keeps no answer back.
func TestDelegate_WithHabits(t *testing.T) {
	const answer = `{"result":null,"error":null,"log":""}`
	large := strings.Repeat("x", 3<<20)
	for name, tc := range map[string]struct{ script, answer string }{
		"it reads nothing":           {"echo '" + answer + "'", answer + "\n"},
		"its answer is large":        {"head -c 5000000 /dev/zero", strings.Repeat("\x00", 5000000)},
		"it leaves a child that has": {"cat >/dev/null; sleep 60 & echo '" + answer + "'; echo $! >child", answer + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "--devices=none")
			s.configure(map[string]any{"delegate": map[string]any{"exec_path": s.delegateThat("cd " + s.dir + "; " + tc.script)}})
			stdout, _, err := s.runOurs(t.Context(), `{"method":"create_vm","arguments":["`+large+`"],"context":{},"api_version":2}`)
			if err != nil || stdout != tc.answer {
				t.Errorf("%v; %d bytes: %.200s", err, len(stdout), stdout)
			}
			if child, err := os.ReadFile(s.dir + "/child"); err == nil {
				_ = shell(t.Context(), t, "kill", strings.TrimSpace(string(child)))
			}
		})
	}
	t.Run("it is diskbridge itself", func(t *testing.T) {
		s := newSite(t, "--devices=none")
		s.configure(map[string]any{"delegate": map[string]any{"exec_path": s.ours}})
		stdout, _, err := s.runOurs(t.Context(), `{"method":"create_vm","arguments":[],"context":{},"api_version":2}`)
		if err != nil || !strings.Contains(stdout, `"type":"Bosh::Clouds::CpiError","message":"create_vm came from diskbridge itself`) {
			t.Errorf("%v; %s", err, stdout)
		}
	})
}

// TestSignals: before there is a request, they end the process; then they end the call, which is answered.
func TestSignals(t *testing.T) {
	s := newSite(t, "--devices=none")
	t.Run("before the request", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), s.ours)
		stdin, err := cmd.StdinPipe()
		s.must(errors.Join(err, cmd.Start()))
		_, err = stdin.Write([]byte(`{"method":`)) // it cannot be told from here when that is read
		s.must(errors.Join(err, cmd.Process.Signal(syscall.SIGTERM)))
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() == 0 {
			t.Errorf("%v", err)
		}
	})
	t.Run("during create_disk", func(t *testing.T) {
		s.must(harness.SetFaults(t.Context(), s.emulator, harness.Fault{Operation: "CreateVolume", Nth: 1, Effect: "hold-after"}))
		cmd := exec.CommandContext(t.Context(), s.ours)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stdin = &out, strings.NewReader(`{"method":"create_disk","arguments":[1024,{},"`+s.emulator.Instances[0].ID+`"],"context":{},"api_version":2}`)
		s.must(cmd.Start())
		ended := make(chan struct{})
		var err error
		go func() { defer close(ended); err = cmd.Wait() }()
		if !s.held(ended) {
			t.Fatalf("nothing was asked: %s", out.String())
		}
		s.must(cmd.Process.Signal(syscall.SIGTERM))
		<-ended
		s.must(harness.ClearFaults(t.Context(), s.emulator))
		volumes, _ := s.live()
		if err != nil || !strings.Contains(out.String(), "`diskbridge orphans`") || len(volumes) != 1 || volumes[0].Tags["diskbridge.io/unconfirmed"] == "" {
			t.Errorf("%v; %s; %+v", err, out.String(), volumes)
		}
	})
}

// TestDelegate_LeavesVolumesRight: the AWS CPI's set_vm_metadata tags every volume of a VM, and delete_vm ends them all.
func TestDelegate_LeavesVolumesRight(t *testing.T) {
	s := newSite(t)
	d := s.director(s.ours)
	vm := s.emulator.Instances[0].ID
	disk := s.text("create_disk", 1024, map[string]any{}, vm)
	_ = s.text("attach_disk", vm, disk)
	pvc := s.foreign(map[string]string{"CSIVolumeName": "pvc-1"})
	s.attach(pvc, vm, "/dev/xvdba")
	if _, err := d.Call(t.Context(), "set_vm_metadata", vm, map[string]string{"director": "d", "deployment": "dep", "instance_id": "x", "attached_at": "now"}); err != nil {
		t.Fatal(err)
	}
	if tags := s.truth(pvc).Tags; tags["deployment"] != "dep" {
		t.Fatalf("the double does not tag as the AWS CPI does: %v", tags)
	}
	if tags := s.truth(disk).Tags; tags["diskbridge.io/layout"] != "bosh" || tags["diskbridge.io/holder"] == "" {
		t.Errorf("our tags are lost: %v", tags)
	}
	if _, err := d.Call(t.Context(), "delete_vm", vm); err != nil {
		t.Fatal(err)
	}
	other := s.emulator.Instances[1].ID
	if _, err := d.Call(t.Context(), "attach_disk", other, disk); err != nil || s.truth(disk).Attachments[0].Instance != other {
		t.Errorf("the disk after its VM: %v, %+v", err, s.truth(disk))
	}
	if _, err := d.Call(t.Context(), "attach_disk", other, pvc); err == nil || !strings.Contains(err.Error(), "CSIVolumeName") {
		t.Errorf("BOSH's tags on Kubernetes' volume made it BOSH's: %v", err)
	}
}

// TestCLI_CreateEnv: the CLI clamps versions, takes a status for a failure and lets the user's environment through.
func TestCLI_CreateEnv(t *testing.T) {
	s := newSite(t)
	c := &cli.CLI{Exec: s.ours, UUID: "c1", Env: []string{"AWS_ACCESS_KEY_ID=stray", "AWS_SECRET_ACCESS_KEY=stray", "AWS_PROFILE=stray", "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_REGION=nowhere"}}
	ctx := t.Context()
	vm, hint, err := c.CreateEnv(ctx, 1024, map[string]any{"type": "gp3"})
	if err != nil || !strings.HasPrefix(hint, "/dev/disk/by-id/nvme-") {
		t.Fatalf("%+v, %q, %v", vm, hint, err)
	}
	old := vm
	if vm, err = c.Grow(ctx, vm, 2048, map[string]any{"type": "gp3"}); err != nil || vm.Disk == old.Disk {
		t.Fatalf("%+v, %v", vm, err)
	}
	if err := c.DeleteEnv(ctx, vm); err != nil {
		t.Fatal(err)
	}
	want := []string{"create_stemcell", "create_vm", "set_vm_metadata", "create_disk", "attach_disk", "set_disk_metadata",
		"has_vm", "delete_vm", "create_vm", "set_vm_metadata", "attach_disk", "set_disk_metadata", "create_disk", "attach_disk", "set_disk_metadata", "detach_disk", "delete_disk",
		"has_vm", "delete_vm", "delete_disk", "delete_stemcell"}
	if !slices.Equal(c.Methods, want) {
		t.Errorf("the double does not call as the CLI does: %v", c.Methods)
	}
	harness.RequireEmpty(t, s.emulator)
}

// TestCredentials: where they come from, and what happens with wrong ones.
func TestCredentials(t *testing.T) {
	s := newSite(t)
	disk := s.text("create_disk", 1024, map[string]any{}, s.emulator.Instances[0].ID)
	ask := func(aws, own map[string]any, env ...string) answer {
		t.Helper()
		aws["region"] = "us-east-1"
		if own == nil {
			own = map[string]any{}
		}
		if own["endpoints"] == nil {
			own["endpoints"] = map[string]any{"ec2": s.emulator.Endpoint, "sts": s.emulator.Endpoint, "imds": s.emulator.Instances[0].IMDS}
		}
		s.write("diskbridge_cpi.json", map[string]any{"aws": aws, "diskbridge": own})
		stdout, _, err := s.runOurs(t.Context(), `{"method":"has_disk","arguments":["`+disk+`"],"context":{},"api_version":2}`, env...)
		if err != nil {
			t.Fatal(err)
		}
		var a answer
		s.must(json.Unmarshal([]byte(stdout), &a))
		return a
	}
	static := func() map[string]any { return map[string]any{"access_key_id": "test", "secret_access_key": "test"} }
	for name, aws := range map[string]map[string]any{
		"static": static(), "the instance's role": {"credentials_source": "env_or_profile"},
		"a role that is assumed":                     {"access_key_id": "test", "secret_access_key": "test", "role_arn": "arn:aws:iam::000000000000:role/bosh"},
		"a role that is assumed with the instance's": {"credentials_source": "env_or_profile", "role_arn": "arn:aws:iam::000000000000:role/bosh"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := ask(aws, nil); a.Error != nil || string(a.Result) != "true" {
				t.Errorf("%s, %+v", a.Result, a.Error)
			}
		})
	}
	t.Run("wrong ones are an answer", func(t *testing.T) {
		a := ask(map[string]any{"access_key_id": "nobody", "secret_access_key": "wrongwrong"}, nil)
		if a.Error == nil || a.Error.Type != "Bosh::Clouds::CloudError" || !strings.Contains(a.Error.Message, "mend the driver's credentials") || strings.Contains(a.Log, "wrongwrong") {
			t.Errorf("%+v", a.Error)
		}
	})
	t.Run("the environment's do not count", func(t *testing.T) {
		a := ask(map[string]any{}, nil, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test")
		if a.Error == nil || a.Error.Type != "Bosh::Clouds::CpiError" || !strings.Contains(a.Error.Message, "access_key_id") {
			t.Errorf("%+v", a.Error)
		}
	})
}

// TestErrors_EveryCode refuses calls with EC2's codes and reads what the Director is told.
func TestErrors_EveryCode(t *testing.T) {
	s := newSite(t)
	vm := s.emulator.Instances[0].ID
	disk := s.text("create_disk", 1024, map[string]any{}, vm)
	s.configure(map[string]any{"timeouts": map[string]any{"create_disk": 2, "attach_disk": 2, "detach_disk": 2, "delete_disk": 2, "snapshot_disk": 2}})
	for _, tc := range []struct {
		method    string
		arguments []any
		operation string
		codes     []string
		kind      string
	}{
		{"create_disk", []any{1024, map[string]any{}, vm}, "CreateVolume", []string{"VolumeLimitExceeded", "MaxIOPSLimitExceeded", "InsufficientVolumeCapacity", "VolumeIOPSLimit"}, "NoDiskSpace true"},
		{"create_disk", []any{1024, map[string]any{}, vm}, "CreateVolume", []string{"InvalidParameterValue", "InvalidParameterCombination", "InvalidParameterDependency", "UnauthorizedOperation", "ExpiredToken", "AuthFailure", "SomethingNew"}, "CloudError false"},
		{"create_disk", []any{1024, map[string]any{}, vm}, "CreateVolume", []string{"RequestLimitExceeded"}, "CloudError true"},
		{"create_disk", []any{1024, map[string]any{}, vm}, "CreateVolume", []string{"InternalError", "Unavailable"}, "CloudError false"},
		{"attach_disk", []any{vm, disk}, "AttachVolume", []string{"AttachmentLimitExceeded", "UnauthorizedOperation", "InvalidParameterValue"}, "CloudError false"},
		{"attach_disk", []any{vm, disk}, "AttachVolume", []string{"IncorrectState"}, "CloudError true"},
		{"detach_disk", []any{vm, disk}, "DetachVolume", []string{"IncorrectState", "InvalidAttachment.NotFound"}, "DiskNotAttached true"},
		{"detach_disk", []any{vm, disk}, "DetachVolume", []string{"UnauthorizedOperation"}, "CloudError false"},
		{"delete_disk", []any{disk}, "DeleteVolume", []string{"UnauthorizedOperation", "IncorrectState"}, "CloudError false"},
		{"delete_disk", []any{"vol-00000000000000000"}, "", []string{""}, "DiskNotFound false"},
		{"delete_disk", []any{"vol-nonsense"}, "", []string{""}, "DiskNotFound false"},
		{"attach_disk", []any{"i-00000000000000000", disk}, "", []string{""}, "VMNotFound false"},
		{"attach_disk", []any{"vm-nonsense", disk}, "", []string{""}, "VMNotFound false"},
		{"get_disks", []any{"i-00000000000000000"}, "", []string{""}, "VMNotFound false"},
		{"create_disk", []any{1024, map[string]any{}, "i-00000000000000000"}, "", []string{""}, "VMNotFound false"},
		{"resize_disk", []any{disk, 2048}, "ModifyVolume", []string{"VolumeModificationRateExceeded", "IncorrectModificationState", "UnsupportedOperation", "UnauthorizedOperation"}, "NotSupported false"},
		{"snapshot_disk", []any{disk, map[string]any{}}, "CreateSnapshot", []string{"SnapshotLimitExceeded"}, "NoDiskSpace true"},
		{"delete_snapshot", []any{"snap-00000000000000000"}, "", []string{""}, "success"},
		{"has_disk", []any{disk}, "DescribeVolumes", []string{"UnauthorizedOperation"}, "CloudError false"},
		{"has_disk", []any{"fs-0123abcd"}, "", []string{""}, "NotSupported false"},
		{"create_disk", []any{1024, map[string]any{"kms_key_arn": "arn:aws:kms:us-east-1:000000000000:key/none", "encrypted": true}, vm}, "", []string{""}, "CloudError false"},
	} {
		for _, code := range tc.codes {
			t.Run(tc.method+" "+code+fmt.Sprint(tc.arguments[0]), func(t *testing.T) {
				if code != "" {
					s.must(harness.SetFaults(t.Context(), s.emulator, harness.Fault{Operation: tc.operation, Effect: "refuse", Code: code}))
					defer func() { s.must(harness.ClearFaults(t.Context(), s.emulator)) }()
				}
				a := s.call(t.Context(), tc.method, tc.arguments...)
				got := "success"
				if a.Error != nil {
					got = fmt.Sprint(strings.TrimPrefix(a.Error.Type, "Bosh::Clouds::"), " ", a.Error.OK)
				}
				if got != tc.kind {
					t.Errorf("%s (%+v), want %s", got, a.Error, tc.kind)
				}
			})
		}
	}
	if v := s.truth(disk); v.State != "available" || v.SizeGiB != 1 {
		t.Errorf("the disk has become %+v", v)
	}
}

// TestErrors_OfWhatWasAccepted: EC2 gives up a modification, or a snapshot, only after it has accepted it.
func TestErrors_OfWhatWasAccepted(t *testing.T) {
	s := newSite(t)
	disk := s.text("create_disk", 1024, map[string]any{}, s.emulator.Instances[0].ID)
	s.configure(map[string]any{"snapshot_wait": "completed"})
	for _, tc := range []struct {
		method, operation, kind, message string
		arguments                        []any
	}{
		{"resize_disk", "ModifyVolume", "NotSupported", "nothing was changed", []any{disk, 2048}},
		{"update_disk", "ModifyVolume", "NotSupported", "nothing was changed", []any{disk, 2048, map[string]any{"type": "gp2"}}},
		{"snapshot_disk", "CreateSnapshot", "CloudError", "it was deleted again", []any{disk, map[string]any{}}},
	} {
		t.Run(tc.method, func(t *testing.T) {
			s.must(harness.SetFaults(t.Context(), s.emulator, harness.Fault{Operation: tc.operation, Nth: 1, Effect: "fail-later"}))
			a := s.call(t.Context(), tc.method, tc.arguments...)
			if a.Error == nil || a.Error.Type != "Bosh::Clouds::"+tc.kind || !strings.Contains(a.Error.Message, tc.message) || a.Error.OK {
				t.Errorf("%s, %+v", a.Result, a.Error)
			}
		})
	}
	if _, snapshots := s.live(); s.truth(disk).SizeGiB != 1 || len(snapshots) > 0 {
		t.Errorf("the disk has become %+v; snapshots %+v", s.truth(disk), snapshots)
	}
	if a := s.call(t.Context(), "resize_disk", disk, 2048); a.Error != nil || s.truth(disk).SizeGiB != 2 {
		t.Errorf("the next attempt: %+v", a.Error)
	}
}

// TestInfo_IsInstant: also beside a delegate that sleeps. The bound is wide, since machines are busy; the benchmark
// measures what it really takes.
func TestInfo_IsInstant(t *testing.T) {
	s := newSite(t)
	s.configure(map[string]any{"delegate": map[string]any{"exec_path": s.delegateThat("sleep 2"), "stemcell_formats": []string{"aws-light"}, "api_version": 3}})
	start := time.Now()
	stdout, _, err := s.runOurs(t.Context(), `{"method":"info","arguments":[],"context":{"director_uuid":"d"}}`)
	if err != nil || stdout != `{"result":{"api_version":3,"stemcell_formats":["aws-light"]},"error":null,"log":""}`+"\n" {
		t.Errorf("%v, %s", err, stdout)
	}
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("it took %s: it waits for the delegate", took)
	}
	calls, err := s.emulator.Calls(t.Context())
	if err != nil || len(calls) > 0 {
		t.Errorf("info called AWS: %v, %v", calls, err)
	}
}
