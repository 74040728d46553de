package mounter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const fileSystem = "fs-0123456789abcdef0"

// target is a mount target that answers each line with "name: line", through TLS.
type target struct {
	net.Listener
	conns chan net.Conn
	shown atomic.Pointer[tls.Certificate]
}

// authority is a certificate for example.com, and who trusts it.
func authority(t *testing.T) (tls.Certificate, *tls.Config) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return server.TLS.Certificates[0], &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func newTarget(t *testing.T, certificate tls.Certificate, name string) *target {
	t.Helper()
	s := &target{conns: make(chan net.Conn, 100)}
	s.shown.Store(&certificate)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.shown.Load(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	s.Listener = l
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns <- conn
			go func() {
				defer func() { _ = conn.Close() }()
				line := make([]byte, 64)
				for {
					n, err := conn.Read(line)
					if err != nil {
						return
					}
					_, _ = fmt.Fprintf(conn, "%s: %s", name, line[:n])
				}
			}()
		}
	}()
	return s
}

func (s *target) tunnel() volume.Tunnel {
	return volume.Tunnel{FileSystem: fileSystem, Address: "127.0.0.1", Port: portOf(s.Listener), ServerName: "example.com"}
}

// say sends a line through a port on the loopback interface and returns the answer.
func say(port uint16, line string) (string, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, line); err != nil {
		return "", err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}

func open(t *testing.T, dir string, config *tls.Config) *Tunnels {
	t.Helper()
	tunnels, err := OpenTunnels(context.WithoutCancel(t.Context()), dir, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tunnels.Close() })
	return tunnels
}

func wantAnswer(t *testing.T, port uint16, want string) {
	t.Helper()
	if got, err := say(port, "hello"); err != nil || got != want {
		t.Errorf("port %d answers %q (%v), want %q", port, got, err, want)
	}
}

func TestTunnels_Open(t *testing.T) {
	certificate, trust := authority(t)
	first, second := newTarget(t, certificate, "first"), newTarget(t, certificate, "second")
	tunnels := open(t, t.TempDir(), trust)
	port, err := tunnels.Open(t.Context(), first.tunnel(), "a")
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, port, "first: hello")
	t.Run("one for all holders", func(t *testing.T) {
		for range 2 {
			if again, err := tunnels.Open(t.Context(), first.tunnel(), "b"); err != nil || again != port {
				t.Errorf("port %d (%v), want %d", again, err, port)
			}
		}
	})
	t.Run("another file system has another", func(t *testing.T) {
		other := second.tunnel()
		other.FileSystem = "fs-0123456789abcdef1"
		another, err := tunnels.Open(t.Context(), other, "a")
		if err != nil || another == port {
			t.Fatalf("port %d (%v)", another, err)
		}
		wantAnswer(t, another, "second: hello")
		if err := tunnels.Release(other.FileSystem, "a"); err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, port, "first: hello")
	})
	t.Run("the mount target moves", func(t *testing.T) {
		if again, err := tunnels.Open(t.Context(), second.tunnel(), "a"); err != nil || again != port {
			t.Fatalf("port %d (%v), want %d", again, err, port)
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			answer, err := say(port, "hello")
			if err == nil && answer == "second: hello" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("it answers %q (%v)", answer, err)
			}
		}
	})
	t.Run("it lives as long as its last holder", func(t *testing.T) {
		if err := tunnels.Release(fileSystem, "a"); err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, port, "second: hello")
		if err := errors.Join(tunnels.Release(fileSystem, "b"), tunnels.Release(fileSystem, "b"), tunnels.Release("fs-1", "x")); err != nil {
			t.Fatal(err)
		}
		if _, err := say(port, "hello"); err == nil {
			t.Error("it still answers")
		}
		if n := tunnels.Len(); n != 0 {
			t.Errorf("%d tunnels are left", n)
		}
	})
}

