// Package backendtest is the conformance suite that any backend must pass. It knows
// the contract of pkg/backend and no kind of disk.
package backendtest

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Fixture is a fresh backend on a fresh cloud, and what the suite must know of it.
type Fixture struct {
	Backend    backend.Backend
	Parameters map[string]string
	Capability volume.Capability
	Nodes      [2]string // two nodes that reach the same volumes; for a Publisher
	Topology   volume.Requirement
	Missing    string // well-formed handle of a volume that does not exist
	Shared     bool   // several nodes hold a volume at the same time, and nobody counts them
	// Restart returns a second backend on the same cloud, as after a crash.
	Restart func() backend.Backend
	// Foreign makes a volume that is not ours and returns its handle.
	Foreign func() string
	// Left lists everything of ours that the cloud still holds.
	Left func() []string
}

// Suite runs the tests; New makes the fixture of each.
type Suite struct {
	New func(t *testing.T) Fixture
}

// Run runs every method of Suite whose name begins with Test.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	s := reflect.ValueOf(Suite{New: newFixture})
	for i := range s.NumMethod() {
		name := s.Type().Method(i).Name
		if !strings.HasPrefix(name, "Test") {
			continue
		}
		t.Run(name, func(t *testing.T) { s.Method(i).Call([]reflect.Value{reflect.ValueOf(t)}) })
	}
}

const size = 4 * volume.GiB

func (f Fixture) request(name string) volume.CreateRequest {
	return volume.CreateRequest{
		Name: name, Range: volume.Range{RequiredBytes: size}, Capabilities: []volume.Capability{f.Capability},
		Parameters: f.Parameters, Topology: f.Topology,
	}
}

func (f Fixture) mustCreate(t *testing.T, name string) volume.Volume {
	t.Helper()
	v, err := f.Backend.Create(t.Context(), f.request(name))
	if err != nil {
		t.Fatalf("Create(%s): %v", name, err)
	}
	return v
}

func (f Fixture) mustDelete(t *testing.T, handle string) {
	t.Helper()
	if _, err := f.Backend.Delete(t.Context(), handle); err != nil {
		t.Fatalf("Delete(%s): %v", handle, err)
	}
}

func (f Fixture) wantNothingLeft(t *testing.T) {
	t.Helper()
	if left := f.Left(); len(left) > 0 {
		t.Errorf("left in the cloud: %v", left)
	}
}

func wantKind(t *testing.T, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: %v (kind %v), want kind %v", what, err, fault.KindOf(err), kind)
	}
}

// TestCreateIsIdempotent asks twice and again after a restart.
func (s Suite) TestCreateIsIdempotent(t *testing.T) {
	f := s.New(t)
	v := f.mustCreate(t, "one")
	if v.Bytes < size {
		t.Errorf("%d bytes were asked for, %d given", size, v.Bytes)
	}
	for _, b := range []backend.Backend{f.Backend, f.Restart()} {
		again, err := b.Create(t.Context(), f.request("one"))
		if err != nil || again.Handle != v.Handle || again.Bytes != v.Bytes {
			t.Errorf("the same request: %+v, %v; want %s", again, err, v.Handle)
		}
	}
	if h, err := volume.ParseHandle(v.Handle); err != nil || h.String() != v.Handle {
		t.Errorf("handle %q is not canonical: %v", v.Handle, err)
	}
	f.mustDelete(t, v.Handle)
	f.wantNothingLeft(t)
}

// TestCreateRefusesATakenName asks for another size under the same name.
func (s Suite) TestCreateRefusesATakenName(t *testing.T) {
	f := s.New(t)
	v := f.mustCreate(t, "one")
	other := f.request("one")
	other.Range.RequiredBytes = 3 * size
	for _, b := range []backend.Backend{f.Backend, f.Restart()} {
		_, err := b.Create(t.Context(), other)
		wantKind(t, "a larger volume of the same name", err, fault.Conflict)
	}
	f.mustDelete(t, v.Handle)
	f.wantNothingLeft(t)
}

