package bosh

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// many are as many tags, whose keys sort behind a Director's.
func many(n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags[fmt.Sprintf("tag-%02d", i)] = "x"
	}
	return tags
}

// TestAttach_DisksFullOfTags: a disk of the AWS CPI may have as many tags as EC2 takes, and its Director's did not fit then.
func TestAttach_DisksFullOfTags(t *testing.T) {
	for name, tc := range map[string]struct {
		tags           map[string]string
		attached       bool
		layout, holder bool // are tags afterwards
		shown          string
	}{
		"48":                       {many(48), true, true, true, "bosh:"},
		"49":                       {many(49), true, true, false, "50 tags: no room for diskbridge.io/holder"},
		"50":                       {many(50), false, false, false, "50 tags: no room for diskbridge.io/layout"},
		"50, one is the layout":    {with(many(49), "diskbridge.io/layout", "bosh"), true, true, false, "50 tags: no room for diskbridge.io/holder"},
		"50, blank":                {with(many(49), "diskbridge.io/layout", "blank"), true, true, false, "50 tags: no room for diskbridge.io/holder"},
		"50, one is the holder":    {with(many(49), "diskbridge.io/holder", "bosh:0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"), false, false, true, "no room for diskbridge.io/layout"},
		"50, both are among them":  {with(with(many(48), "diskbridge.io/layout", "bosh"), "diskbridge.io/holder", "bosh:other"), true, true, true, "bosh:other"},
		"50, a Director's as well": {with(with(many(48), "attached_at", "2026"), "instance_id", "i"), false, false, false, "no room for diskbridge.io/layout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "--devices=none")
			vm, disk := s.emulator.Instances[0].ID, s.foreign(tc.tags)
			a := s.call(t.Context(), "attach_disk", vm, disk)
			v := s.truth(disk)
			if (a.Error == nil) != tc.attached || (len(v.Attachments) == 1) != tc.attached {
				t.Errorf("%s, %+v; %+v", a.Result, a.Error, v.Attachments)
			}
			if !tc.attached && !strings.Contains(a.Error.Message, "aws ec2 delete-tags --resources "+disk+" --tags 'Key=tag-00'") {
				t.Errorf("it does not say what to remove: %s", a.Error.Message)
			}
			if (v.Tags["diskbridge.io/layout"] == "bosh") != tc.layout || (v.Tags["diskbridge.io/holder"] != "") != tc.holder {
				t.Errorf("tags %v", v.Tags)
			}
			if tc.attached && !tc.holder && !strings.Contains(a.Log, "no room for the tag diskbridge.io/holder") {
				t.Errorf("the log says nothing: %s", a.Log)
			}
			if list := s.volumes(); !strings.Contains(list, disk) || !strings.Contains(list, tc.shown) {
				t.Errorf("volumes shows %q", list)
			}
			if tc.attached { // what follows from the Director never fails for its tags
				s.ok("set_disk_metadata", disk, map[string]string{"deployment": "cf", "attached_at": "now", "tag-00": "changed"})
				if got := s.truth(disk).Tags; got["tag-00"] != "changed" || len(got) > 50 {
					t.Errorf("%d tags, %v", len(got), got)
				}
			}
		})
	}
}

func with(tags map[string]string, key, value string) map[string]string {
	tags[key] = value
	return tags
}

// volumes is what `diskbridge volumes` prints.
func (s *site) volumes() string {
	s.t.Helper()
	return shell(s.t.Context(), s.t, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "AWS_ENDPOINT_URL="+s.emulator.Endpoint,
		filepath.Join(harness.Bin(s.t), "diskbridge"), "volumes")
}

// TestTags_ThatDoNotFit: of a Director's metadata those tags are set that EC2 takes, first those by which it is known later
// that BOSH used the disk. The answer is no error, and the log names the others.
func TestTags_ThatDoNotFit(t *testing.T) {
	s := newSite(t, "--devices=none")
	vm := s.emulator.Instances[0].ID
	disk := s.text("create_disk", 1024, map[string]any{"tags": many(46)}, vm) // 48 with the layout and the holder
	a := s.call(t.Context(), "set_disk_metadata", disk, map[string]string{"deployment": "cf", "attached_at": "now", "instance_id": "i", "index": "0", "tag-01": "new"})
	tags := s.truth(disk).Tags
	if a.Error != nil || len(tags) != 50 || tags["attached_at"] != "now" || tags["instance_id"] != "i" || tags["tag-01"] != "new" {
		t.Errorf("%+v; %d tags, %v", a.Error, len(tags), tags)
	}
	for _, key := range []string{"deployment", "index"} {
		if !strings.Contains(a.Log, "tag "+key+" is left out") {
			t.Errorf("the log does not name %s: %s", key, a.Log)
		}
	}
	snapshot := s.text("snapshot_disk", disk, many(60))
	_, list := s.live()
	if len(list) != 1 || list[0].ID != snapshot || len(list[0].Tags) > 50 || list[0].Tags["diskbridge.io/layout"] != "blank" || list[0].Tags["tag-00"] != "x" {
		t.Errorf("%+v", list)
	}
}

