package replay

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3/s3test"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestMain lets more sweeps run at a time than there are processors: they wait most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(harness.Main(m))
}

// kind is a kind of disk and its operations. A new kind is one more row in kinds.
type kind struct {
	name       string
	driverName string
	driver     []string // flags beside those of the setting
	operations []operation
	hurry      float64 // how much faster the emulator's clock runs in the soak, where waits are as long as AWS's; 0 is 1
}

// operation is one RPC that changes something.
type operation struct {
	name string
	// prepare makes what the request needs, under names that contain unique, and returns the request.
	prepare func(ctx context.Context, conn grpc.ClientConnInterface, e *sandbox.Emulator, unique string) (request, error)
	// prompt leaves an operation out where EC2 takes its time: what a repeated request gets there is a refusal.
	prompt bool
}

// request is one request of an operation, and what is true once it was answered.
type request struct {
	send func(ctx context.Context, conn grpc.ClientConnInterface) (proto.Message, error)
	// blank removes from an answer what differs between two resources, such as ids.
	blank func(answer proto.Message)
	// once says what is wrong unless exactly that is there for which the answer stands.
	once func(answer proto.Message, truth harness.Truth) error
	// undo removes, through the driver, the resource and what prepare made.
	undo func(ctx context.Context, conn grpc.ClientConnInterface, answer proto.Message) error
}

var kinds = []kind{
	{name: "ebs", driverName: sandbox.EBSDriver, operations: ebsOperations()},
	{name: "efs", driverName: sandbox.EFSDriver, operations: efsOperations(), hurry: 6}, // a mount target takes a minute
	{name: "s3", driverName: sandbox.S3Driver, operations: s3Operations()},
}

// setting is a behaviour of AWS under which everything is swept.
type setting struct {
	name     string
	soak     bool // only in the soak
	emulator []string
	speed    float64 // of the emulator's clock
	driver   []string
	seeds    int // how many different sequences of ids, durations and lags
	reads    int // how many calls of one reading action are swept; waits repeat them as often as they like
}

var settings = []setting{
	{
		name: "strongly consistent", emulator: []string{"--profile=reference"}, speed: 10, seeds: 1, reads: 2,
		driver: []string{"--absence-interval=50ms"}, // what exists is shown at once
	},
	{
		name: "eventually consistent", soak: true, emulator: []string{"--profile=realistic"}, speed: 4, seeds: 3, reads: 3,
		driver: []string{"--absence-interval=750ms"}, // 3 s of the emulator's time; its views lag for longer than a restart takes
	},
}

// soakVariable selects the long run; `make soak` sets it.
const soakVariable = "DISKBRIDGE_SOAK"

func TestReplay(t *testing.T) {
	for _, s := range settings {
		if s.soak && os.Getenv(soakVariable) == "" {
			continue
		}
		for _, k := range kinds {
			for _, op := range k.operations {
				if s.soak && op.prompt {
					continue
				}
				for seed := range s.seeds {
					t.Run(fmt.Sprintf("%s/%s/%s/seed %d", s.name, k.name, op.name, seed+1), func(t *testing.T) {
						t.Parallel()
						newSite(t, s, k, seed+1).sweep(op)
					})
				}
			}
		}
	}
}

// site is an emulator and the driver process that runs on it at the moment.
type site struct {
	t        *testing.T
	name     string // of the driver
	dir      string
	flags    []string
	reads    int
	emulator *sandbox.Emulator
	driver   *sandbox.Driver
	requests int
}

func newSite(t *testing.T, s setting, k kind, seed int) *site {
	t.Helper()
	dir := harness.Dir(t)
	e := harness.Emulator(t, dir, append([]string{"--instances=2", "--zones=us-east-1a", fmt.Sprintf("--seed=%d", seed), "--s3-server=" + s3test.Program(t)}, s.emulator...)...)
	speed := s.speed
	if s.soak {
		speed *= cmp.Or(k.hurry, 1)
	}
	if err := harness.Speed(t.Context(), e, speed); err != nil {
		t.Fatal(err)
	}
	site := &site{t: t, name: k.driverName, dir: dir, emulator: e, reads: s.reads, flags: slices.Concat([]string{"--cluster-id=replay"}, s.driver, k.driver)}
	site.start()
	return site
}

// start runs a new driver process on the socket of the one before it, which a kill leaves behind.
func (s *site) start() {
	s.t.Helper()
	s.driver = harness.ControllerOf(s.t, s.name, s.emulator, s.dir, "csi", s.flags...)
}

// point is where the driver is killed: right before or right after the n-th call of an action takes effect.
type point struct {
	action string
	n      int
	effect string
}

func (p point) String() string {
	when := map[string]string{"hold-before": "before", "hold-after": "after"}[p.effect]
	return fmt.Sprintf("%s %s %d", when, p.action, p.n)
}

// sweep finds out which calls the operation makes, and kills the driver at each of them.
func (s *site) sweep(op operation) {
	plain, points := s.discover(op)
	reached := 0
	for _, p := range points {
		if s.killAt(op, p, plain) {
			reached++
		}
		if s.t.Failed() {
			s.t.Fatalf("failed at %s", p)
		}
	}
	s.t.Logf("killed at %d points of %d", reached, len(points))
}

