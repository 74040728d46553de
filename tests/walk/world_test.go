package walk

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/tests/harness"
)

const (
	drivers = 2 // processes
	nodes   = 4 // the last is each lane's own
	slots   = 2 // snapshots of a lane

	// speed is how many times as fast as ours AWS's time runs, and absence the 3 s of AWS's time between two
	// answers that prove absence. After settled, every view of AWS shows what is; the emulator's lags 2 s at most.
	speed   = 20
	absence = 3 * time.Second / speed
	settled = 2 * absence

	// patience bounds a request. The slowest thing that AWS does takes 10 s of its time.
	patience = 20 * time.Second
)

// world is what all lanes share: one AWS, and two drivers that know nothing of each other.
type world struct {
	seed        uint64
	emulator    *sandbox.Emulator
	controllers [drivers]csi.ControllerClient
	operator    *ec2.Client

	mu     sync.Mutex
	counts map[string]int // answers by verb and code
	wrong  []string
}

func newWorld(t *testing.T, seed uint64, lanes int) *world {
	t.Helper()
	dir := harness.Dir(t)
	w := &world{seed: seed, counts: map[string]int{}}
	w.emulator = harness.Emulator(t, dir, "--profile=realistic", "--zones=us-east-1a",
		fmt.Sprintf("--attach-limit=%d", lanes/2-1), // now and then a node is full
		fmt.Sprintf("--instances=%d", nodes-1), fmt.Sprintf("--seed=%d", seed%(1<<31)))
	if err := harness.Speed(t.Context(), w.emulator, speed); err != nil {
		t.Fatal(err)
	}
	w.operator = operator(w.emulator)
	for i := range drivers {
		d := harness.Controller(t, w.emulator, dir, fmt.Sprintf("csi%d", i), "--cluster-id=walk", "--absence-interval="+absence.String())
		w.controllers[i] = csi.NewControllerClient(d.Conn)
	}
	return w
}

// faults are what AWS does wrong.
func faults() []harness.Fault {
	out := []harness.Fault{
		{Operation: "*", Effect: "refuse", Probability: .01},
		{Operation: "*", Effect: "drop-reply", Probability: .01},
		{Operation: "*", Effect: "throttle", Probability: .04}, // beside the profile's own buckets
		{Operation: "*", Effect: "delay", Probability: .02, DelayMS: 3000},
	}
	for _, op := range []string{"CreateVolume", "DeleteVolume", "AttachVolume", "DetachVolume", "ModifyVolume", "CreateSnapshot", "DeleteSnapshot"} {
		out = append(out,
			harness.Fault{Operation: op, Effect: "refuse", Probability: .05, Code: "ServiceUnavailable"},
			harness.Fault{Operation: op, Effect: "fail-after", Probability: .05},
			harness.Fault{Operation: op, Effect: "drop-reply", Probability: .05},
			harness.Fault{Operation: op, Effect: "delay", Probability: .05, DelayMS: 5000},
		)
	}
	return out
}

// truth is what AWS holds now.
func (w *world) truth(ctx context.Context) (harness.Truth, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	truth, err := harness.ReadTruth(ctx, w.emulator)
	for _, v := range truth.Volumes {
		for _, i := range w.emulator.Instances { // they run all the time
			if a, on := v.On(i.ID); on && a.Force {
				w.fail(fmt.Sprintf("%s is detached by force from node %s, which runs", v.ID, i.ID))
			}
		}
	}
	return truth, err
}

func (w *world) count(o outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[string(o.verb)+" "+o.code.String()]++
}

// fail notes what is wrong; the walk then ends.
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
