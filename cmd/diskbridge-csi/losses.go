package main

import (
	"context"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mounter"
)

// lostMount is the reason of the event on a Pod whose mount was lost.
const lostMount = "VolumeMountLost"

// watchLosses tells of buckets that the mounter lost: a running container that had one does not see it again, whatever its
// mount propagation: the new mount lies beside the container's, not on it.
func (p *plugin) watchLosses(ctx context.Context, kind backend.Kind) {
	log := klog.FromContext(ctx)
	mounter.NewClient(p.settings.MounterSocket).WatchLosses(ctx, func(l mounter.Loss) {
		p.metrics.LostMount(kind.Driver)
		log.Info("A bucket was lost and is mounted again; restart the pods that have it", "volume", l.Handle, "targets", l.Targets)
		for _, target := range l.Targets {
			if p.cluster == nil {
				continue
			}
			err := p.cluster.WarnUsers(ctx, kind.Driver, p.settings.NodeName, target, lostMount,
				"the program that mounts "+l.Handle+" ended and was started again; containers that were running do not see the volume any more: restart the pod (with mountPropagation HostToContainer they see it)")
			if err != nil && !fault.Is(err, fault.NotFound) {
				log.Info("Event not written", "volume", l.Handle, "reason", err.Error())
			}
		}
	})
}
