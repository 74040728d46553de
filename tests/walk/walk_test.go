package walk

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	soakVariable = "DISKBRIDGE_SOAK"      // selects the long walk; `make soak` sets it
	seedVariable = "DISKBRIDGE_WALK_SEED" // repeats a walk
)

func TestWalk(t *testing.T) {
	seed, total, lanes := uint64(1), 1000, 16
	if os.Getenv(soakVariable) != "" { // lanes mostly wait for AWS: more of them take no longer
		seed, total, lanes = uint64(time.Now().Unix()), 10000, 64
	}
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d", seedVariable, seed)
	w := newWorld(t, seed, lanes)
	if err := harness.SetFaults(t.Context(), w.emulator, faults()...); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	var all []*lane
	for i := range lanes {
		all = append(all, newLane(w, i))
	}
	steps := script(seed, lanes, total)
	everywhere(all, func(l *lane) {
		l.startOwn(t.Context())
		for _, s := range steps[l.number] {
			if w.failed() {
				return
			}
			l.take(t.Context(), s)
		}
	})
	w.report(t, time.Since(started))
	if err := harness.ClearFaults(t.Context(), w.emulator); err != nil {
		t.Fatal(err)
	}
	everywhere(all, func(l *lane) { l.leave(t.Context()) })
	for _, text := range w.wrong[:min(3, len(w.wrong))] { // what follows from a failure says nothing new
		t.Errorf("%s=%d: %s", seedVariable, seed, text)
	}
	if !t.Failed() {
		harness.RequireEmpty(t, w.emulator)
	}
}

// everywhere does something for all lanes at the same time.
func everywhere(lanes []*lane, do func(*lane)) {
	var all sync.WaitGroup
	for _, l := range lanes {
		all.Go(func() { do(l) })
	}
	all.Wait()
}

// report tells what was answered. A walk on which most requests fail would prove little.
func (w *world) report(t *testing.T, took time.Duration) {
	ok, sum := 0, 0
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(w.counts)) {
		n := w.counts[key]
		sum += n
		if strings.HasSuffix(key, " OK") {
			ok += n
		}
		fmt.Fprintf(&text, "\n  %5d %s", n, key)
	}
	t.Logf("%d requests in %s, %d answered with OK:%s", sum, took.Round(time.Second), ok, text.String())
	if !w.failed() && ok*10 < sum*6 {
		t.Errorf("only %d of %d requests were answered with OK", ok, sum)
	}
}

// leave removes through the driver all that the lane may have made. Nothing fails any more, so it must soon succeed.
func (l *lane) leave(ctx context.Context) {
	for tries := 0; !l.failed(); tries++ {
		s, left := l.next(tries)
		if !left {
			return
		}
		if tries == 100 {
			l.wrong("it cannot be cleaned up")
			return
		}
		l.take(ctx, s)
	}
}

// next is the step that brings the lane nearer to nothing.
func (l *lane) next(tries int) (s step, left bool) {
	s = step{driver: tries % drivers, grow: 1}
	for slot, shot := range l.shots {
		s.slot = slot
		switch {
		case shot.there == no:
			continue
		case l.disk.there == maybe && l.disk.source != "" && l.disk.id == "":
			s.verb = create // while its snapshot is there
		case shot.id == "":
			s.verb = snapshot
		default:
			s.verb = removeSnapshot
		}
		return s, true
	}
	if l.twin.there > no {
		s.verb = removeClone
		if l.twin.id == "" {
			s.verb = clone
		}
		return s, true
	}
	d := l.disk
	switch {
	case d.there == no:
		return s, false
	case d.id == "":
		s.verb = create
	case slices.Max(d.on[:]) > no:
		s.verb = unpublishAll
	default:
		s.verb = remove
	}
	return s, true
}