// TestCreateRefusesBadInput makes nothing of what is wrong.
func (s Suite) TestCreateRefusesBadInput(t *testing.T) {
	f := s.New(t)
	unknown := f.request("unknown-parameter")
	unknown.Parameters = map[string]string{"no-such-parameter": "1"}
	_, err := f.Backend.Create(t.Context(), unknown)
	wantKind(t, "unknown parameter", err, fault.Invalid)
	if err != nil && !strings.Contains(err.Error(), "no-such-parameter") {
		t.Errorf("the message does not name the parameter: %v", err)
	}
	impossible := f.request("impossible-range")
	impossible.Range = volume.Range{RequiredBytes: 2 * size, LimitBytes: size}
	_, err = f.Backend.Create(t.Context(), impossible)
	wantKind(t, "required more than limit", err, fault.OutOfRange)
	f.wantNothingLeft(t)
}

// TestDeleteIsIdempotent deletes twice, and what never was.
func (s Suite) TestDeleteIsIdempotent(t *testing.T) {
	f := s.New(t)
	v := f.mustCreate(t, "one")
	for _, handle := range []string{v.Handle, v.Handle, f.Missing} {
		f.mustDelete(t, handle)
	}
	f.wantNothingLeft(t)
}

// TestDeleteKeepsWhatIsNotOurs must leave a foreign volume alone.
func (s Suite) TestDeleteKeepsWhatIsNotOurs(t *testing.T) {
	f := s.New(t)
	handle := f.Foreign()
	_, err := f.Backend.Delete(t.Context(), handle)
	wantKind(t, "delete of a foreign volume", err, fault.InUse)
	if _, err := f.Backend.Get(t.Context(), handle); err != nil {
		t.Errorf("the foreign volume is gone: %v", err)
	}
}

// TestGetAndListAgree describes volumes one by one and page by page.
func (s Suite) TestGetAndListAgree(t *testing.T) {
	f := s.New(t)
	var handles []string
	for _, name := range []string{"one", "two", "three"} {
		handles = append(handles, f.mustCreate(t, name).Handle)
	}
	var listed []string
	for token := ""; ; {
		list, next, err := f.Backend.List(t.Context(), volume.Page{Max: 2, Token: token})
		if err != nil || len(list) > 2 {
			t.Fatalf("List: %d entries, %v", len(list), err)
		}
		for _, v := range list {
			listed = append(listed, v.Handle)
		}
		if token = next; token == "" {
			break
		}
	}
	for _, h := range handles {
		if v, err := f.Backend.Get(t.Context(), h); err != nil || v.Handle != h || v.Bytes < size {
			t.Errorf("Get(%s) = %+v, %v", h, v, err)
		}
		if n := len(slices.DeleteFunc(slices.Clone(listed), func(l string) bool { return l != h })); n != 1 {
			t.Errorf("%s is listed %d times", h, n)
		}
		f.mustDelete(t, h)
	}
	_, err := f.Backend.Get(t.Context(), f.Missing)
	wantKind(t, "Get of a missing volume", err, fault.NotFound)
	_, _, err = f.Backend.List(t.Context(), volume.Page{Token: "not a token"})
	wantKind(t, "List with a made-up token", err, fault.Pending)
	f.wantNothingLeft(t)
}

