package s3

import (
	"context"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// below remembers which prefix a marker is of: its key follows from the prefix, so that this never changes, and a bucket of
// many volumes is not read anew for each that is deleted. What is forgotten costs a question.
type below struct {
	mu       sync.Mutex // guards prefixes
	prefixes map[string]string
}

// maxBelow bounds the memory of prefixes.
const maxBelow = 50000

func (b *below) get(key string) (prefix string, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	prefix, known = b.prefixes[key]
	return prefix, known
}

func (b *below) note(key, prefix string) {
	if volume.ObjectMarker(prefix) != key { // somebody else wrote it
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.prefixes) >= maxBelow {
		clear(b.prefixes)
	}
	b.prefixes[key] = prefix
}

// volumeBelow finds another volume inside the prefix.
func (b *Backend) volumeBelow(ctx context.Context, api API, h volume.Handle) (string, error) {
	for token := ""; ; {
		keys, next, err := api.Keys(ctx, h.Root, markers, token, 1000)
		if err != nil {
			return "", err
		}
		prefixes := make([]string, len(keys))
		group, grouped := errgroup.WithContext(ctx)
		group.SetLimit(lookups)
		for i, key := range keys {
			if prefix, known := b.below.get(key); known {
				prefixes[i] = prefix
				continue
			}
			group.Go(func() error {
				m, found, err := anyMarker(grouped, api, h.Root, key)
				if found {
					prefixes[i] = m.Prefix
					b.below.note(key, m.Prefix)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return "", err
		}
		for _, prefix := range prefixes {
			if prefix != h.Path && strings.HasPrefix(prefix, h.Path) {
				return prefix, nil
			}
		}
		if token = next; token == "" {
			return "", nil
		}
	}
}
