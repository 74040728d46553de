package ebs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// TestDisks_ChangeInPlace is the one table of resize_disk and update_disk.
func TestDisks_ChangeInPlace(t *testing.T) {
	t.Parallel()
	type params = map[string]string
	const gib = volume.GiB
	base := volume.DiskRequest{Bytes: 10 * gib, Parameters: params{"type": "gp3", "iops": "4000", "throughput": "200"}}
	for _, tc := range []struct {
		name   string
		made   volume.DiskRequest
		change volume.DiskChange
		modify int // calls
		want   string
		refuse string // part of the NotSupported
	}{
		{"the same size", base, volume.DiskChange{Bytes: 10 * gib}, 0, "gp3 10 4000 200", ""},
		{"a part of a GiB more", base, volume.DiskChange{Bytes: 10*gib + 1}, 1, "gp3 11 4000 200", ""},
		{"larger", base, volume.DiskChange{Bytes: 20 * gib}, 1, "gp3 20 4000 200", ""},
		{"smaller", base, volume.DiskChange{Bytes: 9 * gib}, 0, "gp3 10 4000 200", "disks never shrink"},
		{"the same in all", base, volume.DiskChange{Bytes: 10 * gib, Parameters: base.Parameters}, 0, "gp3 10 4000 200", ""},
		{"size and performance at once", base, volume.DiskChange{Bytes: 20 * gib, Parameters: params{"iops": "5000", "throughput": "300"}}, 1, "gp3 20 5000 300", ""},
		{"what is not said is the type's default", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{}}, 1, "gp3 10 3000 125", ""},
		{"a type without iops", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"type": "gp2"}}, 1, "gp2 10", ""},
		{"iops for a type without", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"type": "gp2", "iops": "4000"}}, 0, "gp3 10 4000 200", "takes neither iops"},
		{"throughput for a type without", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"type": "io2", "iops": "500", "throughput": "200"}}, 0, "gp3 10 4000 200", "takes no parameter throughput"},
		{"type and size at once", base, volume.DiskChange{Bytes: 20 * gib, Parameters: params{"type": "io2", "iops": "500"}}, 1, "io2 20 500", ""},
		{"a type that needs iops", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"type": "io1"}}, 0, "gp3 10 4000 200", "needs the parameter iops"},
		{"too small for the type", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"type": "st1"}}, 0, "gp3 10 4000 200", "type st1 has 125 to 16384 GiB"},
		{"encryption asked for", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"encrypted": "true"}}, 0, "gp3 10 4000 200", "not encrypted, and encryption needs a new one"},
		{
			"encryption taken away", volume.DiskRequest{Bytes: 10 * gib, Parameters: params{"encrypted": "true"}},
			volume.DiskChange{Bytes: 10 * gib, Parameters: params{"encrypted": "false"}}, 0, "gp3 10 3000 125", "cannot be taken away",
		},
		{
			"encryption that nobody speaks of", volume.DiskRequest{Bytes: 10 * gib, Parameters: params{"encrypted": "true"}},
			volume.DiskChange{Bytes: 11 * gib, Parameters: params{}}, 1, "gp3 11 3000 125", "",
		},
		{
			"another key", volume.DiskRequest{Bytes: 10 * gib, Parameters: params{"encrypted": "true"}},
			volume.DiskChange{Bytes: 10 * gib, Parameters: params{"encrypted": "true", "kmsKeyId": "alias/other"}}, 0, "gp3 10 3000 125", "another key (alias/other) needs a new one",
		},
		{"an unknown type", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"type": "gp9"}}, 0, "gp3 10 4000 200", "is not one of gp3"},
		{"another zone", base, volume.DiskChange{Bytes: 10 * gib, Parameters: params{"availabilityZone": "us-east-1b"}}, 0, "gp3 10 4000 200", "the disk is in zone us-east-1a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := instant(t)
			tc.made.Node = c.node(0)
			id := c.create(t, tc.made)
			_, err := c.disks().ChangeDisk(t.Context(), id, tc.change)
			if tc.refuse == "" && err != nil || tc.refuse != "" && (!fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), tc.refuse)) {
				t.Errorf("%v, want %q", err, tc.refuse)
			}
			if n := c.count("ModifyVolume"); n != tc.modify {
				t.Errorf("%d modifications, want %d", n, tc.modify)
			}
			v, _, err := c.client().Volume(t.Context(), id)
			if got := shape(v.Type, v.SizeGiB, v.IOPS, v.Throughput); err != nil || !strings.HasPrefix(got, tc.want) {
				t.Errorf("it is %s, want %s", got, tc.want)
			}
		})
	}
}

