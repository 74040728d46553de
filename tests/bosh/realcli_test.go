package bosh

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// bosh runs the bosh CLI itself, with a home of its own; the test is left out where there is none.
func (s *site) bosh(args ...string) string {
	s.t.Helper()
	path, err := exec.LookPath("bosh")
	if err != nil {
		s.t.Skip("there is no bosh CLI on the PATH; TestCLI_CreateEnv has a simulated one")
	}
	return shell(s.t.Context(), s.t, append([]string{"HOME=" + s.dir, path, "--non-interactive"}, args...)...)
}

// release has the bosh CLI build our release, as the guide says.
func (s *site) release() (tarball string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "release")
	s.must(os.CopyFS(dir, os.DirFS(filepath.Join(harness.Root(s.t), "deploy/bosh"))))
	binary, err := os.ReadFile(filepath.Join(harness.Bin(s.t), "diskbridge-cpi"))
	s.must(err)
	s.must(os.WriteFile(filepath.Join(dir, "src/diskbridge-cpi/diskbridge-cpi"), binary, 0o755))
	tarball = filepath.Join(s.dir, "release.tgz")
	s.bosh("create-release", "--force", "--dir", dir, "--tarball", tarball)
	return tarball
}

// TestRealCLI_InstallsAndCalls: the bosh CLI builds the release, installs it as create-env does (it compiles the package, and
// renders the job with Ruby), and calls the CPI: an environment whose VM is gone is deleted with its disk.
func TestRealCLI_InstallsAndCalls(t *testing.T) {
	s := newSite(t, "--devices=none")
	s.bosh("--version")
	tarball := s.release()
	disk, kept := s.text("create_disk", 1024, map[string]any{}, s.emulator.Instances[0].ID), s.text("create_disk", 1024, map[string]any{}, s.emulator.Instances[0].ID)
	s.hold(disk, map[string]string{holderTag: ""}) // made by a Director of another UUID
	write := func(name string, content any) string {
		text, err := json.Marshal(content) // which is YAML, too
		s.must(err)
		path := filepath.Join(s.dir, name)
		s.must(os.WriteFile(path, text, 0o600))
		return path
	}
	manifest := write("manifest.yml", map[string]any{
		"name":     "test",
		"releases": []any{map[string]any{"name": "diskbridge-cpi", "url": "file://" + tarball}},
		"cloud_provider": map[string]any{
			"template": map[string]any{"name": "diskbridge_cpi", "release": "diskbridge-cpi"},
			"mbus":     "https://user:password@127.0.0.1:1",
			"properties": map[string]any{
				"aws":        map[string]any{"access_key_id": "test", "secret_access_key": "test", "region": sandbox.Region, "ec2_endpoint": s.emulator.Endpoint},
				"diskbridge": map[string]any{"delegate": map[string]any{"exec_path": s.aws}},
			},
		},
	})
	state := write("state.json", map[string]any{
		"director_id": "2b3c4d5e-0000-4000-8000-000000000001", "installation_id": "2b3c4d5e-0000-4000-8000-000000000002",
		"current_disk_id": "disk-1", "disks": []any{map[string]any{"id": "disk-1", "cid": disk, "size": 1024, "cloud_properties": map[string]any{}}},
	})
	out := s.bosh("delete-env", manifest, "--state", state)
	if state := s.truth(disk).State; state != "gone" && state != "deleting" || s.truth(kept).State != "available" {
		t.Errorf("the disk is %s, the other %s:\n%s", state, s.truth(kept).State, out)
	}
}
