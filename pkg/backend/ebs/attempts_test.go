package ebs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// tried are attempts at the hours before noon; a negative one failed.
func tried(target ec2.Change, hours ...float64) (tags []string) {
	for _, h := range hours {
		failed := h < 0
		a := attempt{started: noon.Add(-time.Duration(max(h, -h) * float64(time.Hour))), target: target, failed: failed}
		tags = append(tags, a.String())
	}
	return tags
}

func TestAttempts_AFailedTargetIsHeldOff(t *testing.T) {
	twenty, other := ec2.Change{Type: "gp3", SizeGiB: 20, IOPS: 3000, Throughput: 125}, ec2.Change{Type: "gp3", SizeGiB: 15, IOPS: 3000, Throughput: 125}
	for name, row := range map[string]struct {
		tags []string
		want ec2.Change
		held float64 // hours from noon until it is requested again; 99: it is not held
	}{
		"nothing was tried":        {nil, ec2.Change{SizeGiB: 20}, 99},
		"it succeeded":             {tried(twenty, 1), ec2.Change{SizeGiB: 20}, 99},
		"it failed once":           {tried(twenty, -0.1), ec2.Change{SizeGiB: 20}, 0.15},
		"it failed once, long ago": {tried(twenty, -23), ec2.Change{SizeGiB: 20}, -22.75},
		"it failed twice":          {tried(twenty, -1, -0.5), ec2.Change{SizeGiB: 20}, 1.5},
		"it failed three times: the last is the user's": {tried(twenty, -3, -2.5, -0.5), ec2.Change{SizeGiB: 20}, 21},
		"two others and it: the last is the user's":     {append(tried(other, 5, 4), tried(twenty, -3)...), ec2.Change{SizeGiB: 20}, 19},
		"all four are used":                             {append(tried(other, 6, 5, 4), tried(twenty, -3)...), ec2.Change{SizeGiB: 20}, 19},
		"a day ago":                                     {tried(twenty, -24, -25), ec2.Change{SizeGiB: 20}, 99},
		"another size is tried at once":                 {tried(twenty, -0.1), ec2.Change{SizeGiB: 19}, 99},
		"another size and class in turn":                {append(tried(twenty, -0.2), tried(other, -0.1)...), ec2.Change{SizeGiB: 20}, 0.05},
		"a part of it":                                  {tried(ec2.Change{Type: "io2", SizeGiB: 20, IOPS: 500}, -0.1), ec2.Change{IOPS: 500}, 0.15},
		"it and more":                                   {tried(twenty, -0.1), ec2.Change{SizeGiB: 20, IOPS: 4000}, 99},
		"a tag that a user has changed":                 {[]string{"x", "1:2", "-5:gp3/1/2/3", "1:gp3/1/2", "9:gp3/1/2/99999999999999", "a:b:c:d"}, ec2.Change{SizeGiB: 20}, 99},
	} {
		t.Run(name, func(t *testing.T) {
			until, _, held := recall(strings.Join(row.tags, " "), ec2.Modification{}, false, noon).heldUntil(row.want)
			if got := until.Sub(noon).Hours(); held != (row.held != 99) || held && (got-row.held > 0.01 || row.held-got > 0.01) {
				t.Errorf("held %t until %.2f hours from noon, want %.2f", held, got, row.held)
			}
		})
	}
}

func TestAttempts_TheTagFitsAndIsReadBack(t *testing.T) {
	large := ec2.Change{Type: "standard", SizeGiB: 65536, IOPS: 256000, Throughput: 2000}
	list := recall(strings.Join(tried(large, -6, -5, -4, -3, -2, -1), " "), ec2.Modification{}, false, noon)
	if tag := list.tag(); len(list) != maxModifications || len(tag) > 256 || fmt.Sprint(recall(tag, ec2.Modification{}, false, noon)) != fmt.Sprint(list) {
		t.Errorf("%d bytes: %s; want %v", len(tag), tag, list)
	}
	// What EC2 shows of the newest is newer than what the tag says of it.
	m := ec2.Modification{State: "failed", Target: large, Started: noon.Add(-time.Hour)}
	if list := recall(tried(large, 1)[0], m, true, noon); len(list) != 1 || !list[0].failed {
		t.Errorf("%v", list)
	}
}
