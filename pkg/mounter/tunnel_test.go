package mounter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// expired is a certificate whose time is over, and that nobody trusts.
func expired(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestTunnels_Failure: why a tunnel fails is kept until it works again, is told by Open at once, and the kernel, which connects
// again as soon as its connection ends, is held up.
func TestTunnels_Failure(t *testing.T) {
	certificate, trust := authority(t)
	to := newTarget(t, certificate, "target")
	socket, tunnels := filepath.Join(t.TempDir(), "m.sock"), open(t, t.TempDir(), trust)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, socket, tunnels, nil, NewLosses()) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client, deadline := NewClient(socket), time.Now().Add(20*time.Second)
	for client.Failure(t.Context(), fileSystem) != nil { // until it serves
		if time.Now().After(deadline) {
			t.Fatal(client.Failure(t.Context(), fileSystem))
		}
	}
	port, err := client.Open(t.Context(), to.tunnel(), "a")
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, port, "target: hello")
	if err := client.Failure(t.Context(), fileSystem); err != nil {
		t.Fatalf("it works, and says %v", err)
	}
	to.shown.Store(expired(t))
	begin := time.Now()
	if answer, err := say(port, "hello"); err == nil {
		t.Errorf("it answers %q", answer)
	}
	if took := time.Since(begin); took < refusedPause {
		t.Errorf("the connection ended after %s", took)
	}
	if err := client.Failure(t.Context(), fileSystem); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "expired") || !strings.Contains(err.Error(), "failing for") {
		t.Errorf("the failure is %v", err)
	}
	if _, err := client.Open(t.Context(), to.tunnel(), "b"); !fault.Is(err, fault.Denied) {
		t.Errorf("another holder hears %v", err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	_, _ = say(port, "hello")
	if err := client.Failure(t.Context(), fileSystem); !fault.Is(err, fault.Unavailable) {
		t.Errorf("the failure is %v", err)
	}
	back := newTarget(t, certificate, "back")
	if _, err := client.Open(t.Context(), back.tunnel(), "a"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; { // its port is closed for a moment when a tunnel moves
		if answer, err := say(port, "hello"); err == nil && answer == "back: hello" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("it answers %q (%v)", answer, err)
		}
	}
	if err := client.Failure(t.Context(), fileSystem); err != nil {
		t.Errorf("it works again, and says %v", err)
	}
}
