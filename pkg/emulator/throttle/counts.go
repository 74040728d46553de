package throttle

import (
	"maps"
	"sync"
)

// Count is how calls of one operation ended. A reply that was dropped counts as an error, whatever was done.
type Count struct {
	OK        int `json:"ok"`
	Throttled int `json:"throttled"`
	Error     int `json:"error"`
}

// Counts are the counts of all operations. They are safe for concurrent use.
type Counts struct {
	mu sync.Mutex
	by map[string]Count
}

// NewCounts are empty counts.
func NewCounts() *Counts { return &Counts{by: map[string]Count{}} }

// Add counts one call.
func (c *Counts) Add(operation string, one Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.by[operation]
	c.by[operation] = Count{n.OK + one.OK, n.Throttled + one.Throttled, n.Error + one.Error}
}

// All is a copy of the counts.
func (c *Counts) All() map[string]Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.by)
}

// Reset forgets all counts.
func (c *Counts) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.by)
}
