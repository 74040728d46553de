package aws

import (
	"context"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// AbsenceInterval is how far two not-found answers must lie apart to prove that a
// resource does not exist. AWS is eventually consistent:
// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
const AbsenceInterval = 3 * time.Second

// Absences proves that resources do not exist. It is safe for concurrent use.
type Absences struct {
	// Interval is how far two not-found answers must lie apart.
	Interval time.Duration

	mu    sync.Mutex
	first map[string]time.Time
}

// NewAbsences makes an Absences; 0 means AbsenceInterval.
func NewAbsences(interval time.Duration) *Absences {
	if interval <= 0 {
		interval = AbsenceInterval
	}
	return &Absences{Interval: interval, first: map[string]time.Time{}}
}

// Prove asks AWS by id until the answer proves something: two not-found answers
// an interval apart, or one for a resource that this process knows to be older.
func (a *Absences) Prove(ctx context.Context, id string, describe func(context.Context) error) (bool, error) {
	for asked := 0; ; asked++ {
		err := describe(ctx)
		switch {
		case err == nil:
			return false, nil
		case fault.Is(err, fault.Invalid): // malformed: no such thing can exist
			return true, nil
		case !fault.Is(err, fault.NotFound):
			return false, err
		case asked > 0 || a.olderThan(id, a.Interval):
			return true, nil
		}
		if err := batch.Pause(ctx, a.Interval); err != nil {
			return false, fault.New(fault.Pending, "prove absence", id,
				"AWS does not show it, but the call ended before that was proof; ask again")
		}
	}
}

// maxAges bounds the memory of Absences; forgetting an age costs a second question.
const maxAges = 20000

// Saw remembers when this process first saw a resource. It is this machine's
// monotonic clock that counts, not AWS's creation time: clocks differ.
func (a *Absences) Saw(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.first[id]; known {
		return
	}
	if len(a.first) >= maxAges {
		clear(a.first)
	}
	a.first[id] = time.Now()
}

func (a *Absences) olderThan(id string, age time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first, known := a.first[id]
	return known && time.Since(first) > age
}
