package main

import (
	"context"
	"sync"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/kube"
	"github.com/diskbridge/diskbridge/pkg/mounter"
)

// lostMount is the reason of the event on a Pod whose mount was lost.
const lostMount = "VolumeMountLost"

// watchLosses tells of buckets that the mounter lost: a running container that had one does not see it again, unless it takes
// mounts from the host. Where that is wanted, its pod is evicted.
func (p *plugin) watchLosses(ctx context.Context, kind backend.Kind) {
	log := klog.FromContext(ctx)
	var evictions *kube.Evictions
	if p.settings.EvictLostMounts {
		evictions = kube.NewEvictions(p.cluster, kind.Driver, p.settings.NodeName)
		var running sync.WaitGroup
		running.Go(func() { evictions.Run(ctx) })
		defer running.Wait()
	}
	p.metrics.LostMounts(kind.Driver, 0)
	mounter.NewClient(p.settings.MounterSocket).WatchLosses(ctx, func(l mounter.Loss) {
		p.metrics.LostMounts(kind.Driver, 1)
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
			if evictions != nil {
				evictions.Ask(ctx, target, l.At)
			}
		}
	})
}
