package efs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

const absence = 3 * time.Second

// view answers one question about a file system.
type view func(context.Context) (efs.FileSystem, bool, error)

// views is an EFS that shows one view of a file system after the other, and the last from then on.
type views struct {
	API

	shown []view
	asked int
}

func (v *views) AbsenceInterval() time.Duration { return absence }

func (v *views) FileSystem(ctx context.Context, _ string) (efs.FileSystem, bool, error) {
	show := v.shown[min(v.asked, len(v.shown)-1)]
	v.asked++
	return show(ctx)
}

func shows(cluster string) view {
	return func(context.Context) (efs.FileSystem, bool, error) {
		return efs.FileSystem{ID: "fs-1", Tags: map[string]string{backend.TagCluster: cluster}}, true, nil
	}
}

func fails(err error) view {
	return func(context.Context) (efs.FileSystem, bool, error) { return efs.FileSystem{}, false, err }
}

// stalls answers when the caller has gone.
func stalls(ctx context.Context) (efs.FileSystem, bool, error) {
	<-ctx.Done()
	return efs.FileSystem{}, false, ctx.Err()
}

func TestBackend_Judged(t *testing.T) {
	denied := fault.New(fault.Denied, "describe", "fs-1", "grant DescribeFileSystems")
	for name, tc := range map[string]struct {
		first   string // the cluster that the first view names
		then    []view
		timeout time.Duration
		refused bool
		err     error
		took    [2]time.Duration
	}{
		"what is ours is not asked about":         {first: "ours", timeout: time.Minute},
		"a refusal that stays":                    {first: "theirs", then: []view{shows("theirs")}, timeout: time.Minute, refused: true, took: [2]time.Duration{absence, absence + time.Second}},
		"a refusal that clears up":                {first: "theirs", then: []view{shows("theirs"), shows("theirs"), shows("ours")}, timeout: time.Minute, took: [2]time.Duration{1, absence - 1}},
		"it is not shown, or EFS is busy":         {first: "theirs", then: []view{fails(nil), fails(fault.New(fault.Unavailable, "", "", "")), shows("ours")}, timeout: time.Minute, took: [2]time.Duration{1, absence - 1}},
		"nobody may look":                         {first: "theirs", then: []view{fails(denied)}, timeout: time.Minute, refused: true, err: denied},
		"the caller goes between two questions":   {first: "theirs", then: []view{shows("theirs")}, timeout: time.Second, refused: true, took: [2]time.Duration{time.Second, time.Second}},
		"the caller goes while a question is out": {first: "theirs", then: []view{stalls}, timeout: time.Second, refused: true, took: [2]time.Duration{time.Second, time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.timeout)
				defer cancel()
				api := &views{shown: tc.then}
				b := New(api, nil, Options{Owner: backend.Owner{Driver: DefaultDriver, Cluster: "ours"}})
				start := time.Now()
				f, _, _ := shows(tc.first)(ctx)
				f, verdict, err := b.judged(ctx, f)
				if (verdict.Refuse != "") != tc.refused || verdict.Delete == tc.refused || !errors.Is(err, tc.err) {
					t.Errorf("%+v, %v", verdict, err)
				}
				if verdict.Delete && f.Tags[backend.TagCluster] != "ours" {
					t.Errorf("it goes by %v", f.Tags)
				}
				if took := time.Since(start); took < tc.took[0] || took > tc.took[1] {
					t.Errorf("after %v, want %v, with %d questions", took, tc.took, api.asked)
				}
			})
		})
	}
}
