package main

import (
	"context"
	"time"

	"k8s.io/klog/v2"
)

// afterTools returns a context that ends once ctx has ended and nothing is writing to a disk: a container's end kills the
// tools in it, and one that is killed while it makes a file system larger can destroy it. Calls are served until then. stop ends
// the context at once.
func afterTools(ctx context.Context, writing func() []string) (serving context.Context, stop func()) {
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		select {
		case <-ctx.Done():
			awaitTools(serving, writing)
		case <-serving.Done():
		}
	}()
	return serving, func() {
		cancel()
		<-done
	}
}

// awaitTools waits until nothing is written, or ctx ends, and says every minute what is.
func awaitTools(ctx context.Context, writing func() []string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	said := time.Time{}
	for {
		now := writing()
		if len(now) == 0 {
			return
		}
		if time.Since(said) > time.Minute {
			said = time.Now()
			klog.FromContext(ctx).Info("Asked to end, and going on until tools have ended that write to disks", "tools", now)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
