package batch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
)

// gate is a Fetch whose calls can be held, and which records the size of each.
type gate struct {
	mu    sync.Mutex
	sizes []int
	hold  chan struct{}
	began chan int
	err   error
}

func newGate() *gate { return &gate{hold: make(chan struct{}), began: make(chan int, 1000)} }

func (g *gate) fetch(ctx context.Context, keys []string) (map[string]string, error) {
	g.mu.Lock()
	g.sizes = append(g.sizes, len(keys))
	g.mu.Unlock()
	g.began <- len(keys)
	select {
	case <-g.hold:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := map[string]string{}
	for _, k := range keys {
		if k != "absent" {
			out[k] = "value of " + k
		}
	}
	return out, g.err
}

func TestBatcher_SharesCallsUnderLoadAndAsksAtOnceWhenIdle(t *testing.T) {
	g := newGate()
	b := batch.New(g.fetch, batch.Options{})
	defer b.Close()
	var wg sync.WaitGroup
	wg.Go(func() { mustGet(t, b, "first") })
	if n := <-g.began; n != 1 {
		t.Fatalf("an idle batcher sent %d keys, want 1 at once", n)
	}
	const callers = 450
	for i := range callers {
		wg.Go(func() { mustGet(t, b, fmt.Sprint("key-", i)) })
	}
	close(g.hold)
	wg.Wait()
	total := 0
	for _, n := range g.sizes {
		if n > 200 {
			t.Errorf("a call carried %d keys, more than 200", n)
		}
		total += n
	}
	if total != callers+1 || len(g.sizes) > 20 {
		t.Errorf("%d keys went out in %d calls (%v)", total, len(g.sizes), g.sizes)
	}
}

func TestBatcher_AnUnknownKeyIsAbsentAndSpoilsNothing(t *testing.T) {
	g := newGate()
	close(g.hold)
	b := batch.New(g.fetch, batch.Options{})
	defer b.Close()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, found, err := b.Get(t.Context(), "absent"); found || err != nil {
				t.Errorf("absent key: found %v, err %v", found, err)
			}
		})
		wg.Go(func() { mustGet(t, b, "present") })
	}
	wg.Wait()
}

func TestBatcher_AnErrorIsAnErrorForEveryKeyOfTheCall(t *testing.T) {
	g := newGate()
	g.err = errors.New("403")
	close(g.hold)
	b := batch.New(g.fetch, batch.Options{})
	defer b.Close()
	for _, key := range []string{"absent", "present"} {
		if _, found, err := b.Get(t.Context(), key); err == nil || found {
			t.Errorf("%s: a failed call must not read as an answer: found %v, err %v", key, found, err)
		}
	}
}

func TestBatcher_ACallerThatLeavesTakesNobodyWithIt(t *testing.T) {
	g := newGate()
	b := batch.New(g.fetch, batch.Options{})
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, _, err := b.Get(ctx, "k"); left <- err }()
	<-g.began
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller that left got %v", err)
	}
	close(g.hold)
	mustGet(t, b, "k")
}

func TestBatcher_AnAnswerIsNeverOlderThanItsQuestion(t *testing.T) {
	var mu sync.Mutex
	state := "before"
	release, began := make(chan struct{}), make(chan struct{}, 10)
	b := batch.New(func(_ context.Context, keys []string) (map[string]string, error) {
		mu.Lock()
		seen := state
		mu.Unlock()
		began <- struct{}{}
		<-release
		return map[string]string{keys[0]: seen}, nil
	}, batch.Options{})
	defer b.Close()
	go func() { _, _, _ = b.Get(t.Context(), "k") }()
	<-began
	mu.Lock()
	state = "after"
	mu.Unlock()
	got := make(chan string)
	go func() { v, _, _ := b.Get(t.Context(), "k"); got <- v }()
	close(release)
	if v := <-got; v != "after" {
		t.Errorf("a question asked after the change was answered with %q", v)
	}
}

func TestBatcher_AHangingCallDoesNotHoldUpOthers(t *testing.T) {
	hang, began := make(chan struct{}), make(chan struct{}, 1)
	b := batch.New(func(ctx context.Context, keys []string) (map[string]string, error) {
		if keys[0] == "hangs" {
			began <- struct{}{}
			select {
			case <-hang:
			case <-ctx.Done():
			}
		}
		return map[string]string{keys[0]: "value of " + keys[0]}, nil
	}, batch.Options{Patience: time.Millisecond})
	defer b.Close()
	defer close(hang)
	go func() { _, _, _ = b.Get(t.Context(), "hangs") }()
	<-began
	mustGet(t, b, "answers")
}

