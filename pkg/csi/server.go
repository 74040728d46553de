package csi

import (
	"context"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/socket"
)

// Server serves one driver name on one Unix socket.
type Server struct {
	Identity   *Identity
	Controller *Controller      // nil: not served
	Node       csipb.NodeServer // nil: not served
	Recorder   Recorder
	Tracing    stats.Handler // nil: no traces
	Socket     string
}

// Serve listens until ctx ends and then lets running calls finish for a moment.
// A stale socket of an earlier process is replaced; a living one is an error. A socket
// that somebody removes is made anew: kubelet and sidecars know no other way.
func (s *Server) Serve(ctx context.Context) error {
	listener, err := socket.Listen(ctx, s.Socket)
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
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return socket.Serve(ctx, server, listener) })
	group.Go(func() error {
		return listener.Keep(ctx, func() { klog.FromContext(ctx).Info("The socket was removed; it is made anew", "socket", s.Socket) })
	})
	return group.Wait()
}
