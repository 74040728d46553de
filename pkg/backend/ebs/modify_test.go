package ebs_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func (c *cloud) volume(id string) ec2.Volume {
	c.t.Helper()
	v, _, err := c.client().Volume(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// mustCreateTen makes a volume of 10 GiB, large enough for more than gp3's least iops.
func mustCreateTen(t *testing.T, b *ebs.Backend) volume.Volume {
	t.Helper()
	v, err := b.Create(t.Context(), request("v", 10))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestModify_ChangesWhatDiffersAndNothingElse(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreateTen(t, b)
	class := map[string]string{"iops": "4000", "throughput": "300", "tagSpecification_1": "tier=gold"}
	for range 3 {
		if err := b.Modify(t.Context(), v.Handle, class); err != nil {
			t.Fatal(err)
		}
	}
	now := c.volume(v.Handle)
	if now.IOPS != 4000 || now.Throughput != 300 || now.Tags["tier"] != "gold" {
		t.Errorf("made %d iops, %d MiB/s, tags %v", now.IOPS, now.Throughput, now.Tags)
	}
	if n, tags := c.count("ModifyVolume"), c.count("CreateTags"); n != 1 || tags != 1 {
		t.Errorf("%d modifications and %d taggings for one change", n, tags)
	}
	if err := b.Modify(t.Context(), v.Handle, map[string]string{"tagDeletion_1": "tier", "tagDeletion_2": "never-there"}); err != nil {
		t.Fatal(err)
	}
	if _, left := c.volume(v.Handle).Tags["tier"]; left || c.count("ModifyVolume") != 1 {
		t.Errorf("the tag is left: %v", left)
	}
}

func TestModify_AnotherType(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreateTen(t, b)
	if err := b.Modify(t.Context(), v.Handle, map[string]string{"type": "io2", "iopsPerGB": "100"}); err != nil {
		t.Fatal(err)
	}
	if now := c.volume(v.Handle); now.Type != "io2" || now.IOPS != 1000 {
		t.Errorf("made %s with %d iops", now.Type, now.IOPS)
	}
}

func TestModify_Refusals(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	v := mustCreate(t, b, "v")
	before := c.volume(v.Handle).Tags
	for _, tc := range []struct {
		name string
		raw  map[string]string
		kind fault.Kind
		want string
	}{
		{"not a mutable parameter", map[string]string{"encrypted": "true"}, fault.Invalid, "encrypted"},
		{"both iops", map[string]string{"iops": "3000", "iopsPerGB": "5"}, fault.Invalid, "exclude"},
		{"throughput of another type", map[string]string{"type": "gp2", "throughput": "300"}, fault.Invalid, "takes no parameter"},
		{"a reserved tag removed", map[string]string{"tagDeletion_1": ebs.TagCluster}, fault.Invalid, "reserved"},
		{"a reserved tag set", map[string]string{"tagSpecification_1": "CSIVolumeName=x"}, fault.Invalid, "reserved"},
		{"too few iops are EC2's to refuse", map[string]string{"iops": "100"}, fault.Invalid, "iops"},
		{"one tag twice", map[string]string{"tagSpecification_1": "a=1", "tagSpecification_2": "a=2"}, fault.Invalid, "both set the tag"},
	} {
		if err := b.Modify(t.Context(), v.Handle, tc.raw); !fault.Is(err, tc.kind) || !strings.Contains(strings.ToLower(err.Error()), tc.want) {
			t.Errorf("%s: %v (%v)", tc.name, err, fault.KindOf(err))
		}
	}
	if err := b.Modify(t.Context(), missing, map[string]string{"iops": "4000"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a missing volume: %v", err)
	}
	if after := c.volume(v.Handle).Tags; !maps.Equal(before, after) {
		t.Errorf("a refused change left tags: %v, before: %v", after, before)
	}
}

func TestModify_BesideExpandIsOneModification(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	b := c.backend()
	v := mustCreateTen(t, b)
	var both sync.WaitGroup
	both.Go(func() {
		if size, err := b.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 15 * volume.GiB}); err != nil || size != 15*volume.GiB {
			t.Errorf("Expand = %d, %v", size, err)
		}
	})
	both.Go(func() {
		if err := b.Modify(t.Context(), v.Handle, map[string]string{"iops": "4000"}); err != nil {
			t.Errorf("Modify = %v", err)
		}
	})
	both.Wait()
	if now := c.volume(v.Handle); c.count("ModifyVolume") != 1 || now.SizeGiB != 15 || now.IOPS != 4000 {
		t.Errorf("%d modifications; %d GiB, %d iops", c.count("ModifyVolume"), now.SizeGiB, now.IOPS)
	}
}

func TestModify_ALostReplyIsNoSecondModification(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
	b := c.backend()
	v := mustCreateTen(t, b)
	c.fault(emulator.Fault{Operation: "ModifyVolume", Nth: 1, Effect: faults.DropReply})
	if err := b.Modify(t.Context(), v.Handle, map[string]string{"iops": "4000"}); err != nil || c.volume(v.Handle).IOPS != 4000 {
		t.Errorf("Modify = %v, %d iops", err, c.volume(v.Handle).IOPS)
	}
}

func TestExpand_KeepsTheRatioOfIOPS(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	req := request("v", 10)
	req.Parameters = map[string]string{"type": "io2", "iopsPerGB": "50", "allowAutoIOPSIncreaseOnModify": "true"}
	v, err := b.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	// Another process grows it: the ratio is in the tags.
	if _, err := c.backend().Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 20 * volume.GiB}); err != nil {
		t.Fatal(err)
	}
	if now := c.volume(v.Handle); now.IOPS != 1000 {
		t.Errorf("%d iops for 20 GiB", now.IOPS)
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	c := newCloud(t, emulator.Options{Zones: []string{"us-east-1a", "us-east-1b"}}, 50*time.Millisecond)
	b := c.backend()
	source := request("source", 10)
	source.Parameters = map[string]string{"type": "io2", "iops": "2000"}
	from, err := b.Create(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	clone := request("clone", 12)
	clone.Source.Volume, clone.Parameters = from.Handle, map[string]string{"type": "io2"}
	clone.Topology = volume.Requirement{}
	v, err := b.Create(t.Context(), clone)
	if err != nil || v.Source.Volume != from.Handle || v.Context[volume.ContextMayFormat] != "false" {
		t.Fatalf("clone = %+v, %v", v, err)
	}
	for _, other := range []*ebs.Backend{b, c.backend()} {
		if again, err := other.Create(t.Context(), clone); err != nil || again.Handle != v.Handle {
			t.Errorf("the same request: %v, %v", again.Handle, err)
		}
	}
	if made := c.volume(v.Handle); made.Type != "io2" || made.IOPS != 2000 || made.SizeGiB != 12 || made.Zone != "us-east-1a" {
		t.Errorf("made %+v", made)
	}
	elsewhere := clone
	elsewhere.Name = "elsewhere"
	elsewhere.Topology = volume.Requirement{Requisite: []volume.Topology{{Zone: "us-east-1b"}}}
	if _, err := b.Create(t.Context(), elsewhere); !fault.Is(err, fault.Limit) {
		t.Errorf("a clone in another zone = %v (%v), want limit: the scheduler must choose again", err, fault.KindOf(err))
	}
	gone := clone
	gone.Name, gone.Source.Volume = "gone", missing
	if _, err := b.Create(t.Context(), gone); !fault.Is(err, fault.NotFound) {
		t.Errorf("a clone of nothing = %v", err)
	}
	if n := len(c.ours()); n != 2 {
		t.Errorf("%d volumes in the cloud", n)
	}
}

func TestMultiAttach(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	sharedBlock := volume.Capability{Mode: volume.MultiNodeMultiWriter, Block: true}
	req := request("shared", 10)
	req.Capabilities = []volume.Capability{sharedBlock}
	if _, err := b.Create(t.Context(), req); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "io2") {
		t.Errorf("gp3 for several nodes = %v", err)
	}
	req.Parameters = map[string]string{"type": "io2", "iops": "100"}
	v, err := b.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		_, err := b.Publish(t.Context(), volume.PublishRequest{Handle: v.Handle, Node: c.node(i), Capability: sharedBlock})
		if err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
	got, err := b.Get(t.Context(), v.Handle)
	if err != nil || !got.MultiNode || len(got.PublishedNodes) != 2 {
		t.Errorf("Get = %+v, %v", got, err)
	}
	if err := b.Unpublish(t.Context(), v.Handle, c.node(0)); err != nil {
		t.Error(err)
	}
	if got, _ := b.Get(t.Context(), v.Handle); fmt.Sprint(got.PublishedNodes) != fmt.Sprint([]string{c.node(1)}) {
		t.Errorf("after one detached: %v", got.PublishedNodes)
	}
	single := mustCreate(t, b, "single")
	if _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: single.Handle, Node: c.node(0), Capability: sharedBlock}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a volume without multi-attach for several nodes = %v", err)
	}
}

