package aws

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server is AWS: it takes requests at a rate and needs some time for each.
type server struct {
	burst, perSecond float64
	latency          time.Duration
	moods            *rand.Rand // where set, AWS refuses one in 25 for no reason

	mu               sync.Mutex
	tokens           float64
	asOf             time.Time
	inFlight, widest int
	taken, refused   int
}

// ask sends one request through the gate, again and again until it is taken.
func (b *server) ask(ctx context.Context, g *Gate, a string) error {
	for again := false; ; again = true {
		ticket, err := g.enter(ctx, a, again)
		if err != nil {
			return err
		}
		sent := time.Now()
		b.mu.Lock()
		b.tokens = min(b.burst, b.tokens+sent.Sub(b.asOf).Seconds()*b.perSecond)
		b.asOf = sent
		ok := b.tokens >= 1 && (b.moods == nil || b.moods.IntN(25) > 0)
		if ok {
			b.tokens--
			b.taken++
		} else {
			b.refused++
		}
		b.inFlight++
		b.widest = max(b.widest, b.inFlight)
		b.mu.Unlock()
		<-time.After(b.latency)
		b.mu.Lock()
		b.inFlight--
		b.mu.Unlock()
		g.leave(a, ticket, !ok)
		if ok {
			return nil
		}
	}
}

// rush sends n requests at one time and returns how long it takes until all are taken.
func (b *server) rush(t *testing.T, g *Gate, a string, n int) time.Duration {
	t.Helper()
	start := time.Now()
	b.tokens, b.asOf = b.burst, start
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := b.ask(t.Context(), g, a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func TestGate_RushesOnAWS(t *testing.T) {
	const create = "CreateVolume"
	for name, tc := range map[string]struct {
		aws     *server
		n       int
		within  time.Duration
		refused int
	}{
		"AWS's default rate: one in fifty is refused at most": {&server{burst: 100, perSecond: 5}, 500, 100 * time.Second, 10},
		"a much larger rush":          {&server{burst: 100, perSecond: 5}, 5000, 1100 * time.Second, 100},
		"half of AWS's default rate":  {&server{burst: 50, perSecond: 2.5}, 300, 160 * time.Second, 100},
		"an account without a limit":  {&server{burst: 1e9, perSecond: 1e9}, 1000, 3 * time.Second, 0},
		"less than what is let out":   {&server{burst: 100, perSecond: 5}, 100, time.Second, 0},
		"a raised rate is approached": {&server{burst: 100, perSecond: 20}, 5000, 700 * time.Second, 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				aws := tc.aws
				aws.latency = 100 * time.Millisecond
				took := aws.rush(t, NewGate("EC2"), create, tc.n)
				t.Logf("%d requests took %s; %d were refused; at most %d at one time", tc.n, took, aws.refused, aws.widest)
				if took > tc.within || aws.refused > tc.refused || aws.taken != tc.n {
					t.Errorf("want all within %s and at most %d refused", tc.within, tc.refused)
				}
				if aws.widest > maxInFlight {
					t.Errorf("%d requests at one time", aws.widest)
				}
			})
		})
	}
}

func TestGate_AFewRefusalsDoNotSlowItDown(t *testing.T) {
	const create = "CreateVolume"
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			g := NewGate("EC2")
			aws := &server{burst: 100, perSecond: 5, latency: 100 * time.Millisecond, moods: rand.New(rand.NewPCG(seed, 1))}
			if took := aws.rush(t, g, create, 80); took > 3*time.Second {
				t.Errorf("seed %d: a rush that AWS has tokens for took %s", seed, took)
			}
			var slowest time.Duration
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 1200 { // for five minutes, less than AWS takes
				<-time.After(250 * time.Millisecond)
				wg.Go(func() {
					start := time.Now()
					if err := aws.ask(t.Context(), g, create); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					slowest = max(slowest, time.Since(start))
				})
			}
			wg.Wait()
			if slowest > 5*time.Second {
				t.Errorf("seed %d: one request took %s", seed, slowest)
			}
		})
	}
}

func TestGate_RecoversWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, create := NewGate("EC2"), "CreateVolume"
		aws := &server{burst: 100, perSecond: .5, latency: 100 * time.Millisecond} // others use up what AWS gives
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range 400 {
			wg.Go(func() { _ = aws.ask(ctx, g, create) })
		}
		wg.Wait()
		if pace := g.lanes[create].pace; pace > 1 {
			t.Fatalf("the pace is %.2f/s before an empty bucket", pace)
		}
		before := aws.refused
		aws.burst, aws.perSecond = 100, 5
		took := aws.rush(t, g, create, 150)
		if took > 50*time.Second { // 30 s at AWS's pace
			t.Errorf("150 requests took %s when AWS took them again", took)
		}
		t.Logf("they took %s; %d were refused", took, aws.refused-before)
	})
}

func TestGate_ReadsPassWaitingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, aws := NewGate("EC2"), &server{burst: 1e9, perSecond: 1e9, latency: time.Hour}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { _ = aws.ask(ctx, g, "CreateTags") })
			wg.Go(func() { _ = aws.ask(ctx, g, "DetachVolume") })
		}
		synctest.Wait()
		aws.mu.Lock()
		underWay := aws.inFlight
		aws.mu.Unlock()
		if underWay != maxInFlight {
			t.Errorf("%d changes are under way", underWay)
		}
		if _, err := g.enter(t.Context(), "DescribeVolumes", false); err != nil {
			t.Error(err)
		}
		cancel() // those that wait leave the queue
		wg.Wait()
		for a, l := range g.lanes {
			if len(l.queue) > 0 || l.changes && l.inFlight != 0 {
				t.Errorf("%v: %d wait, %d are under way", a, len(l.queue), l.inFlight)
			}
		}
		if g.inFlight != 0 {
			t.Errorf("%d places are lost", g.inFlight)
		}
	})
}

func TestGate_WhoeverWaitsIsNotSentAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, aws := NewGate("EC2"), &server{burst: 1, perSecond: 5, latency: time.Millisecond}
		const create = "CreateVolume"
		aws.rush(t, g, create, 2) // one is refused, so that the pace is AWS's
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if ticket, err := g.enter(ctx, create, false); err == nil {
					if left, _ := ctx.Deadline(); time.Until(left) < lastRequest {
						t.Error("sent when no answer could come in time")
					}
					g.leave(create, ticket, false)
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func BenchmarkGate(b *testing.B) {
	g, a := NewGate("KMS"), "DescribeKey"
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ticket, err := g.enter(b.Context(), a, false)
			if err != nil {
				b.Fatal(err)
			}
			g.leave(a, ticket, false)
		}
	})
}
