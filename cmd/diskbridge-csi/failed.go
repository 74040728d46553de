package main

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount"
)

const (
	// volumeReadOnly is the reason of the event on a Pod whose volume takes no writes any more.
	volumeReadOnly = "VolumeReadOnly"
	// failedInterval is how often the mount table is read: the kernel does not notify of such a change.
	failedInterval = 30 * time.Second
)

// failures finds volumes whose file system the kernel made read-only, or shut down, after an error.
type failures struct {
	disks  func() ([]mount.Attached, error) // the driver's own
	set    func(n int)                      // how many there are
	report func(ctx context.Context, d mount.Attached)

	known map[string]bool // by serial number
}

// run looks until ctx ends.
func (f *failures) run(ctx context.Context) {
	tick := time.NewTicker(failedInterval)
	defer tick.Stop()
	for {
		if err := f.look(ctx); err != nil {
			klog.FromContext(ctx).Info("Volumes were not checked for file system errors", "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look reports each failure once.
func (f *failures) look(ctx context.Context) error {
	disks, err := f.disks()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, d := range disks {
		if !d.Failed {
			continue
		}
		known[d.Serial] = true
		if !f.known[d.Serial] {
			f.report(ctx, d)
		}
	}
	f.known = known
	f.set(len(known))
	return nil
}

// watchFailures reports them in the log, by a metric and by events on the pods that have the volume.
func (p *plugin) watchFailures(ctx context.Context, driver string, a *attachments) {
	f := &failures{disks: a.own, set: func(n int) { p.metrics.FailedFileSystems(driver, n) }, report: func(ctx context.Context, d mount.Attached) {
		log := klog.FromContext(ctx)
		log.Info("The kernel ended writing to a file system after an error; its log says which", "driver", driver, "serial", d.Serial, "paths", d.Points)
		for _, target := range d.Points {
			if p.cluster == nil {
				continue
			}
			err := p.cluster.WarnUsers(ctx, driver, p.settings.NodeName, target, volumeReadOnly,
				"the node's kernel made the file system read-only after an error, which its log names; delete the pods that have the volume: it is checked and mounted again for the next one")
			if err != nil && !fault.Is(err, fault.NotFound) {
				log.Info("Event not written", "serial", d.Serial, "reason", err.Error())
			}
		}
	}}
	f.run(ctx)
}
