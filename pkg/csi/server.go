package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Server serves one driver name on one Unix socket.
type Server struct {
	Identity   *Identity
	Controller *Controller // nil: not served
	Node       *Node       // nil: not served
	Recorder   Recorder
	Tracing    stats.Handler // nil: no traces
	Socket     string
}

// stopGrace is how long running calls may take to end once the server stops.
const stopGrace = 10 * time.Second

// Serve listens until ctx ends and then lets running calls finish for a moment.
// A stale socket of an earlier process is replaced; a living one is an error.
func (s *Server) Serve(ctx context.Context) error {
	listener, err := listen(ctx, s.Socket)
	if err != nil {
		return err
	}
	opts := []grpc.ServerOption{grpc.ChainUnaryInterceptor(boundary(s.Identity.Driver, s.Recorder))}
	if s.Tracing != nil {
		opts = append(opts, grpc.StatsHandler(s.Tracing))
	}
	server := grpc.NewServer(opts...)
	csipb.RegisterIdentityServer(server, s.Identity)
	if s.Controller != nil {
		csipb.RegisterControllerServer(server, s.Controller)
	}
	if s.Node != nil {
		csipb.RegisterNodeServer(server, s.Node)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	force := time.AfterFunc(stopGrace, server.Stop)
	defer force.Stop()
	server.GracefulStop()
	return <-ended
}

// listen makes the socket's directory and the socket, for the owner only.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", socket); err == nil {
		_ = conn.Close() // only asked whether somebody listens
		return nil, fmt.Errorf("socket %s is served by another process; stop it or choose another --socket-dir", socket)
	}
	if info, err := os.Lstat(socket); err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("%s exists and is not a socket; remove it", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}