// TestMultiAttach_ALostReply: EC2 answers the repetition with the volume as it is by then, ready to be used.
func TestMultiAttach_ALostReply(t *testing.T) {
	t.Parallel()
	c := instant(t)
	c.fault(emulator.Fault{Operation: "CreateVolume", Nth: 1, Effect: "drop-reply"})
	req := request("v", 10)
	req.Parameters = map[string]string{"type": "io2", "iops": "1000"}
	req.Capabilities = []volume.Capability{{Mode: volume.MultiNodeMultiWriter, Block: true}}
	if v, err := c.backend().Create(t.Context(), req); err != nil || !v.MultiNode {
		t.Errorf("Create = %+v, %v", v, err)
	}
}

func TestCreate_AReadOnlyVolumeNeedsASource(t *testing.T) {
	t.Parallel()
	c := instant(t)
	req := request("v", 1)
	req.Capabilities = []volume.Capability{{Mode: volume.SingleNodeReaderOnly, FSType: "ext4"}}
	if _, err := c.backend().Create(t.Context(), req); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "needs a source") {
		t.Errorf("Create = %v", err)
	}
}

func TestAdopt_UsesAVolumeAndNeverDeletesIt(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	id := c.foreign(map[string]string{"Name": "precious"})
	req := request("v", 1)
	req.Parameters = map[string]string{"existingResourceId": id}
	for _, other := range []*ebs.Backend{b, c.backend()} {
		v, err := other.Create(t.Context(), req)
		if err != nil || v.Handle != id || v.Context[volume.ContextMayFormat] != "false" {
			t.Fatalf("Create = %+v, %v", v, err)
		}
	}
	second := req
	second.Name = "second"
	if _, err := b.Create(t.Context(), second); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second claim on it = %v", err)
	}
	large := request("large", 50)
	large.Parameters = map[string]string{"existingResourceId": c.foreign(nil)}
	if _, err := b.Create(t.Context(), large); !fault.Is(err, fault.Conflict) {
		t.Errorf("a volume that is too small = %v", err)
	}
	for range 2 { // the answer to the first may be lost
		kept, err := b.Delete(t.Context(), id)
		if err != nil || !strings.Contains(kept, "external") {
			t.Errorf("Delete = %q, %v", kept, err)
		}
	}
	if tags := c.volume(id).Tags; len(tags) != 2 || tags["Name"] != "precious" || tags[ebs.TagAdopted] != "external" {
		t.Errorf("tags after the adoption is forgotten: %v", tags)
	}
	if v, err := b.Create(t.Context(), second); err != nil || v.Handle != id {
		t.Errorf("adopted again under another name: %v, %v", v.Handle, err)
	}
}

