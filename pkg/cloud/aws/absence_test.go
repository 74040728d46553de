package aws

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

func TestAbsences_Prove(t *testing.T) {
	const interval = 3 * time.Second
	none := fault.New(fault.NotFound, "describe", "vol-1", "no such volume")
	busy := fault.New(fault.Unavailable, "describe", "vol-1", "throttled")
	for name, tc := range map[string]struct {
		seen    time.Duration // how long ago the resource was seen first; 0: never
		answers []error
		timeout time.Duration // of the call; 0: none
		absent  bool
		kind    fault.Kind // of the error, where there is one
		failed  bool
		took    time.Duration
	}{
		"it is there":                            {answers: []error{nil}},
		"not found twice":                        {answers: []error{none, none}, absent: true, took: interval},
		"not found, then shown":                  {answers: []error{none, nil}, took: interval},
		"not found, and it was seen long ago":    {seen: time.Minute, answers: []error{none}, absent: true},
		"not found, and it was seen just now":    {seen: time.Second, answers: []error{none, none}, absent: true, took: interval},
		"no id that anything could have":         {answers: []error{fault.New(fault.Invalid, "", "", "malformed")}, absent: true},
		"AWS is busy":                            {answers: []error{busy}, failed: true, kind: fault.Unavailable},
		"not found, then AWS is busy":            {answers: []error{none, busy}, failed: true, kind: fault.Unavailable, took: interval},
		"the call ends before the second answer": {answers: []error{none}, timeout: time.Second, failed: true, kind: fault.Pending, took: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := NewAbsences(interval)
				if tc.seen > 0 {
					a.Saw("vol-1")
					<-time.After(tc.seen)
					a.Saw("vol-1") // its age stays
				}
				ctx, cancel := context.WithCancel(t.Context())
				if tc.timeout > 0 {
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
				}
				defer cancel()
				asked, start := 0, time.Now()
				absent, err := a.Prove(ctx, "vol-1", func(context.Context) error {
					asked++
					return tc.answers[asked-1]
				})
				if absent != tc.absent || (err != nil) != tc.failed || tc.failed && !fault.Is(err, tc.kind) || errors.Is(err, none) {
					t.Errorf("absent %t, %v", absent, err)
				}
				if took := time.Since(start); took != tc.took || asked != len(tc.answers) {
					t.Errorf("%d answers in %v, want %d in %v", asked, took, len(tc.answers), tc.took)
				}
			})
		})
	}
}
