package objectmount

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/mount"
)

// Settle waits until no file of any bucket is open for writing, so that the programs can end without a loss; at most until ctx
// ends. A bucket that has come so far takes no more writes: they fail with EROFS, and would be lost otherwise. Call it after
// Close, where the programs end with this process.
func (m *Mounts) Settle(ctx context.Context) {
	m.mu.Lock()
	var left []*unit
	for _, u := range m.units {
		left = append(left, u)
	}
	m.mu.Unlock()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		var busy []*unit
		for _, u := range left {
			// Linux makes a file system read-only if nobody has a file of it open for writing, and only then. A file
			// counts until its close has returned, which is when it is uploaded.
			if err := mount.Freeze(u.Staging); err == unix.EBUSY { //nolint:errorlint // a system call's own
				busy = append(busy, u)
			}
		}
		if left = busy; len(left) == 0 {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			for _, u := range left {
				klog.FromContext(ctx).Info("A bucket still has files open for writing; what is not uploaded yet is lost if its program ends now", "volume", u.handle)
			}
			return
		}
	}
}
