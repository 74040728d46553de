package main

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/csi"
	"github.com/diskbridge/diskbridge/pkg/limits"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const (
	// metadataWait bounds a call to the metadata service, which answers in milliseconds or not at all.
	metadataWait = 2 * time.Second
	// metadataRest is how long a metadata service that did not answer is left alone.
	metadataRest = time.Minute
)

// attachments answers how many volumes of one driver this node takes, from instance metadata, sysfs and the mount table.
// It remembers what it staged, for volumes whose paths do not say whose they are.
type attachments struct {
	blocks

	configured int64 // 0: as many as the instance type takes
	disks      func() ([]mount.Attached, error)
	owner      limits.Owner
	instance   instance

	mu     sync.Mutex        // guards all below
	staged map[string]string // handle → serial
	logged string
}

// blocks is what [mount.Block] does for a node.
type blocks interface {
	csi.Stager[volume.BlockPlan]
	csi.Expander[volume.BlockPlan]
	csi.Meter
}

var _ blocks = (*attachments)(nil)

func newAttachments(s *config.Settings, driver string, stager *mount.Block) *attachments {
	return &attachments{
		blocks: stager, configured: s.VolumeAttachLimit, disks: stager.Attached,
		owner:    limits.Owner{Driver: driver, PathRoot: s.PathRoot, PublishedBy: publishedBy},
		instance: instance{typ: s.InstanceType, interfaces: aws.Interfaces, identity: aws.Self, now: time.Now},
		staged:   map[string]string{},
	}
}

// Stage remembers the volume.
func (a *attachments) Stage(ctx context.Context, plan volume.BlockPlan, stagingPath string) error {
	err := a.blocks.Stage(ctx, plan, stagingPath)
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.staged[plan.Handle] = plan.Serial
	}
	return err
}

// Unstage forgets the volume: it will be detached.
func (a *attachments) Unstage(ctx context.Context, handle, stagingPath string) error {
	err := a.blocks.Unstage(ctx, handle, stagingPath)
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.staged, handle)
	}
	return err
}

// limit is for csi.Node. It makes no EC2 call.
func (a *attachments) limit(ctx context.Context) (int64, error) {
	if a.configured > 0 {
		return a.configured, nil
	}
	disks, err := a.disks()
	if err != nil {
		return 0, err
	}
	typ, interfaces, why := a.instance.ask(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	facts := a.count(disks)
	facts.Interfaces, facts.NoInterfaces = interfaces, why
	answer := limits.Limit(typ, facts)
	if answer.Why != a.logged {
		a.logged = answer.Why
		klog.FromContext(ctx).Info("Attach limit", "driver", a.owner.Driver, "volumes", answer.Volumes, "knownType", answer.Known, "because", answer.Why)
	}
	return answer.Volumes, nil
}

// usage is for metrics: how many volumes of this driver the kernel shows, and how many there may be.
func (a *attachments) usage(ctx context.Context) (attached, limit int64, err error) {
	limit, err = a.limit(ctx)
	if err != nil {
		return 0, 0, err
	}
	disks, err := a.disks()
	if err != nil {
		return 0, 0, err
	}
	for _, d := range disks {
		if d.Model == limits.EBSModel {
			attached++
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return attached - int64(a.count(disks).Foreign), limit, nil
}

// own lists the disks of this driver's volumes.
func (a *attachments) own() ([]mount.Attached, error) {
	disks, err := a.disks()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	ours := a.serials()
	return slices.DeleteFunc(disks, func(d mount.Attached) bool {
		return d.Model != limits.EBSModel || !ours[d.Serial] && !a.owner.Owns(d.Points)
	}), nil
}

// serials returns the serial numbers of what was staged.
func (a *attachments) serials() map[string]bool {
	ours := map[string]bool{}
	for serial := range maps.Values(a.staged) {
		ours[serial] = true
	}
	return ours
}

// count tells our volumes from others.
func (a *attachments) count(disks []mount.Attached) (f limits.Facts) {
	ours := a.serials()
	for _, d := range disks {
		switch {
		case d.Model == limits.StoreModel:
			f.StoreDisks++
		case d.Model == limits.EBSModel && !ours[d.Serial] && !a.owner.Owns(d.Points):
			f.Foreign++
		}
	}
	return f
}

// instance is what the metadata service says of this machine.
type instance struct {
	interfaces func(context.Context) (int, error)
	identity   func(context.Context) (aws.Identity, error)
	now        func() time.Time

	mu     sync.Mutex // guards all below, and lets one caller at a time ask
	typ    string
	count  int       // of network interfaces, as last answered; 0 if never
	failed time.Time // when the service did not answer; zero if it did
	why    string
}

// ask returns the instance type and how many network interfaces are attached. What is not known is empty or 0, and why
// says the reason.
func (i *instance) ask(ctx context.Context) (typ string, interfaces int, why string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failed.IsZero() || i.now().Sub(i.failed) >= metadataRest {
		i.refresh(ctx)
	}
	return i.typ, i.count, i.why
}

func (i *instance) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, metadataWait)
	defer cancel()
	n, err := i.interfaces(ctx)
	if err == nil && i.typ == "" {
		var self aws.Identity
		self, err = i.identity(ctx)
		i.typ = self.Type
	}
	if err != nil {
		i.failed, i.why = i.now(), err.Error()
		return
	}
	i.count, i.failed, i.why = n, time.Time{}, ""
}

// publishedBy reads the driver's name from what kubelet keeps with a raw volume.
func publishedBy(dataDir string) string {
	text, err := os.ReadFile(filepath.Join(dataDir, "vol_data.json"))
	var data struct {
		DriverName string `json:"driverName"`
	}
	if err != nil || json.Unmarshal(text, &data) != nil {
		return "" // nobody's, so that it counts as foreign
	}
	return data.DriverName
}