// TestTags_TooLong are cut to the same length by every method, and the log says so.
func TestTags_TooLong(t *testing.T) {
	s := newSite(t, "--devices=none")
	vm := s.emulator.Instances[0].ID
	key, value := strings.Repeat("ü", 200), strings.Repeat("v", 300)
	disk := s.text("create_disk", 1024, map[string]any{}, vm)
	long := map[string]string{key: value}
	right := func(what string, tags map[string]string, log string) {
		t.Helper()
		if got := tags[strings.Repeat("ü", 127)]; got != strings.Repeat("v", 255) || !strings.Contains(log, "is cut") {
			t.Errorf("%s: %q; %s", what, got, log)
		}
	}
	made := s.call(t.Context(), "create_disk", 1024, map[string]any{"tags": long}, vm)
	if made.Error != nil {
		t.Fatalf("%+v", made.Error)
	}
	right("create_disk", s.truth(strings.Trim(string(made.Result), `"`)).Tags, made.Log)
	for method, arguments := range map[string][]any{
		"set_disk_metadata": {disk, long},
		"update_disk":       {disk, 1024, map[string]any{"tags": long}},
	} {
		a := s.call(t.Context(), method, arguments...)
		if a.Error != nil {
			t.Errorf("%s: %+v", method, a.Error)
		}
		right(method, s.truth(disk).Tags, a.Log)
	}
	a := s.call(t.Context(), "snapshot_disk", disk, long)
	if _, list := s.live(); a.Error != nil || len(list) != 1 {
		t.Errorf("%+v, %+v", a.Error, list)
	} else {
		right("snapshot_disk", list[0].Tags, a.Log)
	}
}

// TestProperties_OfTypesWithout: what a type does not have is refused by create_disk and by update_disk, which changes nothing.
func TestProperties_OfTypesWithout(t *testing.T) {
	s := newSite(t, "--devices=none")
	vm := s.emulator.Instances[0].ID
	disk := s.text("create_disk", 204800, map[string]any{}, vm)
	for _, p := range []map[string]any{
		{"type": "gp2", "iops": 3000}, {"type": "gp2", "throughput": 200}, {"type": "st1", "iops": 500}, {"type": "io2", "iops": 500, "throughput": 200},
		{"type": "io1"}, {"type": "gp3", "iops": 3000, "iopsPerGB": 5},
	} {
		create := s.call(t.Context(), "create_disk", 204800, p, vm)
		update := s.call(t.Context(), "update_disk", disk, 204800, p)
		if create.Error == nil || create.Error.Type != "Bosh::Clouds::CloudError" || update.Error == nil || update.Error.Type != "Bosh::Clouds::NotSupported" {
			t.Errorf("%v: create_disk %+v, update_disk %+v", p, create.Error, update.Error)
		}
		if v := s.truth(disk); v.IOPS != 3000 || v.SizeGiB != 200 {
			t.Fatalf("%v: it is %+v", p, v)
		}
	}
}

// TestCredentials_WithALineBreak are refused at once, by the name of their key and without their value.
func TestCredentials_WithALineBreak(t *testing.T) {
	s := newSite(t, "--devices=none")
	for _, key := range []string{"access_key_id", "secret_access_key", "session_token", "role_arn", "region"} {
		for _, bad := range []string{"%s\n", "%s\r\n", " %s", "%s\u00a0", "%s\x00"} {
			aws := map[string]any{"region": "us-east-1", "access_key_id": "test", "secret_access_key": "testtest", "ec2_endpoint": s.emulator.Endpoint}
			value, _ := aws[key].(string)
			aws[key] = fmt.Sprintf(bad, value+"secretly")
			s.write("diskbridge_cpi.json", map[string]any{"aws": aws})
			a := s.call(t.Context(), "has_disk", "vol-00000000000000000")
			if a.Error == nil || a.Error.Type != "Bosh::Clouds::CpiError" || !strings.HasPrefix(a.Error.Message, key+" has a space") || strings.Contains(a.Error.Message+a.Log, "secretly") {
				t.Errorf("%s %q: %+v", key, bad, a.Error)
			}
		}
	}
	if calls, err := s.emulator.Calls(t.Context()); err != nil || len(calls) > 0 {
		t.Errorf("AWS was called: %v, %v", calls, err)
	}
}
