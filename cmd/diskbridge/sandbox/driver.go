package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// The names under which the backends serve.
const (
	EBSDriver = "ebs.csi.diskbridge.io"
	EFSDriver = "efs.csi.diskbridge.io"
	S3Driver  = "s3.csi.diskbridge.io"
)

// Driver is a running diskbridge-csi that serves one backend, and a connection to its socket.
type Driver struct {
	*Process
	Socket string
	Conn   *grpc.ClientConn
}

// StartDriver starts the diskbridge-csi in the folder bin for the driver name and waits until it says that it is ready.
// mode is controller, node or all; sockets is an empty or missing folder with a short path.
func StartDriver(ctx context.Context, bin, driver, mode, sockets string, env []string, args ...string) (*Driver, error) {
	backend, _, _ := strings.Cut(driver, ".")
	p, err := Start("diskbridge-csi "+mode, bin+"/diskbridge-csi",
		append([]string{mode, "--backends=" + backend, "--socket-dir=" + sockets}, args...), env)
	if err != nil {
		return nil, err
	}
	d := &Driver{Process: p, Socket: filepath.Join(sockets, driver, "csi.sock")}
	if d.Conn, err = Dial(d.Socket); err != nil {
		p.Kill()
		return nil, err
	}
	if err := d.ready(ctx); err != nil {
		p.Kill()
		return nil, errors.Join(fmt.Errorf("waiting for %s: %w", p.Name, err), d.Conn.Close())
	}
	return d, nil
}

// Dial makes a connection to a CSI socket; it connects when it is used.
func Dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}))
}

// ready waits until Probe answers that the plugin is ready (CSI specification, "Probe": no value means yes).
func (d *Driver) ready(ctx context.Context) error {
	ctx, cancel := d.watch(ctx)
	defer cancel()
	identity := csi.NewIdentityClient(d.Conn)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		probe, err := identity.Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		if err == nil && (probe.GetReady() == nil || probe.GetReady().GetValue()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-again.C:
		}
	}
}

// Stop closes the connection and ends the process as [Process.Stop] does.
func (d *Driver) Stop(ctx context.Context) error {
	return errors.Join(d.Conn.Close(), d.Process.Stop(ctx))
}
