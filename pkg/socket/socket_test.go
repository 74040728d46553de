package socket_test

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/socket"
)

func listen(t *testing.T, path string) *socket.Listener {
	t.Helper()
	l, err := socket.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestListen_Refusals(t *testing.T) {
	t.Run("a living socket", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l := listen(t, path)
		if _, err := socket.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "served by another process") {
			t.Errorf("Listen = %v", err)
		}
		if l.Lost() {
			t.Error("the refusal took the socket away")
		}
	})
	t.Run("another file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := socket.Listen(t.Context(), path)
		if content, _ := os.ReadFile(path); err == nil || string(content) != "precious" {
			t.Errorf("Listen = %v; the file holds %q", err, content)
		}
	})
	t.Run("a path that is too long", func(t *testing.T) {
		path := "/tmp/" + strings.Repeat("x", 103)
		if _, err := socket.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "Unix allows 107") {
			t.Errorf("Listen = %v", err)
		}
	})
}

func TestListen_ReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "s")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	listen(t, path)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", st, err)
	}
}

func TestListener_Close(t *testing.T) {
	t.Run("its own socket is removed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l := listen(t, path)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	t.Run("a socket that took its place stays", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		first := listen(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if !first.Lost() {
			t.Error("a removed socket is not lost")
		}
		second := listen(t, path)
		for range 2 { // gRPC closes a listener more than once
			if err := first.Close(); err != nil {
				t.Error(err)
			}
		}
		if second.Lost() {
			t.Error("it removed the socket of another")
		}
	})
}

// TestListener_Keep: somebody empties the folder, as kubelet's was when a node is cleaned up, and later takes the place.
func TestListener_Keep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "s")
	l := listen(t, path)
	ended, lost := make(chan error, 1), make(chan struct{}, 9)
	go func() { ended <- l.Keep(t.Context(), func() { lost <- struct{}{} }) }()
	accepted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.Close()
		}
		accepted <- err
	}()
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	<-lost
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	if err := <-accepted; err != nil {
		t.Errorf("Accept = %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	listen(t, path)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "served by another process") {
		t.Errorf("Keep = %v", err)
	}
}
