package mount

import (
	"context"
	"net/netip"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// reasonLimit is how long is spent on finding out why a server did not answer.
const reasonLimit = 5 * time.Second

// unanswered adds to the error of a mount why the server may not have answered.
func (n *NFS) unanswered(ctx context.Context, t *task, plan volume.NFSPlan, from nfsSource, err error) error {
	if from.tunnel {
		return n.tunnelReason(ctx, plan.FileSystem, err)
	}
	if address, mounts := n.deadConnection(ctx, t, plan, from.host); address != "" {
		return fault.Explain(err, "this node's kernel has mounted the file system from "+address+", which does not answer, and "+
			"uses that connection for every address of the file system; it goes on when "+address+" answers again, or after a restart of the node; mounted from there: "+points(mounts))
	}
	return fault.Explain(err, reachable)
}

// explain adds to the error of a mount that does not answer why its tunnel failed, if it has one.
func (n *NFS) explain(ctx context.Context, fileSystem string, e entry, err error) error {
	if !fault.Is(err, fault.Unavailable) || e.value("addr") != loopback {
		return err
	}
	return n.tunnelReason(ctx, fileSystem, err)
}

func (n *NFS) tunnelReason(ctx context.Context, fileSystem string, err error) error {
	if n.Tunnels == nil {
		return err
	}
	ctx, cancel := soon(ctx, reasonLimit)
	defer cancel()
	if reason := n.Tunnels.Failure(ctx, fileSystem); reason != nil {
		return fault.Explain(err, "its TLS tunnel: "+reason.Error())
	}
	return fault.Explain(err, "its TLS tunnel reaches the mount target, which does not answer")
}

// deadConnection returns an address of the file system, other than the one given, that the kernel is connected with and that
// does not answer, and the mounts that keep the connection.
func (n *NFS) deadConnection(ctx context.Context, t *task, plan volume.NFSPlan, host string) (address string, mounts []entry) {
	all, err := readTable()
	if err != nil {
		return "", nil
	}
	for _, e := range all {
		h, err := volume.ParseHandle(all.labelOf(e).handle())
		if err != nil || h.Root != plan.FileSystem || !e.isNFS() || sameAddress(e.value("addr"), host) {
			continue
		}
		if address == "" && n.silent(ctx, t, e.point) {
			address = e.value("addr")
		}
		if address != "" && e.value("addr") == address {
			mounts = append(mounts, e)
		}
	}
	return address, mounts
}

// silent reports whether the server of a mount does not answer.
func (n *NFS) silent(ctx context.Context, t *task, point string) bool {
	life, cancel := soon(ctx, reasonLimit)
	defer cancel()
	_, err := n.children.run(ctx, life, t, order{Do: "look", Path: point})
	return fault.Is(err, fault.Unavailable) || fault.Is(err, fault.UnknownOutcome)
}

// sameAddress compares addresses, in whatever form they are written.
func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x.Unmap() == y.Unmap()
}
