package mounter

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

// TestClient_WatchLosses tells of what was lost lately, also to a plugin that comes later, and of nothing old.
func TestClient_WatchLosses(t *testing.T) {
	losses := NewLosses()
	losses.Add("s3://old", nil, "")
	losses.last[0].At = time.Now().Add(-2 * lossMemory)
	losses.Add("s3://lately", []string{"/t"}, "out of memory")
	losses.SetUnbounded("the hierarchy is read-only")
	socket := filepath.Join(t.TempDir(), "m.sock")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	tunnels, ended := open(t, t.TempDir(), nil), make(chan error, 1)
	go func() { ended <- Serve(ctx, socket, tunnels, nil, losses) }()
	told, unbounded := make(chan Loss, 1), make(chan string, 1)
	watching, enough := context.WithTimeout(ctx, 20*time.Second)
	defer enough()
	NewClient(socket).WatchLosses(watching, Watcher{Lost: func(l Loss) { told <- l; enough() }, Unbounded: func(reason string) { unbounded <- reason }})
	if l := <-told; l.Handle != "s3://lately" || l.Number != 2 || len(l.Targets) != 1 || l.OutOfMemory != "out of memory" {
		t.Errorf("told of %+v", l)
	}
	if reason := <-unbounded; reason != "the hierarchy is read-only" {
		t.Errorf("unbounded: %q", reason)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct {
		call lossCall
		want int
	}{"the same mounter": {lossCall{Epoch: losses.epoch, After: 1}, 1}, "all known": {lossCall{Epoch: losses.epoch, After: 2}, 0}, "another mounter": {lossCall{Epoch: "x", After: 7}, 2}} {
		if got := losses.since(tc.call); len(got.Losses) != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
