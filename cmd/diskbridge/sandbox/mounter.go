package sandbox

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// StartMounter starts the diskbridge-csi mounter in the folder bin, with its socket, notes and cache in dir, which has a short
// path, and waits until it listens.
func StartMounter(ctx context.Context, bin, dir string, env []string, args ...string) (p *Process, socket string, err error) {
	socket = filepath.Join(dir, "m.sock")
	p, err = Start("diskbridge-csi mounter", bin+"/diskbridge-csi", append([]string{"mounter", "--socket=" + socket,
		"--state-dir=" + filepath.Join(dir, "tunnels"), "--objects-dir=" + filepath.Join(dir, "objects"),
		"--cache-dir=" + filepath.Join(dir, "cache"), "--cache-keep-free=100"}, args...), env)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := p.watch(ctx)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return p, socket, conn.Close()
		}
		select {
		case <-ctx.Done():
			p.Kill()
			return nil, "", fmt.Errorf("waiting for the mounter: %w", context.Cause(ctx))
		case <-again.C:
		}
	}
}
