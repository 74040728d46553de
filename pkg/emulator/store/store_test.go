package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
)

func open(t *testing.T, dir string, now *time.Time, window time.Duration) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Dir: dir, Now: func() time.Time { return *now }, Window: window})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	return s
}

func put(t *testing.T, s *store.Store, v *store.Volume) {
	t.Helper()
	if err := s.Update(func() error { s.Volumes.Put(v); return nil }); err != nil {
		t.Fatal(err)
	}
}

func state(s *store.Store, view store.View) (state string) {
	s.Read(func() {
		if v, ok := s.Volumes.Seen(view, "vol-1"); ok {
			state = v.State
		}
	})
	return state
}

func TestStore_Update(t *testing.T) {
	now := time.Unix(1000, 0)
	s := open(t, t.TempDir(), &now, 0)
	put(t, s, &store.Volume{ID: "vol-1", State: store.Creating})
	boom := errors.New("boom")
	err := s.Update(func() error {
		v, _ := s.Volumes.Edit("vol-1")
		v.State = store.Available
		s.Volumes.Put(&store.Volume{ID: "vol-2"})
		return boom
	})
	if !errors.Is(err, boom) || state(s, store.Truth) != store.Creating {
		t.Errorf("after a failed update: %v, %s", err, state(s, store.Truth))
	}
	// A disk that fails keeps the state as it was, too.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err = s.Update(func() error {
		v, _ := s.Volumes.Edit("vol-1")
		v.State = store.Available
		return nil
	})
	if err == nil || state(s, store.Truth) != store.Creating {
		t.Errorf("after a failed write: %v, %s", err, state(s, store.Truth))
	}
}

func TestStore_keepsWholeRecords(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	dir := t.TempDir()
	want := &store.Volume{
		ID: "vol-1", Zone: "z", Shape: store.Shape{Type: "gp3", SizeGiB: 5, IOPS: 3000}, State: store.Available, Created: now,
		Token: "t", Tags: map[string]string{"a": "ä"},
		Attachments:   []store.Attachment{{Instance: "i-1", Device: "d", State: store.Attaching, Since: now, Change: store.Change{To: store.Attached, At: now.Add(time.Second)}}},
		Modifications: []store.Modification{{State: store.Completed, Started: now}},
	}
	s := open(t, dir, &now, 0)
	put(t, s, want)
	if _, err := store.Open(store.Options{Dir: dir, Now: time.Now}); err == nil {
		t.Error("the folder was opened twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, &now, 0)
	s.Read(func() {
		got, ok := s.VolumeByToken("t")
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("read back: %v, %s", ok, diff)
		}
	})
	if due := s.TakeDue(); len(due) != 0 || !s.NextDue().Equal(now.Add(time.Second)) {
		t.Errorf("due %v, next %s", due, s.NextDue())
	}
	now = now.Add(time.Second)
	if due := s.TakeDue(); len(due) != 1 || due[0].ID != "vol-1" {
		t.Errorf("due %v", due)
	}
}

// A journal of many updates does not grow for ever, and holds the newest state.
func TestStore_rewritesItsJournal(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	dir := t.TempDir()
	s := open(t, dir, &now, 0)
	large := strings.Repeat("x", 1<<20)
	for i := range 40 {
		put(t, s, &store.Volume{ID: "vol-1", Tags: map[string]string{"text": large, "n": strconv.Itoa(i)}})
	}
	put(t, s, &store.Volume{ID: "vol-2"})
	if err := s.Update(func() error { s.Volumes.Drop("vol-2"); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "journal.jsonl"))
	if err != nil || info.Size() > 25<<20 {
		t.Errorf("the journal has %d bytes (%v)", info.Size(), err)
	}
	s = open(t, dir, &now, 0)
	s.Read(func() {
		if all := s.Volumes.All(store.Truth); len(all) != 1 || all[0].Tags["n"] != "39" {
			t.Errorf("%d volumes are read back", len(all))
		}
	})
}

func TestStore_foundIsShownAtOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	s := open(t, "", &now, 2*time.Second)
	if err := s.Found(func() error { s.Volumes.Put(&store.Volume{ID: "vol-1", State: store.Available}); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, view := range []store.View{"a", "b", "c", "d"} {
		if got := state(s, view); got != store.Available {
			t.Errorf("view %s shows %q", view, got)
		}
	}
}

func TestStore_viewsLagInOrder(t *testing.T) {
	now := time.Unix(1000, 0)
	s := open(t, "", &now, 2*time.Second)
	views := []store.View{"a", "b", "c", "d"}
	order := map[string]int{"": 0, store.Creating: 1, store.Available: 2, store.Deleting: 3}
	reached := map[store.View]int{}
	differ := false
	for step := range 60 {
		switch step {
		case 0:
			put(t, s, &store.Volume{ID: "vol-1", State: store.Creating})
		case 5:
			put(t, s, &store.Volume{ID: "vol-1", State: store.Available})
		case 10:
			put(t, s, &store.Volume{ID: "vol-1", State: store.Deleting})
		case 35:
			if err := s.Update(func() error { s.Volumes.Drop("vol-1"); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		for _, view := range views {
			now := order[state(s, view)]
			if step < 35 && now < reached[view] {
				t.Errorf("view %s went back from %d to %d", view, reached[view], now)
			}
			differ = differ || now != reached[views[0]]
			reached[view] = now
		}
		now = now.Add(100 * time.Millisecond)
	}
	if !differ {
		t.Error("the views never differed")
	}
	for _, view := range views {
		if state(s, view) != "" {
			t.Errorf("view %s still shows what was dropped longer than the window ago", view)
		}
	}
}

func TestStore_NewID(t *testing.T) {
	now := time.Unix(1000, 0)
	dir, seen := t.TempDir(), map[string]bool{}
	for range 3 { // restarts
		s := open(t, dir, &now, 0)
		s.Read(func() {
			for range 1000 {
				id := s.NewID("vol")
				if seen[id] || len(id) != len("vol-0123456789abcdef0") {
					t.Fatalf("id %s is malformed or came twice", id)
				}
				seen[id] = true
			}
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