// TestPublishIsIdempotentAndExclusive attaches, attaches again, is refused on a
// second node unless nodes share, and detaches twice.
func (s Suite) TestPublishIsIdempotentAndExclusive(t *testing.T) {
	f := s.New(t)
	p, ok := f.Backend.(backend.Publisher)
	if !ok {
		return // this kind has no attach
	}
	if f.Shared {
		s.publishOnBoth(t, f, p)
		return
	}
	v := f.mustCreate(t, "one")
	req := volume.PublishRequest{Handle: v.Handle, Node: f.Nodes[0], Capability: f.Capability}
	want, err := p.Publish(t.Context(), req)
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	for _, b := range []backend.Backend{f.Backend, f.Restart()} {
		got, err := b.(backend.Publisher).Publish(t.Context(), req)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the same request: %v, %v; want %v", got, err, want)
		}
	}
	if got, err := f.Backend.Get(t.Context(), v.Handle); err != nil || !slices.Equal(got.PublishedNodes, []string{f.Nodes[0]}) {
		t.Errorf("published nodes %v, %v", got.PublishedNodes, err)
	}
	elsewhere := req
	elsewhere.Node = f.Nodes[1]
	_, err = p.Publish(t.Context(), elsewhere)
	wantKind(t, "publish on a second node", err, fault.InUse)
	if err != nil && !strings.Contains(err.Error(), f.Nodes[0]) {
		t.Errorf("the message does not name the holder: %v", err)
	}
	_, err = f.Backend.Delete(t.Context(), v.Handle)
	wantKind(t, "delete while published", err, fault.InUse)
	for _, node := range []string{f.Nodes[1], f.Nodes[0], f.Nodes[0], ""} {
		if err := p.Unpublish(t.Context(), v.Handle, node); err != nil {
			t.Errorf("Unpublish(%q): %v", node, err)
		}
	}
	if _, err := p.Publish(t.Context(), elsewhere); err != nil {
		t.Errorf("publish on the second node after all: %v", err)
	}
	if err := p.Unpublish(t.Context(), v.Handle, ""); err != nil {
		t.Errorf("unpublish from every node: %v", err)
	}
	f.mustDelete(t, v.Handle)
	if err := p.Unpublish(t.Context(), f.Missing, f.Nodes[0]); err != nil {
		t.Errorf("unpublish of a missing volume: %v", err)
	}
	_, err = p.Publish(t.Context(), volume.PublishRequest{Handle: f.Missing, Node: f.Nodes[0], Capability: f.Capability})
	wantKind(t, "publish of a missing volume", err, fault.NotFound)
	f.wantNothingLeft(t)
}

// publishOnBoth publishes on both nodes, twice and after a restart, and ends it.
func (s Suite) publishOnBoth(t *testing.T, f Fixture, p backend.Publisher) {
	t.Helper()
	v := f.mustCreate(t, "one")
	for _, node := range f.Nodes {
		req := volume.PublishRequest{Handle: v.Handle, Node: node, Capability: f.Capability, Context: v.Context}
		want, err := p.Publish(t.Context(), req)
		if err != nil {
			t.Fatalf("Publish on %s: %v", node, err)
		}
		for _, b := range []backend.Backend{f.Backend, f.Restart()} {
			got, err := b.(backend.Publisher).Publish(t.Context(), req)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("the same request: %v, %v; want %v", got, err, want)
			}
		}
	}
	for _, node := range []string{f.Nodes[1], f.Nodes[0], f.Nodes[0], ""} {
		if err := p.Unpublish(t.Context(), v.Handle, node); err != nil {
			t.Errorf("Unpublish(%q): %v", node, err)
		}
	}
	f.mustDelete(t, v.Handle)
	if err := p.Unpublish(t.Context(), f.Missing, f.Nodes[0]); err != nil {
		t.Errorf("unpublish of a missing volume: %v", err)
	}
	_, err := p.Publish(t.Context(), volume.PublishRequest{Handle: f.Missing, Node: f.Nodes[0], Capability: f.Capability})
	wantKind(t, "publish of a missing volume", err, fault.NotFound)
	f.wantNothingLeft(t)
}

