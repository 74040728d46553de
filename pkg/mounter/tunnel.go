package mounter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/socket"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	// dialTimeout bounds a connection to a mount target with its handshake.
	dialTimeout = 10 * time.Second
	// stuckTimeout is how long a mount target may take nothing: the kernel, which waits for it on a connection of its own,
	// only sees that end here. Then it makes another.
	stuckTimeout = time.Minute
	// acceptPause is how long a tunnel rests that could not take a connection, or could not have its port back.
	acceptPause = 200 * time.Millisecond
	// refusedPause is how long the kernel's connection stays open that leads nowhere. The kernel makes another as soon as it
	// ends, without a pause of its own, since it could connect.
	refusedPause = time.Second
)

// tunnel leads from a port on the loopback interface to a mount target.
type tunnel struct {
	record
	tls      *tls.Config
	listener net.Listener // nil until run has it
	end      context.CancelFunc
	ended    sync.WaitGroup

	mu      sync.Mutex
	failed  error     // why the mount target was not reached the last time; nil if it was
	failing time.Time // since when
}

// tried notes what came of a connection to the mount target, and reports whether that is another kind of failure than the
// last time.
func (t *tunnel) tried(err error) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.failed == nil {
		t.failing = time.Now()
	}
	news = err != nil && (t.failed == nil || fault.KindOf(t.failed) != fault.KindOf(err))
	t.failed = err
	return news
}

// failure is why the mount target was not reached the last time, with the time since when it is so; nil if it was.
func (t *tunnel) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		return nil
	}
	return fault.New(fault.KindOf(t.failed), "tunnel to", t.Address, "failing for %s: %v", time.Since(t.failing).Round(time.Second), t.failed)
}

// record is what is noted of a tunnel.
type record struct {
	volume.Tunnel
	Local   uint16   `json:"local"`
	Holders []string `json:"holders"`
}

// dial makes an encrypted connection to the mount target.
func dial(ctx context.Context, to volume.Tunnel, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	address := net.JoinHostPort(to.Address, strconv.Itoa(int(to.Port)))
	config = config.Clone()
	config.ServerName = to.ServerName
	conn, err := (&tls.Dialer{NetDialer: socket.Dialer(dialTimeout, stuckTimeout), Config: config}).DialContext(ctx, "tcp", address)
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return nil, fault.New(fault.Denied, "connect", address, "it does not prove that it is %s: %v", to.ServerName, untrusted.Err)
	case err != nil:
		return nil, &fault.Error{Op: "connect", Subject: address, Kind: fault.Unavailable, Message: "no TLS connection to the mount target", Err: err}
	}
	return conn, nil
}

// listen takes a port on the loopback interface.
func listen(ctx context.Context, port uint16) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
}

// start serves until stop. A tunnel without a listener waits for its port.
func (t *tunnel) start(ctx context.Context) {
	ctx, t.end = context.WithCancel(ctx)
	t.ended.Go(func() { t.serve(ctx) })
}

// stop closes the tunnel and all its connections, and waits for them.
func (t *tunnel) stop() {
	t.end()
	t.ended.Wait()
}

func (t *tunnel) serve(ctx context.Context) {
	log := klog.FromContext(ctx).WithValues("fileSystem", t.FileSystem, "port", t.Local)
	for t.listener == nil {
		listener, err := listen(ctx, t.Local)
		if err == nil {
			t.listener = listener
			break
		}
		log.Error(err, "A tunnel cannot have its port back; it tries again")
		if !rest(ctx, acceptPause) {
			return
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = t.listener.Close() }) // Accept says so
	defer stop()
	for {
		conn, err := t.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close() // nobody is served any more
			}
			return
		}
		if err != nil {
			log.Error(err, "A tunnel cannot take a connection; it tries again")
			if !rest(ctx, acceptPause) {
				return
			}
			continue
		}
		t.ended.Go(func() {
			if err := t.relay(ctx, conn); err != nil {
				log.Info("A tunnel's connection ended; the kernel makes another", "address", t.Address, "reason", err.Error())
			}
		})
	}
}

// rest waits a moment; false if ctx has ended.
func rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// relay connects one connection of the kernel's to the mount target until one of them ends. A panic ends this connection
// only.
func (t *tunnel) relay(ctx context.Context, near net.Conn) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	defer func() { _ = near.Close() }() // what was not sent is sent again on the next connection
	far, err := dial(ctx, t.Tunnel, t.tls)
	switch {
	case err != nil && ctx.Err() != nil: // it was cut short
		return nil
	case err != nil:
		news := t.tried(err)
		rest(ctx, refusedPause)
		if news {
			return err
		}
		return nil // the log says so already
	}
	t.tried(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	defer both.Wait()
	closing := context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() }) // both copies see it
	defer closing()
	both.Go(func() {
		defer cancel()
		_, _ = io.Copy(far, near) // its end is the connection's, and that is what is told
	})
	_, err = io.Copy(near, far)
	cancel()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