// larger is a change that EC2 makes.
var larger = volume.DiskChange{Bytes: 2 * volume.GiB}

// TestDisks_ChangeIsRefusedOrDone: what EC2 refuses is NotSupported, so that the Director attaches the disk again and
// copies; what it may have accepted never is.
func TestDisks_ChangeIsRefusedOrDone(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"UnauthorizedOperation", "IncorrectModificationState", "VolumeModificationRateExceeded", "UnsupportedOperation", "InvalidParameterValue",
		"InvalidParameterCombination", "VolumeModificationSizeLimitExceeded", "MaxIOPSLimitExceeded", "ResourceLimitExceeded", "SomethingNew",
	} {
		t.Run("refused: "+code, func(t *testing.T) {
			t.Parallel()
			c := instant(t)
			id := c.create(t, volume.DiskRequest{Node: c.node(0)})
			c.fault(emulator.Fault{Operation: "ModifyVolume", Effect: "refuse", Code: code})
			if _, err := c.disks().ChangeDisk(t.Context(), id, larger); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), code) {
				t.Errorf("%v (%v)", err, fault.KindOf(err))
			}
		})
	}
	t.Run("no such disk", func(t *testing.T) {
		t.Parallel()
		if _, err := instant(t).disks().ChangeDisk(t.Context(), "vol-00000000000000000", larger); !fault.Is(err, fault.NotFound) {
			t.Errorf("%v", err)
		}
	})
	t.Run("throttled past the budget, which is a part of the call's time", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		c.fault(emulator.Fault{Operation: "ModifyVolume", Effect: faults.Throttle})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := c.disks().ChangeDisk(ctx, id, larger); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "RequestLimitExceeded") && !strings.Contains(err.Error(), "rate") {
			t.Errorf("%v (%v)", err, fault.KindOf(err))
		}
	})
}

// TestDisks_ChangeThatTakesTime is one whose answer is lost, or that is asked for again.
func TestDisks_ChangeThatTakesTime(t *testing.T) {
	t.Parallel()
	slow := func(t *testing.T) (c *cloud, id string) {
		c = newCloud(t, emulator.Options{Profile: emulator.Reference}, 50*time.Millisecond)
		c.speed(10)
		return c, c.create(t, volume.DiskRequest{Node: c.node(0)})
	}
	for _, effect := range []faults.Effect{faults.DropReply, faults.FailAfter} {
		t.Run("accepted, and the answer was lost: "+string(effect), func(t *testing.T) {
			t.Parallel()
			c, id := slow(t)
			c.fault(emulator.Fault{Operation: "ModifyVolume", Nth: 1, Effect: effect})
			if _, err := c.disks().ChangeDisk(t.Context(), id, larger); err != nil || c.disk(t, id).gib != 2 {
				t.Errorf("%v; it has %d GiB", err, c.disk(t, id).gib)
			}
		})
	}
	t.Run("the same again while it is under way, then another", func(t *testing.T) {
		t.Parallel()
		c, id := slow(t)
		for range 2 {
			if _, err := c.disks().ChangeDisk(t.Context(), id, larger); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.disks().ChangeDisk(t.Context(), id, volume.DiskChange{Bytes: 3 * volume.GiB}); err != nil && !fault.Is(err, fault.Unsupported) {
			t.Errorf("while EC2 optimizes: %v", err)
		}
	})
}

// tagged is a change of size and tags.
func tagged(tags map[string]string) volume.DiskChange {
	return volume.DiskChange{Bytes: 2 * volume.GiB, Parameters: map[string]string{}, Tags: tags}
}

// TestDisks_ChangeOfTagsThatIsRefused is NotSupported, so that the Director copies and nothing stays detached.
func TestDisks_ChangeOfTagsThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tags map[string]string
		code string // with which EC2 refuses the tags
		says string
	}{
		"a tag of ours":       {map[string]string{ebs.TagLayout: "raw"}, "", "is reserved"},
		"tags denied":         {map[string]string{"a": "b"}, "UnauthorizedOperation", "grant CreateTags"},
		"too many tags":       {map[string]string{"a": "b"}, "TagLimitExceeded", "remove some from it"},
		"tags that EC2 hates": {map[string]string{"a": "b"}, "InvalidParameterValue", "EC2 refused the tags"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := instant(t)
			id := c.create(t, volume.DiskRequest{Node: c.node(0)})
			if tc.code != "" {
				c.fault(emulator.Fault{Operation: "CreateTags", Effect: faults.Refuse, Code: tc.code})
			}
			if _, err := c.disks().ChangeDisk(t.Context(), id, tagged(tc.tags)); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v (%v)", err, fault.KindOf(err))
			}
			if n := c.count("ModifyVolume"); n != 0 || c.disk(t, id).gib != 1 {
				t.Errorf("%d modifications; it has %d GiB", n, c.disk(t, id).gib)
			}
		})
	}
}

