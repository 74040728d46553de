package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/tests/lane"
)

// authority issues certificates that only this test's mounter trusts.
type authority struct {
	file string // its own certificate, in PEM
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(file string) (a authority, err error) {
	a.file = file
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return a, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "guest"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		return a, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return a, err
	}
	return a, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// issue makes a certificate for a name.
func (a authority) issue(name string, until time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// terminal is a mount target that speaks TLS, as EFS's do: it ends the encryption before an NFS server.
type terminal struct {
	listener net.Listener
	server   string
	mu       sync.Mutex
	conns    map[net.Conn]bool
	taken    int // connections in all
	shown    *tls.Certificate
}

// show makes the certificate another one for new connections.
func (t *terminal) show(certificate *tls.Certificate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = certificate
}

func (t *terminal) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shown, nil
}

// openTerminals gives both file systems a mount target with TLS.
func (w *world) openTerminals(ctx context.Context) (err error) {
	if w.authority, err = newAuthority("/run/authority.pem"); err != nil {
		return err
	}
	for _, t := range []struct{ fileSystem, address, server string }{{fsA, secretA, plainA}, {fsB, secretB, plainB}} {
		terminal, err := w.openTerminal(ctx, t.fileSystem, t.address, t.server)
		if err != nil {
			return err
		}
		w.terminals = append(w.terminals, terminal)
	}
	return nil
}

func (w *world) openTerminal(ctx context.Context, fileSystem, address, server string) (*terminal, error) {
	certificate, err := w.authority.issue(certified(fileSystem), time.Now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	if err := inside.Run(ctx, "ip", "address", "replace", address+"/32", "dev", "lo"); err != nil {
		return nil, err
	}
	t := &terminal{server: server + ":2049", conns: map[net.Conn]bool{}, shown: certificate}
	if t.listener, err = tls.Listen("tcp", address+":2049", &tls.Config{GetCertificate: t.certificate, MinVersion: tls.VersionTLS12}); err != nil {
		return nil, err
	}
	go t.serve()
	return t, nil
}

// certified is the name that a file system's certificates are for.
func certified(fileSystem string) string { return fileSystem + ".efs.us-east-1.amazonaws.com" }

func (t *terminal) serve() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			return
		}
		t.mu.Lock()
		t.conns[conn] = true
		t.taken++
		t.mu.Unlock()
		go t.relay(conn)
	}
}

func (t *terminal) relay(conn net.Conn) {
	defer func() {
		t.mu.Lock()
		delete(t.conns, conn)
		t.mu.Unlock()
		_ = conn.Close()
	}()
	server, err := net.Dial("tcp", t.server) //nolint:noctx // it is near
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, conn)
		_ = server.Close()
	}()
	_, _ = io.Copy(conn, server)
}

// cut ends all connections.
func (t *terminal) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn := range t.conns {
		_ = conn.Close()
	}
}

func (t *terminal) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taken
}

func (t *terminal) close() error {
	err := t.listener.Close()
	t.cut()
	return err
}

// secret is a claim that asks for encryption.
func (w *world) secret(fileSystem, address, pod string) claim {
	return claim{node: w.one, handle: fileSystem, address: address, context: map[string]string{"encryptInTransit": "true"}, pod: pod}
}

func encrypted(ctx context.Context, w *world) error {
	root, sub := w.secret(fsA, secretA, "root"), w.directory(w.one, "/base/pvc-3", "pvc-3")
	sub.address, sub.context["encryptInTransit"] = secretA, "true"
	other := w.secret(fsB, secretB, "other")
	before := w.terminals[0].count()
	if err := lane.InOrder(ctx, root.mount, sub.mount, other.mount); err != nil {
		return err
	}
	if w.terminals[0].count() == before {
		return errors.New("no connection came through TLS")
	}
	err := errors.Join(root.shows("source=127.0.0.1:/", "port=21050", "addr=127.0.0.1", "hard", "noresvport"), sub.shows("source=127.0.0.1:/base/pvc-3", "port=21050"),
		other.shows("port=21051"), root.save("file", "text"), root.holds("file", "text"), sub.touch("mine"), other.save("file", "other"))
	// The first volume of the file system goes, and with it nothing of the second's.
	err = errors.Join(err, root.unmount(ctx), sub.save("file", "still"), sub.stats(ctx), sub.unmount(ctx), other.unmount(ctx))
	left, e := os.ReadDir("/run/tunnels")
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("tunnels are left: %v", left))
	}
	return errors.Join(err, e)
}

// impostor has a certificate of another file system.
func impostor(ctx context.Context, w *world) error {
	c := w.secret(fsA, secretB, "pod")
	if err := errors.Join(refused(c.stage(ctx), codes.PermissionDenied, "does not prove that it is "+fsA), c.unstage(ctx)); err != nil {
		return err
	}
	c.address = plainA // speaks no TLS
	return errors.Join(refused(within(ctx, 15*time.Second, c.stage), codes.Unavailable, "no TLS connection"), c.unstage(ctx))
}

func tunnelKilled(ctx context.Context, w *world) error {
	a, b := w.secret(fsA, secretA, "a"), w.secret(fsB, secretB, "b")
	if err := lane.InOrder(ctx, a.mount, b.mount); err != nil {
		return err
	}
	first, err := a.startWriter()
	if err != nil {
		return err
	}
	second, err := b.startWriter()
	if err != nil {
		return err
	}
	others := w.terminals[1].count()
	w.terminals[0].cut()
	err = errors.Join(first.more(5), second.more(5), first.end(), second.end())
	if w.terminals[1].count() != others {
		err = errors.Join(err, errors.New("the other file system's connection was made anew"))
	}
	return errors.Join(err, a.unmount(ctx), b.unmount(ctx))
}

func mounterKilled(ctx context.Context, w *world) error {
	c := w.secret(fsA, secretA, "pod")
	if err := c.mount(ctx); err != nil {
		return err
	}
	writing, err := c.startWriter()
	if err != nil {
		return err
	}
	if err := errors.Join(kill(w.mounter), refused(within(ctx, 15*time.Second, c.stats), codes.Unavailable, "has not answered")); err != nil {
		return err
	}
	other := w.secret(fsB, secretB, "other")
	err = refused(other.stage(ctx), codes.Unavailable, "diskbridge-csi mounter")
	err = errors.Join(err, w.startMounter(), writing.more(5), writing.end(), c.stats(ctx), c.shows("port=21050"))
	return errors.Join(err, other.unstage(ctx), c.unmount(ctx))
}

func neverJoined(ctx context.Context, w *world) error {
	plain, secret := w.root(w.one), w.secret(fsA, secretA, "secret")
	secret.handle = fsA + ":/sub"
	if err := errors.Join(os.Mkdir(w.a.Root()+"/sub", 0o755), plain.mount(ctx)); err != nil {
		return err
	}
	err := refused(secret.stage(ctx), codes.AlreadyExists, "without encryption")
	err = errors.Join(err, secret.unstage(ctx), plain.unmount(ctx))
	if err := errors.Join(err, secret.mount(ctx)); err != nil {
		return err
	}
	return errors.Join(refused(plain.stage(ctx), codes.AlreadyExists, "through a TLS tunnel"), plain.unstage(ctx), secret.unmount(ctx))
}
