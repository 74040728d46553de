package mount

import (
	"slices"
	"strings"
	"sync"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// requests remembers with which options this process mounted what. What the kernel shows of a mount cannot be compared with
// them: it spells options differently (zstd as zstd:3), cuts values to what it can do, and leaves defaults out.
type requests struct {
	mu      sync.Mutex
	byPoint map[string]request
}

type request struct {
	mount   int // its id in the mount table
	options []string
}

func (r *requests) remember(e entry, options []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPoint[e.point] = request{mount: e.id, options: slices.Sorted(slices.Values(options))}
}

func (r *requests) forget(point string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byPoint, point)
}

// mismatch says how a mount of the right disk differs from the plan, or "". Of what an earlier process mounted, only the
// attributes of the mount are compared, which the kernel shows as they were given.
func (r *requests) mismatch(e entry, plan volume.BlockPlan) string {
	if e.fsType != plan.FSType {
		return "as " + e.fsType + " and not " + plan.FSType
	}
	if e.readOnly() != plan.ReadOnly {
		return map[bool]string{true: "read-only and not read-write", false: "read-write and not read-only"}[e.readOnly()]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if q, ok := r.byPoint[e.point]; ok && q.mount == e.id {
		if want := slices.Sorted(slices.Values(plan.Options)); !slices.Equal(q.options, want) {
			return "with options [" + strings.Join(q.options, ",") + "] and not [" + strings.Join(want, ",") + "]"
		}
		return ""
	}
	for _, o := range plan.Options {
		_, attr := attribute(o)
		if attr && !slices.Contains(e.options, o) && o != "strictatime" && o != "relatime" {
			return "without " + o
		}
	}
	return ""
}
