package throttle

import (
	"strings"
	"sync"
	"time"
)

// Limit is a token bucket: how many it holds and how many come back per second.
type Limit struct{ Size, PerSecond float64 }

// EC2Limit is the bucket that AWS documents for an action. unpaged says that the call gives neither a filter nor a page size.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
func EC2Limit(action string, unpaged bool) Limit {
	switch action {
	case "CreateVolume", "CopyVolumes", "DeleteVolume", "AttachVolume", "DetachVolume", "ModifyVolume",
		"CreateSnapshot", "CreateSnapshots", "DeleteSnapshot", "TerminateInstances":
		return Limit{100, 5}
	case "RunInstances", "StartInstances":
		return Limit{5, 2}
	case "DescribeInstances", "DescribeSnapshots", "DescribeVolumes":
		if unpaged {
			return Limit{50, 10}
		}
	}
	if strings.HasPrefix(action, "Describe") {
		return Limit{100, 20}
	}
	return Limit{50, 5}
}

// EFSLimit is a bucket for an action of EFS. AWS documents none; clients that list many file systems are refused
// well before EC2's limits (github.com/rexray/rexray issue 1373).
func EFSLimit(action string) Limit {
	if strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "List") {
		return Limit{50, 10}
	}
	return Limit{20, 5}
}

// Buckets are one bucket per action. They are safe for concurrent use.
type Buckets struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

// NewBuckets are full buckets.
func NewBuckets() *Buckets { return &Buckets{buckets: map[string]*bucket{}} }

// Take takes a token from the action's bucket; false is a throttle.
func (b *Buckets) Take(action string, l Limit, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.buckets[action]
	if t == nil {
		t = &bucket{tokens: l.Size, at: now}
		b.buckets[action] = t
	}
	t.tokens = min(l.Size, t.tokens+max(0, now.Sub(t.at).Seconds())*l.PerSecond)
	t.at = now
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

// Reset fills all buckets.
func (b *Buckets) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.buckets)
}