func TestBatcher_CloseAnswersEverybody(t *testing.T) {
	g := newGate()
	b := batch.New(g.fetch, batch.Options{})
	errs := make(chan error, 2)
	go func() { _, _, err := b.Get(t.Context(), "running"); errs <- err }()
	<-g.began
	b.Close()
	if err := <-errs; err == nil {
		t.Error("a call cut short by Close must be an error")
	}
	if _, _, err := b.Get(t.Context(), "late"); !errors.Is(err, batch.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestRhythm_EndsWithTheCallersDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	asked := 0
	r := batch.NewTempo().Rhythm(time.Hour)
	err := r.Poll(ctx, func(context.Context) (bool, error) { asked++; return false, nil })
	if !errors.Is(err, context.DeadlineExceeded) || asked < 2 {
		t.Errorf("Poll = %v after %d questions", err, asked)
	}
}

// polls counts the questions of a wait that is over after some time of a fake clock, and how late that was seen.
func polls(t *testing.T, r *batch.Rhythm, over time.Duration) (asked int, late time.Duration) {
	t.Helper()
	start := time.Now()
	err := r.Poll(t.Context(), func(context.Context) (bool, error) {
		asked++
		late = time.Since(start) - over
		return late >= 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return asked, late
}

func TestRhythm_LearnsHowLongItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := batch.NewTempo().Rhythm(800 * time.Millisecond)
		if asked, late := polls(t, r, time.Second); asked > 4 || late > 130*time.Millisecond {
			t.Errorf("the first wait took %d questions and was seen %s late", asked, late)
		}
		for _, over := range []time.Duration{4 * time.Second, 300 * time.Millisecond} { // a slower cloud, a faster one
			worst := time.Duration(0)
			for i := range 80 {
				asked, late := polls(t, r, over)
				if worst = max(worst, late); i == 39 { // what was learned before is forgotten
					worst = 0
				}
				if i >= 40 && asked > 3 {
					t.Errorf("wait %d of %s took %d questions", i, over, asked)
				}
			}
			if worst > 250*time.Millisecond {
				t.Errorf("the end of a wait of %s was seen %s late", over, worst)
			}
		}
	})
}

func TestRhythm_OneLongWaitDoesNotMakeTheNextOneLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := batch.NewTempo().Rhythm(800 * time.Millisecond)
		polls(t, r, 1200*time.Millisecond)
		if _, late := polls(t, r, 850*time.Millisecond); late > 130*time.Millisecond {
			t.Errorf("the end of the second wait was seen %s late", late)
		}
	})
}

// TestRhythm_TheLastOfManyDoNotSetThePace: of a thousand waits that begin together the longest end last.
func TestRhythm_TheLastOfManyDoNotSetThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := batch.NewTempo().Rhythm(800 * time.Millisecond)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { polls(t, r, 900*time.Millisecond+time.Duration(i)*time.Millisecond) })
		}
		wg.Wait()
		if _, late := polls(t, r, 900*time.Millisecond); late > 130*time.Millisecond {
			t.Errorf("the end of the next wait was seen %s late", late)
		}
	})
}

func TestTempo_AnInstantCloudIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := batch.NewTempo(), batch.NewTempo()
		for range 5 {
			if asked, late := polls(t, fast.Rhythm(time.Second), 0); asked != 1 || late != 0 {
				t.Errorf("an instant cloud: %d questions, %s late", asked, late)
			}
		}
		polls(t, slow.Rhythm(time.Second), time.Second)
		if asked, _ := polls(t, slow.Rhythm(time.Second), time.Second); asked != 1 {
			t.Errorf("%d questions about a wait whose length is known", asked)
		}
	})
}

func TestRhythm_WaitersMeetInOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		close(g.hold)
		b := batch.New(g.fetch, batch.Options{})
		r := batch.NewTempo().Rhythm(800 * time.Millisecond)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if err := batch.Pause(t.Context(), time.Duration(i)*time.Millisecond); err != nil {
					t.Error(err)
				}
				start := time.Now()
				err := r.Poll(t.Context(), func(ctx context.Context) (bool, error) {
					_, _, err := b.Get(ctx, fmt.Sprint(i))
					return time.Since(start) > time.Second, err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		b.Close()
		if len(g.sizes) > 6 {
			t.Errorf("100 waits took %d calls (%v)", len(g.sizes), g.sizes)
		}
	})
}

func mustGet(t *testing.T, b *batch.Batcher[string, string], key string) {
	t.Helper()
	v, found, err := b.Get(t.Context(), key)
	if err != nil || !found || v != "value of "+key {
		t.Errorf("Get(%s) = %q, %v, %v", key, v, found, err)
	}
}

func BenchmarkBatcher_Get(b *testing.B) {
	bat := batch.New(func(_ context.Context, keys []int) (map[int]int, error) {
		out := make(map[int]int, len(keys))
		for _, k := range keys {
			out[k] = k
		}
		return out, nil
	}, batch.Options{Gap: time.Nanosecond})
	defer bat.Close()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, _, err := bat.Get(b.Context(), i%500); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestBatcher_ObserveIsToldOfEachCall(t *testing.T) {
	var sizes []int // written before the call whose answer is awaited
	b := batch.New(func(_ context.Context, keys []string) (map[string]string, error) {
		return map[string]string{keys[0]: "value of " + keys[0]}, nil
	}, batch.Options{Observe: func(keys int) { sizes = append(sizes, keys) }})
	defer b.Close()
	mustGet(t, b, "a")
	mustGet(t, b, "b")
	if len(sizes) != 2 || sizes[0] != 1 || sizes[1] != 1 {
		t.Errorf("it was told of %v, want two calls of one key each", sizes)
	}
}
