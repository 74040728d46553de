package harness

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// Kept is a driver that tests kill, and that is started again as kubelet does it, until the test ends.
type Kept struct {
	Conn *grpc.ClientConn // to whichever process there is

	start  func(context.Context) (*sandbox.Driver, error)
	mu     sync.Mutex
	driver *sandbox.Driver
}

// KeepController is [Controller] as one that is killed.
func KeepController(tb testing.TB, e *sandbox.Emulator, dir, name string, args ...string) *Kept {
	tb.Helper()
	return keep(tb, "controller", filepath.Join(dir, name), append(baseEnv(dir), e.CloudEnv()...), args)
}

// KeepNode is [Node] as one that is killed.
func KeepNode(tb testing.TB, i sandbox.Instance, dir, name string, args ...string) *Kept {
	tb.Helper()
	return keep(tb, "node", filepath.Join(dir, name), append(baseEnv(dir), i.MetadataEnv()...), append(NodeFlags(i), args...))
}

func keep(tb testing.TB, mode, sockets string, env, args []string) *Kept {
	tb.Helper()
	k := &Kept{start: func(ctx context.Context) (*sandbox.Driver, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return sandbox.StartDriver(ctx, Bin(tb), sandbox.EBSDriver, mode, sockets, env, args...)
	}}
	var err error
	if k.driver, err = k.start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if k.Conn, err = sandbox.Dial(k.driver.Socket); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		k.mu.Lock()
		defer k.mu.Unlock()
		if tb.Failed() {
			tb.Logf("the end of the log of %s:\n%s", k.driver.Name, k.driver.Tail(60))
		}
		if err := errors.Join(k.Conn.Close(), k.driver.Stop(ctx)); err != nil {
			tb.Error(err)
		}
	})
	return k
}

// Kill ends the process at once, and returns when another one is ready.
func (k *Kept) Kill(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.driver.Kill()
	_ = k.driver.Conn.Close() // nothing was sent over it
	next, err := k.start(ctx)
	if err == nil {
		k.driver = next
	}
	return err
}
