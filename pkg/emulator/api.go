package emulator

import (
	"context"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/throttle"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// Fault is a fault to inject; see [faults.Rule].
type Fault = faults.Rule

// Held is a call that a fault holds.
type Held = faults.Held

// Count is how calls of one operation ended.
type Count = throttle.Count

// Endpoint is the URL at which EC2, EFS, KMS, STS and the control endpoints answer.
func (s *Server) Endpoint() string { return s.endpoint }

// Session is a pair of keys with the token that they need, and when they end.
type Session = wire.Credentials

// Session gives temporary credentials of any length; STS gives none below 15 minutes.
func (s *Server) Session(life time.Duration) Session {
	return s.signatures.Issue(wire.Identity{
		ARN: "arn:aws:sts::" + s.options.AccountID + ":assumed-role/short/session", UserID: "AROA00000000000000000:session", Expires: time.Now().Add(life),
	}, s.requestID())
}

// Calls are the counts of all operations since the start or the last reset.
// EC2's actions go by their names, others with their service before it: "kms:DescribeKey".
func (s *Server) Calls() map[string]Count { return s.counts.All() }

// AddFaults sets faults beside those that are set.
func (s *Server) AddFaults(rules ...Fault) error { return s.faults.Add(rules...) }

// Faults are the faults that can still meet a call.
func (s *Server) Faults() []Fault { return s.faults.Live() }

// ClearFaults drops every fault and lets go what they hold.
func (s *Server) ClearFaults() { s.faults.Clear() }

// Held are the calls that faults hold now, oldest first.
func (s *Server) Held() []Held { return s.faults.Held() }

// WaitHeld returns once a call of the operation is held, or with the context's error.
func (s *Server) WaitHeld(ctx context.Context, operation string) error {
	return s.faults.WaitHeld(ctx, operation)
}

// Release lets the held calls of an operation go on ("*": all) and says how many there were.
func (s *Server) Release(operation string) int { return s.faults.Release(operation) }

// Now is the emulator's time.
func (s *Server) Now() time.Time { return s.options.Clock.Now() }

// Advance moves the emulator's clock forward and returns when everything that is due then has happened.
func (s *Server) Advance(ctx context.Context, d time.Duration) error {
	s.options.Clock.Advance(d)
	s.life.Settle(ctx)
	return s.store.SaveClock()
}

// SetSpeed makes the emulator's clock run at that many seconds per real second; 0 stops it.
func (s *Server) SetSpeed(speed float64) error {
	if err := s.options.Clock.SetSpeed(speed); err != nil {
		return err
	}
	return s.store.SaveClock()
}

// Reset drops all volumes, snapshots, file systems and buckets with their bytes, all faults, counts and throttles; instances, keys
// and networks stay.
// Calls that a fault holds end without an answer.
func (s *Server) Reset(ctx context.Context) error {
	s.faults.Clear()
	if err := s.life.Wipe(ctx); err != nil {
		return err
	}
	if s.s3 != nil {
		if err := s.s3.Wipe(); err != nil {
			return err
		}
	}
	s.counts.Reset()
	s.buckets.Reset()
	return s.ensurePublicSnapshots()
}

// ensurePublicSnapshots makes a few snapshots that belong to someone else and that everybody sees.
func (s *Server) ensurePublicSnapshots() error {
	return s.store.Update(func() error {
		for _, v := range s.store.Snapshots.All(store.Truth) {
			if v.Public {
				return nil
			}
		}
		for _, owner := range []string{"amazon", "amazon", ""} {
			now := s.options.Clock.Now()
			s.store.Snapshots.Put(&store.Snapshot{
				ID: s.store.NewID("snap"), Volume: "vol-ffffffff", Owner: "123456789012", OwnerAlias: owner, SizeGiB: 8,
				Description: "A public snapshot of another account", State: store.Completed, Prepared: true, Public: true,
				Started: now, Completed: now,
			})
		}
		return nil
	})
}
