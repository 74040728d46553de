package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/mount"
)

func TestFailures_ReportEachOnce(t *testing.T) {
	var reports []string
	var disks []mount.Attached
	var broken error
	count := -1
	f := &failures{
		disks: func() ([]mount.Attached, error) { return disks, broken },
		set:   func(n int) { count = n },
		report: func(_ context.Context, d mount.Attached) {
			reports = append(reports, fmt.Sprint(d.Serial, d.Points))
		},
	}
	a, b := mount.Attached{Serial: "a", Points: []string{"/staging", "/target"}}, mount.Attached{Serial: "b"}
	failed := func(d mount.Attached) mount.Attached { d.Failed = true; return d }
	for i, step := range []struct {
		disks []mount.Attached
		err   error
		want  []string // reported in this step
		count int
	}{
		{[]mount.Attached{a, b}, nil, nil, 0},
		{[]mount.Attached{failed(a), b}, nil, []string{"a[/staging /target]"}, 1},
		{[]mount.Attached{failed(a), failed(b)}, nil, []string{"b[]"}, 2},
		{nil, errors.New("no sysfs"), nil, 2},
		{[]mount.Attached{a, failed(b)}, nil, nil, 1},
		{[]mount.Attached{failed(a)}, nil, []string{"a[/staging /target]"}, 1},
		{nil, nil, nil, 0},
	} {
		reports, disks, broken = nil, step.disks, step.err
		if err := f.look(t.Context()); !errors.Is(err, step.err) {
			t.Errorf("step %d: %v", i, err)
		}
		if !slices.Equal(reports, step.want) || count != step.count {
			t.Errorf("step %d: %d failures, reported %q; want %d, %q", i, count, reports, step.count, step.want)
		}
	}
}
