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

// The reasons of events: on a Pod whose mount was lost, and on a Node whose mounts share one limit of memory.
const (
	lostMount       = "VolumeMountLost"
	unboundedMemory = "MountMemoryUnbounded"
)

// watchLosses reports the buckets that the mounter lost: a running container that had one does not see it again, unless it takes
// mounts from the host. Where that is wanted, its pod is evicted. It also reports a mounter that cannot limit each mount's memory.
func (p *plugin) watchLosses(ctx context.Context, kind backend.Kind) {
	var evictions *kube.Evictions
	if p.settings.EvictLostMounts {
		evictions = kube.NewEvictions(p.cluster, kind.Driver, p.settings.NodeName)
		var running sync.WaitGroup
		running.Go(func() { evictions.Run(ctx) })
		defer running.Wait()
	}
	p.metrics.LostMounts(kind.Driver, 0, 0)
	p.metrics.UnboundedMounts(kind.Driver, false) // until the mounter says otherwise
	mounter.NewClient(p.settings.MounterSocket).WatchLosses(ctx, mounter.Watcher{
		Lost: func(l mounter.Loss) {
			p.reportLoss(ctx, kind.Driver, l)
			for _, target := range l.Targets {
				if evictions != nil {
					evictions.Ask(ctx, target, l.At)
				}
			}
		},
		Unbounded: func(reason string) { p.reportUnbounded(ctx, kind.Driver, reason) },
	})
}

// reportLoss writes a lost bucket to the log, the metrics, and the events of those who use it.
func (p *plugin) reportLoss(ctx context.Context, driver string, l mounter.Loss) {
	log, why, ended := klog.FromContext(ctx), "", "ended"
	if l.OutOfMemory == "" {
		p.metrics.LostMounts(driver, 0, 1)
	} else {
		p.metrics.LostMounts(driver, 1, 0)
		why, ended = l.OutOfMemory, "was ended ("+l.OutOfMemory+")"
	}
	log.Info("A bucket was lost and is mounted again; restart the pods that have it", "volume", l.Handle, "targets", l.Targets, "reason", why)
	for _, target := range l.Targets {
		if p.cluster == nil {
			continue
		}
		err := p.cluster.WarnUsers(ctx, driver, p.settings.NodeName, target, lostMount,
			"the program that mounts "+l.Handle+" "+ended+" and was started again; containers that were running do not see the volume any more: restart the pod (with mountPropagation HostToContainer they see it)")
		if err != nil && !fault.Is(err, fault.NotFound) {
			log.Info("Event not written", "volume", l.Handle, "reason", err.Error())
		}
	}
}

// reportUnbounded says that mounts share one limit of memory, or no longer do.
func (p *plugin) reportUnbounded(ctx context.Context, driver, reason string) {
	p.metrics.UnboundedMounts(driver, reason != "")
	if reason == "" {
		return
	}
	log := klog.FromContext(ctx)
	log.Info("Mounts of buckets share the mounter's memory: one that needs too much may end all of them", "reason", reason)
	if p.cluster == nil || p.settings.NodeName == "" {
		return
	}
	err := p.cluster.WarnNode(ctx, driver, p.settings.NodeName, unboundedMemory, "mounts of buckets have no memory limit of their own: "+reason)
	if err != nil {
		log.Info("Event not written", "node", p.settings.NodeName, "reason", err.Error())
	}
}
