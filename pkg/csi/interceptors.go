package csi

import (
	"context"
	"path"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Recorder is told of every RPC.
type Recorder interface {
	RPC(driver, method, code string, took time.Duration)
}

// defaultDeadline bounds calls whose caller set no deadline.
const defaultDeadline = 5 * time.Minute

// boundary is the one place where an RPC is bounded, recovered, logged and counted,
// and where a fault becomes a gRPC status.
func boundary(driver string, recorder Recorder) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		method, start := path.Base(info.FullMethod), time.Now()
		logger := klog.FromContext(ctx).WithValues("driver", driver, "method", method)
		ctx, cancel := bounded(klog.NewContext(ctx, logger))
		defer cancel()
		resp, cause := recovered(ctx, req, handler)
		err := Status(method, cause)
		code, took := status.Code(err), time.Since(start)
		recorder.RPC(driver, method, code.String(), took)
		logger = logger.WithValues(subject(req)...).WithValues("code", code.String(), "took", took.Round(time.Millisecond).String())
		switch {
		case code == codes.OK && quiet(method):
			logger.V(5).Info("RPC answered")
		case code == codes.OK:
			logger.V(2).Info("RPC answered")
		case code == codes.Internal || code == codes.Unknown:
			logger.Error(cause, "RPC failed", "kind", fault.KindOf(cause).String())
		default:
			logger.Info("RPC refused", "kind", fault.KindOf(cause).String(), "reason", cause.Error())
		}
		if err != nil {
			return nil, err
		}
		return resp, nil
	}
}

// bounded makes the call end before its caller gives up, so that the caller gets the
// reason and not only a deadline: a tenth of the time, at most 2 s, is kept back.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, defaultDeadline)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, 2*time.Second)))
}

// recovered turns a panic into an error: one bad request must not end the plugin.
func recovered(ctx context.Context, req any, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Internal, "handle", "", "panic: %v", p)
			klog.FromContext(ctx).Error(err, "RPC panicked; this is a bug in diskbridge", "stack", string(debug.Stack()))
		}
	}()
	return handler(ctx, req)
}

// subject names what a request is about. Only these fields are ever logged, so that
// secrets and contexts cannot be.
func subject(req any) []any {
	var values []any
	add := func(key, value string) {
		if value != "" {
			values = append(values, key, value[:min(len(value), 256)])
		}
	}
	if r, ok := req.(interface{ GetVolumeId() string }); ok {
		add("volume", r.GetVolumeId())
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		add("name", r.GetName())
	}
	if r, ok := req.(interface{ GetNodeId() string }); ok {
		add("node", r.GetNodeId())
	}
	if r, ok := req.(interface{ GetSnapshotId() string }); ok {
		add("snapshot", r.GetSnapshotId())
	}
	if r, ok := req.(interface{ GetSourceVolumeId() string }); ok {
		add("source", r.GetSourceVolumeId())
	}
	if r, ok := req.(interface{ GetStagingTargetPath() string }); ok {
		add("staging", r.GetStagingTargetPath())
	}
	if r, ok := req.(interface{ GetTargetPath() string }); ok {
		add("target", r.GetTargetPath())
	}
	return values
}

// quiet are methods that are asked all the time.
func quiet(method string) bool {
	switch method {
	case "Probe", "GetPluginInfo", "GetPluginCapabilities", "ControllerGetCapabilities", "NodeGetCapabilities", "NodeGetVolumeStats", "ListVolumes", "ListSnapshots":
		return true
	}
	return false
}
