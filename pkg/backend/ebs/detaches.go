package ebs

import (
	"sync"
	"time"
)

// detachMemory is how long a detachment is remembered that nobody waits for any more:
// longer than an attacher waits between two tries.
const detachMemory = 15 * time.Minute

// detaches remembers which detachments were asked for and are not done, over all the
// tries of the attacher, for the eyes of operators only.
type detaches struct {
	mu      sync.Mutex
	pending map[detachKey]detachTimes
}

type detachKey struct{ volume, instance string }

type detachTimes struct{ first, last time.Time }

func newDetaches() *detaches { return &detaches{pending: map[detachKey]detachTimes{}} }

func (d *detaches) begin(volume, instance string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := detachKey{volume, instance}
	times, again := d.pending[key]
	if !again || now.Sub(times.last) > detachMemory {
		times.first = now
	}
	times.last = now
	d.pending[key] = times
}

func (d *detaches) end(volume, instance string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pending, detachKey{volume, instance})
}

func (d *detaches) read(now time.Time) (count int, oldest time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, times := range d.pending {
		if now.Sub(times.last) > detachMemory {
			delete(d.pending, key)
			continue
		}
		count++
		oldest = max(oldest, now.Sub(times.first))
	}
	return count, oldest
}

// PendingDetaches returns how many detachments were asked for and are not done, and
// how long ago the oldest was asked for first.
func (b *Backend) PendingDetaches() (count int, oldest time.Duration) {
	return b.detaches.read(time.Now())
}
