package replay

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// patient repeats a request while the driver says that it may be in progress, as Kubernetes' sidecars do.
type patient struct {
	*grpc.ClientConn
	repeat []codes.Code
}

var _ grpc.ClientConnInterface = patient{}

// Invoke implements [grpc.ClientConnInterface].
func (p patient) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := p.ClientConn.Invoke(ctx, method, args, reply, opts...)
		if !slices.Contains(p.repeat, status.Code(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

// insisting also repeats what a driver that has just started could not answer.
func insisting(conn *grpc.ClientConn) patient {
	return patient{conn, []codes.Code{codes.Aborted, codes.Unavailable}}
}

// onProcess gives up once the process behind the connection is dead.
func onProcess(conn *grpc.ClientConn) patient { return patient{conn, []codes.Code{codes.Aborted}} }
