package churn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	soakVariable = "DISKBRIDGE_SOAK"      // selects the long churn; `make soak` sets it
	seedVariable = "DISKBRIDGE_WALK_SEED" // that of the walk; fixes what the lanes do and who is killed, not when a kill meets what

	nodes, controllers = 2, 2
	zone               = "us-east-1a"
	speed              = 10 // how many times as fast as ours AWS's time runs
)

// world is what all lanes share.
type world struct {
	dir         string
	emulator    *sandbox.Emulator
	controllers [controllers]*harness.Kept
	nodes       [nodes]*harness.Kept

	mu                     sync.Mutex
	wrong                  []string
	rounds, compared, kill int
}

// TestChurn: no byte differs, nothing is made twice and nothing is left, whoever is killed.
func TestChurn(t *testing.T) {
	if !harness.IsRoot() {
		t.Skip("it mounts and attaches, which needs root")
	}
	seed, lanes, lasts := uint64(1), 4, 10*time.Second
	if os.Getenv(soakVariable) != "" {
		seed, lanes, lasts = uint64(time.Now().Unix()), 8, 4*time.Minute+30*time.Second
	}
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d", seedVariable, seed)
	w := newWorld(t)
	ctx, end := context.WithTimeout(t.Context(), lasts)
	defer end()
	var all, killer sync.WaitGroup
	killer.Go(func() { w.kills(t.Context(), ctx, rand.New(rand.NewPCG(seed, 0))) }) //nolint:gosec // repeatable on purpose
	for i := range lanes {
		l := &lane{world: w, number: i, random: rand.New(rand.NewPCG(seed, uint64(i)+1))} //nolint:gosec // repeatable on purpose
		all.Go(func() {
			for n := 0; ctx.Err() == nil && !w.failed(); n++ {
				l.round(t.Context(), n) //nolint:contextcheck // a round that began is finished
			}
		})
	}
	all.Wait()
	end()
	killer.Wait()
	t.Logf("%d rounds with %d kills, %d checksums compared", w.rounds, w.kill, w.compared)
	for _, text := range w.wrong[:min(3, len(w.wrong))] { // what follows from a failure says nothing new
		t.Errorf("%s=%d: %s", seedVariable, seed, text)
	}
	if t.Failed() {
		return
	}
	if w.rounds < lanes || w.kill == 0 || w.compared < w.rounds {
		t.Error("so few prove nothing")
	}
	harness.RequireEmpty(t, w.emulator)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: harness.Dir(t)}
	if !sandbox.AllowsDevices(w.dir) {
		t.Skipf("%s is mounted nodev: devices cannot be opened there", w.dir)
	}
	w.emulator = harness.Emulator(t, w.dir, "--devices=loop", "--profile=reference", "--zones="+zone, fmt.Sprintf("--instances=%d", nodes))
	if err := harness.Speed(t.Context(), w.emulator, speed); err != nil {
		t.Fatal(err)
	}
	for i := range w.controllers {
		w.controllers[i] = harness.KeepController(t, w.emulator, w.dir, fmt.Sprintf("c%d", i), "--cluster-id=churn", "--absence-interval=300ms")
	}
	for i := range w.nodes {
		w.nodes[i] = harness.KeepNode(t, w.emulator.Instances[i], w.dir, fmt.Sprintf("n%d", i), "--path-root="+w.dir)
	}
	return w
}

// kills kills a process every second or two until the churn ends. Only one of the two controllers is down at a time.
func (w *world) kills(ctx, churn context.Context, random *rand.Rand) {
	for {
		select {
		case <-churn.Done():
			return
		case <-time.After(time.Duration(500+random.IntN(2000)) * time.Millisecond):
		}
		victims := append(w.nodes[:], w.controllers[:]...)
		if err := victims[random.IntN(len(victims))].Kill(ctx); err != nil {
			w.fail("start again after a kill: " + err.Error())
			return
		}
		w.count(&w.kill)
	}
}

func (w *world) controller(i int) csi.ControllerClient {
	return csi.NewControllerClient(w.controllers[i].Conn)
}

func (w *world) count(what *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*what++
}

func (w *world) fail(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, text)
}

func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.wrong) > 0
}