// discover performs the operation undisturbed and returns its blank answer and the calls that it made.
func (s *site) discover(op operation) (proto.Message, []point) {
	req := s.prepare(op)
	before := s.calls()
	answer := s.repeat(req)
	after := s.calls()
	s.finish(req, answer)
	req.blank(answer)

	var points []point
	mutating := 0
	for action, n := range after {
		n -= before[action]
		if action == "sts:GetCallerIdentity" {
			continue // each process asks once, in whichever operation comes first
		}
		if isRead(action) {
			n = min(n, s.reads)
		} else {
			mutating += n
		}
		for i := range n {
			points = append(points, point{action, i + 1, "hold-before"}, point{action, i + 1, "hold-after"})
		}
	}
	if mutating == 0 {
		s.t.Fatalf("%s changed nothing in AWS: before %v, after %v", op.name, before, after)
	}
	slices.SortFunc(points, func(a, b point) int { return strings.Compare(a.String(), b.String()) })
	return answer, points
}

// killAt kills the driver at the point while it performs the operation, and repeats the request to a new process.
// reached is false where the operation repeated a call less often this time: how often depends on what EC2 shows when.
func (s *site) killAt(op operation, p point, plain proto.Message) (reached bool) {
	req := s.prepare(op)
	s.must(harness.SetFaults(s.t.Context(), s.emulator, harness.Fault{Operation: p.action, Nth: p.n, Effect: p.effect}))
	answered := make(chan error, 1)
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	go func() {
		_, err := req.send(ctx, onProcess(s.driver.Conn))
		answered <- err
	}()
	reached = s.held(answered)
	if reached {
		s.driver.Kill()
		if err := <-answered; err == nil {
			s.t.Errorf("%s: a killed driver answered", p)
		}
		harness.Eventually(s.t, "the emulator notices that the driver is dead", func(ctx context.Context) error {
			if n, err := harness.Held(ctx, s.emulator); err != nil || n > 0 {
				return fmt.Errorf("%d calls are held: %w", n, err)
			}
			return nil
		})
		s.start()
	} else if p.n == 1 {
		s.t.Errorf("%s: the operation did not make this call", p)
	}
	s.must(harness.ClearFaults(s.t.Context(), s.emulator))

	answer := s.repeat(req)
	if again := s.repeat(req); !proto.Equal(answer, again) {
		s.t.Errorf("%s: answered %v, then %v", p, answer, again)
	}
	s.finish(req, answer)
	req.blank(answer)
	if !proto.Equal(answer, plain) {
		s.t.Errorf("%s: answered %v, undisturbed %v", p, answer, plain)
	}
	return reached
}

// held waits until the emulator holds a call (true), or the operation is answered (false).
func (s *site) held(answered chan error) bool {
	s.t.Helper()
	for again := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case err := <-answered:
			again.Stop()
			if err != nil {
				s.t.Errorf("undisturbed: %v", err)
			}
			return false
		case <-again.C:
			if n, err := harness.Held(s.t.Context(), s.emulator); err != nil {
				s.t.Fatal(err)
			} else if n > 0 {
				again.Stop()
				return true
			}
		}
	}
}

func (s *site) prepare(op operation) request {
	s.t.Helper()
	s.requests++
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	req, err := op.prepare(ctx, insisting(s.driver.Conn), s.emulator, fmt.Sprintf("%d", s.requests))
	if err != nil {
		s.t.Fatalf("prepare %s: %v", op.name, err)
	}
	return req
}

// repeat sends the request until it is answered.
func (s *site) repeat(req request) proto.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	answer, err := req.send(ctx, insisting(s.driver.Conn))
	if err != nil {
		s.t.Fatalf("a repeated request: %v", err)
	}
	return answer
}

// isRead reports whether an action of AWS changes nothing.
func isRead(action string) bool {
	if service, name, named := strings.Cut(action, ":"); named {
		action = name
		if service == "s3" || service == "sts" {
			return strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "Head") || strings.HasPrefix(name, "List")
		}
	}
	return strings.HasPrefix(action, "Describe")
}

// finish checks what is there, removes it, and checks that nothing is left.
func (s *site) finish(req request, answer proto.Message) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	truth, err := harness.ReadTruth(ctx, s.emulator)
	s.must(err)
	if err := req.once(answer, truth); err != nil {
		s.t.Errorf("after %v: %v; there is %+v", answer, err, truth)
	}
	if err := req.undo(ctx, insisting(s.driver.Conn), answer); err != nil {
		s.t.Fatalf("clean up: %v", err)
	}
	harness.RequireEmpty(s.t, s.emulator)
}

// calls returns how often each action was called.
func (s *site) calls() map[string]int {
	s.t.Helper()
	calls, err := s.emulator.Calls(s.t.Context())
	s.must(err)
	counts := map[string]int{}
	for action, n := range calls {
		counts[action] = n.OK + n.Throttled + n.Error
	}
	return counts
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
