package bosh

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/tests/doubles/agent"
	"github.com/diskbridge/diskbridge/tests/doubles/director"
	"github.com/diskbridge/diskbridge/tests/harness"
)

func needRoot(t *testing.T) {
	t.Helper()
	if !harness.IsRoot() {
		t.Skip("partitions and mounts need root")
	}
}

// file is a file in the store of a VM.
func file(vm *director.VM, name string) string {
	return filepath.Join(vm.Agent.(*agent.Agent).Store(), name)
}

func (s *site) put(vm *director.VM, name string) {
	s.t.Helper()
	s.must(os.WriteFile(file(vm, name), []byte("written by "+name), 0o600))
}

// holds fails unless exactly these files are there, each with its text.
func (s *site) holds(when string, vm *director.VM, names ...string) {
	s.t.Helper()
	for _, name := range names {
		if text, err := os.ReadFile(file(vm, name)); string(text) != "written by "+name {
			s.t.Fatalf("%s: %s holds %q, %v", when, name, text, err)
		}
	}
}

// sees returns the size of the store in bytes.
func (s *site) sees(vm *director.VM) int64 {
	s.t.Helper()
	var fs unix.Statfs_t
	s.must(unix.Statfs(vm.Agent.(*agent.Agent).Store(), &fs))
	return int64(fs.Blocks) * fs.Bsize
}

// TestLife_OfAPersistentDisk is a deployment's: created, attached, formatted by the agent, written, snapshot, resized
// natively, its type changed, migrated to a new disk, on a recreated VM, checked by cck, orphaned and deleted.
func TestLife_OfAPersistentDisk(t *testing.T) {
	needRoot(t)
	for _, fs := range []string{"ext4", "xfs"} {
		t.Run(fs, func(t *testing.T) {
			eachDirector(t, func(t *testing.T, library string) {
				s := newSite(t)
				s.library = library
				ctx, d := t.Context(), s.director(s.ours)
				agentOf := func(cid string) (director.Agent, error) { return s.newAgent(cid, fs) }
				vm := d.Adopt(&director.VM{Name: "db/1"})
				s.must(d.CreateVM(ctx, vm, agentOf))
				s.must(d.CreateDisk(ctx, vm, 1024, map[string]any{"type": "gp3"}))
				first := vm.Disk
				s.put(vm, "first")
				if tags := s.truth(first).Tags; tags["diskbridge.io/layout"] != "bosh" || tags["diskbridge.io/holder"] != "bosh:"+d.UUID || tags["deployment"] != "dep" {
					t.Errorf("tags %v", tags)
				}

				snapshot, err := d.Snapshot(ctx, vm)
				s.must(err)

				small := s.sees(vm)
				copied, err := d.Resize(ctx, vm, 2048)
				s.must(err)
				if copied || vm.Disk != first || s.sees(vm) < small+(800<<20) {
					t.Errorf("resized: copied %v, from %s to %s, from %d to %d bytes", copied, first, vm.Disk, small, s.sees(vm))
				}
				s.holds("after the resize", vm, "first")

				copied, err = d.Update(ctx, vm, 2048, map[string]any{"type": "gp2", "tags": map[string]string{"tier": "slow"}})
				s.must(err)
				if copied || vm.Disk != first || s.truth(first).Tags["tier"] != "slow" {
					t.Errorf("updated: copied %v, tags %v", copied, s.truth(first).Tags)
				}
				s.holds("after the change of type", vm, "first")

				copied, err = d.Update(ctx, vm, 2048, map[string]any{"type": "gp3", "encrypted": true})
				s.must(err)
				if !copied || vm.Disk == first || len(d.Orphans()) != 1 {
					t.Errorf("encrypted: copied %v to %s, orphans %v", copied, vm.Disk, d.Orphans())
				}
				s.holds("after the copy", vm, "first")
				s.put(vm, "second")

				old := vm.CID
				s.must(d.Recreate(ctx, vm, agentOf))
				if vm.CID == old {
					t.Error("the VM is the same")
				}
				s.holds("on the new VM", vm, "first", "second")

				if has, err := d.CheckDisk(ctx, vm.Disk); err != nil || !has {
					t.Errorf("cck: %v, %v", has, err)
				}
				s.must(d.Reattach(ctx, vm)) // though it is attached
				s.holds("after cck", vm, "first", "second")

				s.must(d.Orphan(ctx, vm))
				s.must(d.SweepOrphans(ctx))
				s.must(d.DeleteSnapshot(ctx, snapshot))
				s.must(d.DeleteVM(ctx, vm))
				if len(d.Orphans()) > 0 {
					t.Errorf("orphans are left: %v", d.Orphans())
				}
				harness.RequireEmpty(t, s.emulator)
			})
		})
	}
}

