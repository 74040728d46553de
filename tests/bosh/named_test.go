package bosh

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestNamedDisks_OfOneDiskType: a disk type whose cloud_properties have a name is every instance's. None of them gets the disk of
// another, also after that was orphaned, and the sweep of orphans ends no disk that lives.
func TestNamedDisks_OfOneDiskType(t *testing.T) {
	needRoot(t)
	eachDirector(t, func(t *testing.T, library string) {
		s := newSite(t)
		s.library = library
		ctx, d := t.Context(), s.director(s.ours)
		cloud := map[string]any{"type": "gp3", "name": "data"}
		one, two, three := s.vm(d, 0), s.vm(d, 1), s.vm(d, 0)
		s.must(d.CreateDisk(ctx, one, 1024, cloud))
		s.put(one, "one")
		s.must(d.CreateDisk(ctx, two, 1024, cloud))
		if one.Disk == two.Disk {
			t.Fatalf("two instances share %s", one.Disk)
		}
		s.put(two, "two")
		orphan := one.Disk
		s.must(d.Orphan(ctx, one))
		s.must(d.CreateDisk(ctx, three, 1024, cloud))
		if three.Disk == orphan {
			t.Fatalf("the orphan %s was handed out with its data", orphan)
		}
		s.put(three, "three")
		s.must(d.SweepOrphans(ctx))
		s.holds("after the sweep", two, "two")
		s.holds("after the sweep", three, "three")
		if !strings.Contains(strings.Join(d.Log, ""), "has the name \\\"data\\\"") {
			t.Errorf("nothing says that the name is taken")
		}
		s.must(d.Orphan(ctx, two))
		s.must(d.Orphan(ctx, three))
		s.must(d.SweepOrphans(ctx))
		harness.RequireEmpty(t, s.emulator)
	})
}

// TestNamedDisks_Repeated: the same request gets the same disk, until that can have been used.
func TestNamedDisks_Repeated(t *testing.T) {
	vm := func(s *site) string { return s.emulator.Instances[0].ID }
	properties := map[string]any{"type": "gp3", "name": "cache", "tags": map[string]string{"team": "a"}}
	named := func(s *site) string { return s.text("create_disk", 1024, properties, vm(s)) }
	for name, tc := range map[string]struct {
		between func(s *site, disk string)
		same    bool
	}{
		"at once":                           {func(*site, string) {}, true},
		"after it was attached":             {func(s *site, disk string) { s.text("attach_disk", vm(s), disk) }, false},
		"after it was detached":             {func(s *site, disk string) { s.text("attach_disk", vm(s), disk); s.ok("detach_disk", vm(s), disk) }, false},
		"after the Director tagged it":      {func(s *site, disk string) { s.ok("set_disk_metadata", disk, map[string]string{"deployment": "cf"}) }, false},
		"after it grew":                     {func(s *site, disk string) { s.ok("resize_disk", disk, 2048) }, false},
		"while another CPI has it attached": {func(s *site, disk string) { s.attach(disk, vm(s), "/dev/sdf") }, false},
		"after another CPI used it":         {func(s *site, disk string) { s.hold(disk, map[string]string{"attached_at": "2026", "instance_id": "i"}) }, false},
		"after it was deleted":              {func(s *site, disk string) { s.ok("delete_disk", disk) }, false},
		"for another VM": {func(s *site, disk string) {
			if other := s.text("create_disk", 1024, properties, s.emulator.Instances[1].ID); other == disk {
				s.t.Errorf("another VM gets %s too, before the first has attached it", disk)
			}
		}, true},
		"with other properties": {func(s *site, disk string) {
			for _, p := range []map[string]any{{"name": "cache"}, {"name": "cache", "type": "gp2"}, {"name": "cache", "encrypted": true}} {
				if other := s.text("create_disk", 1024, p, vm(s)); other == disk {
					s.t.Errorf("%v gets %s too", p, disk)
				}
			}
			if other := s.text("create_disk", 2048, properties, vm(s)); other == disk {
				s.t.Errorf("2 GiB get %s too", disk)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "--devices=none")
			disk := named(s)
			tc.between(s, disk)
			if again := named(s); (again == disk) != tc.same {
				t.Errorf("%s, then %s", disk, again)
			}
		})
	}
}

// TestNamedDisks_UsedAgainAndAgain: EC2 answers a client token with the disk that it made first for as long as it remembers; none
// of those is handed out.
func TestNamedDisks_UsedAgainAndAgain(t *testing.T) {
	s := newSite(t, "--devices=none")
	vm, seen := s.emulator.Instances[0].ID, map[string]bool{}
	for range 4 {
		disk := s.text("create_disk", 1024, map[string]any{"name": "data"}, vm)
		if seen[disk] {
			t.Errorf("%s comes again", disk)
		}
		seen[disk] = true
		_ = s.text("attach_disk", vm, disk)
		s.ok("detach_disk", vm, disk)
	}
}