func TestDisks_ChangeOfTags(t *testing.T) {
	t.Parallel()
	t.Run("the answer is lost", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		c.fault(emulator.Fault{Operation: "CreateTags", Nth: 1, Effect: faults.DropReply})
		if _, err := c.disks().ChangeDisk(t.Context(), id, tagged(map[string]string{"a": "b"})); err != nil || c.disk(t, id).tags["a"] != "b" || c.disk(t, id).gib != 2 {
			t.Errorf("%v; %+v", err, c.disk(t, id))
		}
	})
	t.Run("the operator's tags are those of new disks: a resize sets none", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := c.create(t, volume.DiskRequest{Node: c.node(0)})
		before := c.count("CreateTags")
		with := func(tags map[string]string) *ebs.Disks {
			return ebs.NewDisks(c.client(), ebs.Options{Owner: backend.Owner{Tags: tags}}, ebs.DiskOptions{Director: director})
		}
		if _, err := with(map[string]string{"team": "a"}).ChangeDisk(t.Context(), id, larger); err != nil || c.count("CreateTags") != before {
			t.Errorf("%v, after %d calls for tags", err, c.count("CreateTags")-before)
		}
		if _, err := with(map[string]string{"CSIVolumeName": "x"}).CreateDisk(t.Context(), volume.DiskRequest{Bytes: volume.GiB, Node: c.node(0)}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "is reserved") {
			t.Errorf("an operator's tag by which a disk would be Kubernetes': %v", err)
		}
	})
	t.Run("in place, without a modification", func(t *testing.T) {
		t.Parallel()
		c := instant(t)
		id := c.create(t, volume.DiskRequest{Node: c.node(0), Tags: map[string]string{"team": "a"}})
		before := c.count("CreateTags")
		for range 2 {
			_, err := c.disks().ChangeDisk(t.Context(), id, volume.DiskChange{Bytes: volume.GiB, Parameters: map[string]string{}, Tags: map[string]string{"team": "b"}})
			if err != nil || c.disk(t, id).tags["team"] != "b" || c.disk(t, id).tags[ebs.TagLayout] != "blank" {
				t.Errorf("%v; tags %v", err, c.disk(t, id).tags)
			}
		}
		if n := c.count("CreateTags") - before; n != 1 || c.count("ModifyVolume") != 0 {
			t.Errorf("%d times tagged, %d modifications", n, c.count("ModifyVolume"))
		}
	})
}

func shape(kind string, gib int64, iops, throughput int32) string {
	return fmt.Sprint(kind, " ", gib, " ", iops, " ", throughput)
}