// TestSwitch_ThereAndBack: a director's disks, made by the AWS CPI, come to us and go back, with nothing refused.
func TestSwitch_ThereAndBack(t *testing.T) {
	needRoot(t)
	eachDirector(t, func(t *testing.T, library string) {
		s := newSite(t)
		s.library = library
		ctx, d := t.Context(), s.director(s.aws)
		vm := d.Adopt(&director.VM{Name: "db/1"})
		s.must(d.CreateVM(ctx, vm, s.agentOf))
		s.must(d.CreateDisk(ctx, vm, 1024, map[string]any{}))
		s.put(vm, "aws")
		cid := vm.Disk

		d.Exec = s.ours
		s.must(d.Reattach(ctx, vm))
		s.holds("where we find it attached", vm, "aws")
		s.must(d.Recreate(ctx, vm, s.agentOf))
		s.holds("on our VM", vm, "aws")
		if copied, err := d.Resize(ctx, vm, 2048); err != nil || copied {
			t.Fatalf("resize: copied %v, %v", copied, err)
		}
		s.put(vm, "ours")

		d.Exec = s.aws
		s.must(d.Recreate(ctx, vm, s.agentOf))
		s.holds("back with the AWS CPI", vm, "aws", "ours")
		if vm.Disk != cid {
			t.Errorf("the disk is another one: %s, then %s", cid, vm.Disk)
		}
		s.must(d.Orphan(ctx, vm))
		s.must(d.SweepOrphans(ctx))
		s.must(d.DeleteVM(ctx, vm))
		harness.RequireEmpty(t, s.emulator)
	})
}

// TestDynamicDisks as director v283 sends them.
func TestDynamicDisks(t *testing.T) {
	needRoot(t)
	eachDirector(t, func(t *testing.T, library string) {
		s := newSite(t)
		s.library = library
		ctx, d := t.Context(), s.director(s.ours)
		vm := s.vm(d, 0)
		lost := s.text("create_disk", 1024, map[string]any{"type": "gp3", "name": "cache"}, vm.CID)
		cid, err := d.Provide(ctx, vm, "cache", 1024, map[string]any{"type": "gp3"})
		s.must(err)
		if cid != lost {
			t.Errorf("after a call whose answer the Director lost it gets %s beside %s", cid, lost)
		}
		link := vm.Agent.(*agent.Agent).Dynamic(cid)
		if node, err := filepath.EvalSymlinks(link); err != nil || !strings.Contains(node, "nvme") {
			t.Errorf("the agent's link leads to %q, %v", node, err)
		}
		if again, err := d.Provide(ctx, vm, "cache", 1024, nil); err != nil || again != cid {
			t.Errorf("provided again: %q, %v", again, err)
		}
		if _, err := d.Call(ctx, "detach_disk", vm.CID, cid); err != nil { // a call that the Director lost
			t.Fatal(err)
		}
		if _, err := d.Call(ctx, "detach_disk", vm.CID, cid); !director.Is(err, "DiskNotAttached") {
			t.Errorf("detached twice: %v", err)
		}
		s.must(d.DetachDynamic(ctx, "cache"))
		s.must(d.DeleteDynamic(ctx, "cache"))
		if has, err := d.CheckDisk(ctx, cid); has || err != nil {
			t.Errorf("deleted, and has_disk says %v, %v", has, err)
		}
		second, err := d.Provide(ctx, vm, "cache", 1024, map[string]any{"type": "gp3"})
		if err != nil || second == cid {
			t.Errorf("the name again: %q, %v", second, err)
		}
		s.must(d.DetachDynamic(ctx, "cache"))
		s.must(d.DeleteDynamic(ctx, "cache"))
		harness.RequireEmpty(t, s.emulator)
	})
}

