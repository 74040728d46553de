package janitor_test

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/janitor"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// world is a queue and what removes directories, in memory.
type world struct {
	asked     []volume.Removal
	removed   []string         // paths
	refused   map[string]error // by path
	addressed []string
	tls       bool
}

func (w *world) Removals(context.Context) ([]volume.Removal, error) {
	return slices.Clone(w.asked), nil
}

func (w *world) Removed(_ context.Context, r volume.Removal) error {
	w.asked = slices.DeleteFunc(w.asked, func(o volume.Removal) bool { return o == r })
	return nil
}

func (w *world) Publish(_ context.Context, req volume.PublishRequest) (map[string]string, error) {
	if req.Node != "i-0123456789abcdef0" {
		return nil, fault.New(fault.NotFound, "publish", req.Node, "no such node")
	}
	return map[string]string{volume.PublishAddress: "10.0.0.7"}, nil
}

func (w *world) RemoveDirectory(_ context.Context, plan volume.NFSPlan, r volume.Removal, point string) (int, error) {
	w.addressed, w.tls = append(w.addressed, plan.Address+plan.Directory+point), plan.TLS
	if err := w.refused[r.Path]; err != nil {
		return 3, err
	}
	w.removed = append(w.removed, r.Path)
	return 5, nil
}

func newJanitor(w *world) *janitor.Janitor {
	return &janitor.Janitor{Queue: w, Remover: w, Node: "i-0123456789abcdef0", Point: "/mnt", Interval: time.Millisecond, Patience: time.Minute}
}

func removal(path string) volume.Removal {
	return volume.Removal{FileSystem: "fs-0123456789abcdef0", Path: path, OnDelete: volume.Delete, Digest: "0123456789abcdef"}
}

func TestJanitor_RemovesWhatIsAskedFor(t *testing.T) {
	w := &world{
		asked:   []volume.Removal{removal("/a"), removal("/theirs"), removal("/large"), removal("/b")},
		refused: map[string]error{"/theirs": fault.New(fault.InUse, "remove", "/theirs", "no marker of ours"), "/large": fault.New(fault.Pending, "remove", "/large", "not yet")},
	}
	j := newJanitor(w)
	j.TLS = true
	if left, err := j.Round(t.Context()); left != 2 || err != nil {
		t.Errorf("%d are left, want 2; %v", left, err)
	}
	if !slices.Equal(w.removed, []string{"/a", "/b"}) || len(w.asked) != 2 || w.addressed[0] != "10.0.0.7//mnt" || !w.tls {
		t.Errorf("removed %v through %v (TLS %t); still asked for %v", w.removed, w.addressed, w.tls, w.asked)
	}
	delete(w.refused, "/large")
	if left, _ := j.Round(t.Context()); left != 1 || w.removed[2] != "/large" {
		t.Errorf("%d are left after the second round, removed %v", left, w.removed)
	}
}

func TestJanitor_RunEndsWithItsContext(t *testing.T) {
	w := &world{asked: []volume.Removal{removal("/a")}}
	j := newJanitor(w)
	j.Node = "i-00000000"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := j.Run(ctx); err != nil || len(w.removed) != 0 || len(w.asked) != 1 {
		t.Errorf("Run = %v, removed %v: from a node that nobody knows nothing can be reached", err, w.removed)
	}
}

// TestJanitor_NamesTheNodeThatHoldsAFileOpen, which is the only one where its process can be found.
func TestJanitor_NamesTheNodeThatHoldsAFileOpen(t *testing.T) {
	busy := &fault.Error{Op: "remove", Subject: "a/.nfs0000000000000001", Kind: fault.InUse, Err: syscall.EBUSY}
	w := &world{asked: []volume.Removal{removal("/a"), removal("/b")}, refused: map[string]error{
		"/a": fault.Wrap("remove directory", "/a", busy), "/b": fault.New(fault.InUse, "remove directory", "/b", "no marker of ours"),
	}}
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	if left, err := newJanitor(w).Round(klog.NewContext(t.Context(), logger)); left != 2 || err != nil {
		t.Errorf("%d are left, %v", left, err)
	}
	sink, ok := logger.GetSink().(ktesting.Underlier)
	if !ok {
		t.Fatal("the log cannot be read")
	}
	for line := range strings.Lines(sink.GetBuffer().String()) {
		if strings.Contains(line, "i-0123456789abcdef0") != strings.Contains(line, ".nfs0000000000000001") {
			t.Errorf("the node and the file go together: %s", line)
		}
	}
	if !strings.Contains(sink.GetBuffer().String(), "this node is i-0123456789abcdef0") {
		t.Error("the node is not named")
	}
}
