package socket

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestDialer_ServerThatTakesNothing writes to a server that never reads: the write ends.
func TestDialer_ServerThatTakesNothing(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := Dialer(time.Second, 300*time.Millisecond).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = conn.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("%v, want %v", err, syscall.ETIMEDOUT)
	}
}