func TestTunnels_Open_refuses(t *testing.T) {
	certificate, trust := authority(t)
	good := newTarget(t, certificate, "good").tunnel()
	tunnels := open(t, t.TempDir(), trust)
	for name, tc := range map[string]struct {
		change func(*volume.Tunnel)
		kind   fault.Kind
		words  string
	}{
		"a server that is another":   {func(v *volume.Tunnel) { v.ServerName = "fs-1.efs.us-east-1.amazonaws.com" }, fault.Denied, "does not prove that it is fs-1"},
		"a closed port":              {func(v *volume.Tunnel) { v.Port = 1 }, fault.Unavailable, "no TLS connection"},
		"a file system that is none": {func(v *volume.Tunnel) { v.FileSystem = "../x" }, fault.Invalid, "fs-…"},
		"no server name":             {func(v *volume.Tunnel) { v.ServerName = "" }, fault.Invalid, "server name"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			tc.change(&bad)
			_, err := tunnels.Open(t.Context(), bad, "a")
			if !fault.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("got %v, want %s with %q", err, tc.kind, tc.words)
			}
		})
	}
	t.Run("a certificate that nobody trusts", func(t *testing.T) {
		strict := open(t, t.TempDir(), &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12})
		if _, err := strict.Open(t.Context(), good, "a"); !fault.Is(err, fault.Denied) {
			t.Errorf("got %v, want denied", err)
		}
	})
	if tunnels.Len() != 0 {
		t.Error("a tunnel that was refused is there")
	}
}

func TestTunnels_ComeBackOnTheirPorts(t *testing.T) {
	certificate, trust := authority(t)
	to, dir := newTarget(t, certificate, "target"), t.TempDir()
	tunnels := open(t, dir, trust)
	port, err := tunnels.Open(t.Context(), to.tunnel(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := tunnels.Close(); err != nil {
		t.Fatal(err)
	}
	// Somebody else has the port for a while.
	thief, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	next := open(t, dir, trust)
	if err := thief.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if answer, err := say(port, "hello"); err == nil && answer == "target: hello" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("it answers %q (%v)", answer, err)
		}
	}
	if again, err := next.Open(t.Context(), to.tunnel(), "a"); err != nil || again != port {
		t.Errorf("port %d (%v), want %d", again, err, port)
	}
	if err := os.WriteFile(filepath.Join(dir, "fs-1.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTunnels(t.Context(), dir, trust); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("a damaged note: %v", err)
	}
}

func TestServe(t *testing.T) {
	certificate, trust := authority(t)
	to := newTarget(t, certificate, "target").tunnel()
	socket := filepath.Join(t.TempDir(), "m.sock")
	client := NewClient(socket)
	if _, err := client.Open(t.Context(), to, "a"); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "diskbridge-csi mounter") {
		t.Errorf("without a mounter: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	tunnels := open(t, t.TempDir(), trust)
	ended, losses := make(chan error, 1), NewLosses()
	go func() { ended <- Serve(ctx, socket, tunnels, nil, losses) }()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if st, err := os.Stat(socket); err == nil && st.Mode().Perm() == 0o600 {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("no socket")
		}
	}
	port, err := client.Open(t.Context(), to, "a")
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, port, "target: hello")
	wrong := to
	wrong.ServerName = "other.example.org"
	if _, err := client.Open(t.Context(), wrong, "a"); !fault.Is(err, fault.Denied) {
		t.Errorf("the kind of an error is lost: %v", err)
	}
	if err := errors.Join(client.Close(t.Context(), fileSystem, "a"), client.Close(t.Context(), fileSystem, "a")); err != nil {
		t.Fatal(err)
	}
	if tunnels.Len() != 0 {
		t.Error("the tunnel is left")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestServe_OutlivesAnotherAtItsSocket: its end would be that of all tunnels, and of the programs of buckets.
func TestServe_OutlivesAnotherAtItsSocket(t *testing.T) {
	certificate, trust := authority(t)
	to := newTarget(t, certificate, "target").tunnel()
	socket := filepath.Join(t.TempDir(), "m.sock")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended, tunnels := make(chan error, 1), open(t, t.TempDir(), trust)
	go func() { ended <- Serve(ctx, socket, tunnels, nil, NewLosses()) }()
	client, deadline := NewClient(socket), time.Now().Add(20*time.Second)
	reached := func() (port uint16) {
		for {
			port, err := client.Open(t.Context(), to, "a")
			if err == nil {
				return port
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	reached()
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Accept(); err != nil { // who makes a socket asks whether another is there
		t.Fatal(err)
	}
	if err := other.Close(); err != nil { // it takes its socket with it
		t.Fatal(err)
	}
	wantAnswer(t, reached(), "target: hello")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