// TestDirector_NothingStrandsADisk: whatever a change of a disk ends with, the disk is attached again or the next deploy
// attaches it.
func TestDirector_NothingStrandsADisk(t *testing.T) {
	needRoot(t)
	for name, tc := range map[string]struct {
		fault  harness.Fault
		copied bool
	}{
		"denied":           {harness.Fault{Operation: "ModifyVolume", Effect: "refuse", Code: "UnauthorizedOperation"}, true},
		"cooling down":     {harness.Fault{Operation: "ModifyVolume", Effect: "refuse", Code: "IncorrectModificationState"}, true},
		"rate used up":     {harness.Fault{Operation: "ModifyVolume", Effect: "refuse", Code: "VolumeModificationRateExceeded"}, true},
		"infeasible":       {harness.Fault{Operation: "ModifyVolume", Effect: "refuse", Code: "UnsupportedOperation"}, true},
		"the answer lost":  {harness.Fault{Operation: "ModifyVolume", Nth: 1, Effect: "drop-reply"}, false},
		"throttled a bit":  {harness.Fault{Operation: "ModifyVolume", Nth: 1, Effect: "throttle"}, false},
		"failed after all": {harness.Fault{Operation: "ModifyVolume", Nth: 1, Effect: "fail-after", Code: "InternalError"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			ctx, d := t.Context(), s.director(s.ours)
			vm := s.vm(d, 0)
			s.must(d.CreateDisk(ctx, vm, 1024, map[string]any{}))
			s.put(vm, "data")
			s.must(harness.SetFaults(ctx, s.emulator, tc.fault))
			copied, err := d.Resize(ctx, vm, 2048)
			s.must(errors.Join(err, harness.ClearFaults(ctx, s.emulator)))
			if copied != tc.copied {
				t.Errorf("copied %v, want %v", copied, tc.copied)
			}
			s.holds("after the resize", vm, "data")
			if name == "throttled a bit" && !strings.Contains(strings.Join(d.Log, ""), "refused a request for its rate") {
				t.Error("the log does not say that the call was throttled")
			}
			s.must(d.Orphan(ctx, vm))
			s.must(d.SweepOrphans(ctx))
			harness.RequireEmpty(t, s.emulator)
		})
	}
}

// TestDirector_ForgetsWhatKubernetesHolds: an orphan that Kubernetes has taken over stays, and its record goes.
func TestDirector_ForgetsWhatKubernetesHolds(t *testing.T) {
	eachDirector(t, func(t *testing.T, library string) {
		s := newSite(t)
		s.library = library
		ctx, d := t.Context(), s.director(s.ours)
		disk := s.text("create_disk", 1024, map[string]any{}, s.emulator.Instances[0].ID)
		s.hold(disk, map[string]string{"diskbridge.io/holder": "kubernetes:prod/pv-1"})
		_, err := d.Call(ctx, "delete_disk", disk)
		if !director.Is(err, "DiskNotFound") || s.truth(disk).State != "available" {
			t.Errorf("%v; the disk is %s", err, s.truth(disk).State)
		}
		if _, err := d.Call(ctx, "attach_disk", s.emulator.Instances[0].ID, disk); !director.Is(err, "CloudError") || !strings.Contains(err.Error(), "diskbridge release "+disk) {
			t.Errorf("attach: %v", err)
		}
		if !slices.Contains(d.Methods, "delete_disk") {
			t.Error("nothing was asked")
		}
	})
}