func TestCreate_PlaceholdersInTags(t *testing.T) {
	t.Parallel()
	c := instant(t)
	req := request("v", 1)
	req.Parameters = map[string]string{
		"tagSpecification1":                `owner={{ .PVCNamespace | field "-" 0 | toUpper }}/{{ .PVCName }}`,
		"csi.storage.k8s.io/pvc/name":      "claim",
		"csi.storage.k8s.io/pvc/namespace": "team-a",
	}
	v, err := c.backend().Create(t.Context(), req)
	if err != nil || c.volume(v.Handle).Tags["owner"] != "TEAM/claim" {
		t.Errorf("%v, %v", c.volume(v.Handle).Tags, err)
	}
	req.Parameters["tagSpecification1"] = "owner={{ .Nobody }}"
	req.Name = "bad"
	if _, err := c.backend().Create(t.Context(), req); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), ".Nobody") {
		t.Errorf("a bad placeholder = %v", err)
	}
}

func TestCreate_MutableParametersWin(t *testing.T) {
	t.Parallel()
	c := instant(t)
	req := request("v", 10)
	for i, tc := range []struct {
		class, mutable map[string]string
		want           string
	}{
		{map[string]string{"type": "io2", "iopsPerGB": "50"}, map[string]string{"iops": "700"}, "io2 700 0"},
		{map[string]string{"iops": "4000", "throughput": "250"}, map[string]string{"type": "io2"}, "io2 4000 0"},
		{map[string]string{"iops": "4000", "throughput": "250"}, map[string]string{"volumeType": "gp2"}, "gp2 100 0"},
		{map[string]string{"type": "gp2"}, map[string]string{"type": "gp3", "throughput": "250"}, "gp3 3000 250"},
	} {
		req.Name, req.Parameters, req.MutableParameters = fmt.Sprint("v", i), tc.class, tc.mutable
		v, err := c.backend().Create(t.Context(), req)
		if err != nil {
			t.Errorf("%v over %v: %v", tc.mutable, tc.class, err)
			continue
		}
		made := c.volume(v.Handle)
		if got := fmt.Sprint(made.Type, " ", made.IOPS, " ", made.Throughput); got != tc.want {
			t.Errorf("%v over %v made %s, want %s", tc.mutable, tc.class, got, tc.want)
		}
	}
	req.Name, req.Parameters = "tagged", map[string]string{"tagSpecification_1": "team=a", "tagSpecification_2": "stage=dev"}
	req.MutableParameters = map[string]string{"tagSpecification_7": "team=b"}
	v, err := c.backend().Create(t.Context(), req)
	if tags := c.volume(v.Handle).Tags; err != nil || tags["team"] != "b" || tags["stage"] != "dev" {
		t.Errorf("tags %v, %v", tags, err)
	}
	req.Name, req.MutableParameters = "w", map[string]string{"encrypted": "true"}
	if _, err := c.backend().Create(t.Context(), req); !fault.Is(err, fault.Invalid) {
		t.Errorf("encrypted as a mutable parameter = %v", err)
	}
}
