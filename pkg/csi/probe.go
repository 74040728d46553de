package csi

import (
	"context"
	"errors"
	"fmt"
	"net"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Probe asks the plugin on a Unix socket whether it is ready, as Kubernetes' liveness
// probe does: nil only if it answers there and says so. No value means ready (CSI
// specification, "Probe").
func Probe(ctx context.Context, socket string) (err error) {
	conn, err := grpc.NewClient("passthrough:///csi", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return fmt.Errorf("probe %s: %w", socket, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	answer, err := csipb.NewIdentityClient(conn).Probe(ctx, &csipb.ProbeRequest{})
	switch {
	case err != nil:
		return fmt.Errorf("probe %s: %w", socket, err)
	case answer.GetReady() != nil && !answer.GetReady().GetValue():
		return fmt.Errorf("probe %s: the plugin says that it is not ready", socket)
	}
	return nil
}