// TestExpandNeverShrinks grows, repeats, and asks for less.
func (s Suite) TestExpandNeverShrinks(t *testing.T) {
	f := s.New(t)
	e, ok := f.Backend.(backend.Expander)
	if !ok {
		return // this kind does not grow
	}
	v := f.mustCreate(t, "one")
	for _, required := range []int64{2 * size, 2 * size, size} {
		got, err := e.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: required})
		if err != nil || got != 2*size {
			t.Errorf("Expand to %d: %d, %v; want %d", required, got, err, 2*size)
		}
	}
	_, err := e.Expand(t.Context(), v.Handle, volume.Range{RequiredBytes: 1, LimitBytes: size})
	wantKind(t, "a limit below the present size", err, fault.OutOfRange)
	_, err = e.Expand(t.Context(), f.Missing, volume.Range{RequiredBytes: size})
	wantKind(t, "expand of a missing volume", err, fault.NotFound)
	// The request that made it is still answered, although the size is another now.
	if again, err := f.Backend.Create(t.Context(), f.request("one")); err != nil || again.Handle != v.Handle || again.Bytes != 2*size {
		t.Errorf("create again after growth: %+v, %v", again, err)
	}
	f.mustDelete(t, v.Handle)
	f.wantNothingLeft(t)
}

// TestSnapshotsAreIdempotent takes, repeats, restores, lists and deletes.
func (s Suite) TestSnapshotsAreIdempotent(t *testing.T) {
	f := s.New(t)
	sn, ok := f.Backend.(backend.Snapshotter)
	if !ok {
		return // this kind has no snapshots
	}
	v, other := f.mustCreate(t, "one"), f.mustCreate(t, "two")
	snap, err := sn.CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "snap", Source: v.Handle})
	if err != nil || snap.Source != v.Handle || snap.Bytes < size {
		t.Fatalf("CreateSnapshot = %+v, %v", snap, err)
	}
	for _, b := range []backend.Backend{f.Backend, f.Restart()} {
		again, err := b.(backend.Snapshotter).CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "snap", Source: v.Handle})
		if err != nil || again.ID != snap.ID || !again.Ready {
			t.Errorf("the same request: %+v, %v; want %s", again, err, snap.ID)
		}
	}
	_, err = sn.CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "snap", Source: other.Handle})
	wantKind(t, "the name taken for another source", err, fault.Conflict)
	_, err = sn.CreateSnapshot(t.Context(), volume.SnapshotRequest{Name: "snap-2", Source: f.Missing})
	wantKind(t, "snapshot of a missing volume", err, fault.NotFound)
	s.restore(t, f, snap)
	list, _, err := sn.ListSnapshots(t.Context(), volume.SnapshotFilter{}, volume.Page{})
	if err != nil || len(list) != 1 || list[0].ID != snap.ID {
		t.Errorf("ListSnapshots = %+v, %v; want only ours", list, err)
	}
	for range 2 {
		if err := sn.DeleteSnapshot(t.Context(), snap.ID); err != nil {
			t.Errorf("DeleteSnapshot: %v", err)
		}
	}
	f.mustDelete(t, v.Handle)
	f.mustDelete(t, other.Handle)
	f.wantNothingLeft(t)
}

// restore makes a volume from a snapshot; it must not be formatted.
func (s Suite) restore(t *testing.T, f Fixture, snap volume.Snapshot) {
	t.Helper()
	req := f.request("restored")
	req.Source.Snapshot = snap.ID
	restored, err := f.Backend.Create(t.Context(), req)
	if err != nil || restored.Source.Snapshot != snap.ID || restored.Bytes < snap.Bytes {
		t.Fatalf("restore = %+v, %v", restored, err)
	}
	plan, err := volume.NewBlockPlan(restored.Handle, restored.Context, f.Capability, volume.Ext4)
	if err != nil || plan.MayFormat {
		t.Errorf("a restored volume may be formatted: %+v, %v", plan, err)
	}
	small := f.request("too-small")
	small.Source.Snapshot, small.Range = snap.ID, volume.Range{RequiredBytes: volume.GiB, LimitBytes: volume.GiB}
	_, err = f.Backend.Create(t.Context(), small)
	wantKind(t, "a volume smaller than its snapshot", err, fault.OutOfRange)
	f.mustDelete(t, restored.Handle)
}
