package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// MaxPath is the longest path of a Unix socket in bytes, see unix(7).
const MaxPath = 107

// stopGrace is how long running calls may take to end once a server stops.
const stopGrace = 10 * time.Second

// lookInterval is how often Keep looks for the socket.
const lookInterval = time.Second

// Listener listens on a Unix socket that is its own.
type Listener struct {
	path  string
	close func() error

	mu     sync.Mutex // guards below
	on     net.Listener
	own    os.FileInfo
	closed bool
}

var _ net.Listener = (*Listener)(nil)

// Listen makes the socket's directory and the socket, for the owner only. A stale
// socket of an earlier process is replaced; a living one, and any other file, is an
// error and stays as it is.
func Listen(ctx context.Context, path string) (*Listener, error) {
	if len(path) > MaxPath {
		return nil, fmt.Errorf("the path of socket %s has %d bytes, Unix allows %d; choose a shorter folder", path, len(path), MaxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close() // only asked whether somebody listens
		return nil, fmt.Errorf("socket %s is served by another process; stop it or choose another folder", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("%s exists and is not a socket; remove it", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // by then the path may be another's
	}
	l := &Listener{on: listener, path: path}
	l.close = sync.OnceValue(l.remove)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	if l.own, err = os.Lstat(path); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return l, nil
}

// Lost reports whether the path no longer leads to this socket, so that nobody new
// can connect.
func (l *Listener) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, err := os.Lstat(l.path)
	return err != nil || !os.SameFile(now, l.own)
}

// Keep makes a lost socket anew until ctx ends, and calls lost before. Its error is why it cannot, such as that
// another process serves there now.
func (l *Listener) Keep(ctx context.Context, lost func()) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if !l.Lost() {
			continue
		}
		lost()
		next, err := Listen(ctx, l.path)
		if err != nil {
			return err
		}
		l.mu.Lock()
		last, closed := l.on, l.closed
		if !closed {
			l.on, l.own = next.on, next.own
		}
		l.mu.Unlock()
		if closed {
			return next.Close()
		}
		if err := last.Close(); err != nil {
			return err
		}
	}
}

// Accept waits for the next connection, also over a loss of the socket.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		on := l.current()
		conn, err := on.Accept()
		if err == nil || on == l.current() {
			return conn, err
		}
	}
}

// Addr is the socket's address.
func (l *Listener) Addr() net.Addr { return l.current().Addr() }

func (l *Listener) current() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.on
}

// Close stops listening and removes the socket, unless the path is another's now.
func (l *Listener) Close() error { return l.close() }

// remove comes before the listener's end: as long as it is open, no other file has
// its inode.
func (l *Listener) remove() error {
	var err error
	if !l.Lost() {
		err = os.Remove(l.path)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return errors.Join(err, l.on.Close())
}

// Serve answers on l until ctx ends, and then lets running calls finish for a moment.
func Serve(ctx context.Context, server *grpc.Server, l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	force := time.AfterFunc(stopGrace, server.Stop)
	defer force.Stop()
	server.GracefulStop()
	if err := <-ended; !errors.Is(err, grpc.ErrServerStopped) { // it was stopped before it had begun
		return err
	}
	return nil
}
