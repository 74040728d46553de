package main

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// TestAfterTools_AWritingToolKeepsTheProcess: in a container the tool would end with it.
func TestAfterTools_AWritingToolKeepsTheProcess(t *testing.T) {
	var writes atomic.Bool
	writes.Store(true)
	asked := make(chan struct{})
	ctx, end := context.WithCancel(t.Context())
	serving, stop := afterTools(ctx, func() []string {
		select {
		case asked <- struct{}{}:
		default:
		}
		if writes.Load() {
			return []string{"resize2fs has been working"}
		}
		return nil
	})
	defer stop()
	end()
	for range 3 {
		<-asked
	}
	if err := serving.Err(); err != nil {
		t.Fatalf("it ended while a tool wrote: %v", err)
	}
	writes.Store(false)
	select {
	case <-serving.Done():
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}

func TestAfterTools_StopDoesNotWait(t *testing.T) {
	serving, stop := afterTools(t.Context(), func() []string { return []string{"for ever"} })
	stop()
	if serving.Err() == nil {
		t.Error("it goes on")
	}
	ctx, end := context.WithCancel(t.Context())
	_, stop = afterTools(ctx, func() []string { return []string{"for ever"} })
	end()
	stop()
}
