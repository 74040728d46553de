package ec2

import (
	"context"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// absent asks EC2 by id until the answer proves something: two not-found answers
// an interval apart, or one for a resource that this process knows to be older.
func (c *Client) absent(ctx context.Context, id string, describe func(context.Context) error) (bool, error) {
	for asked := 0; ; asked++ {
		err := describe(ctx)
		switch {
		case err == nil:
			return false, nil
		case fault.Is(err, fault.Invalid): // malformed: no such thing can exist
			return true, nil
		case !fault.Is(err, fault.NotFound):
			return false, err
		case asked > 0 || c.ages.olderThan(id, c.interval):
			return true, nil
		}
		if err := batch.Pause(ctx, c.interval); err != nil {
			return false, fault.New(fault.Pending, "prove absence", id,
				"EC2 does not show it, but the call ended before that was proof; ask again")
		}
	}
}

// maxAges bounds the memory of ages; forgetting one costs a second question.
const maxAges = 20000

// ages remembers when this process first saw a resource. It is this machine's
// monotonic clock that counts, not EC2's creation time: clocks differ.
type ages struct {
	mu    sync.Mutex
	first map[string]time.Time
}

func newAges() *ages { return &ages{first: map[string]time.Time{}} }

func (a *ages) saw(id string) {
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

func (a *ages) olderThan(id string, age time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first, known := a.first[id]
	return known && time.Since(first) > age
}
