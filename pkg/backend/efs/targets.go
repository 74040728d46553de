package efs

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// beginTargets begins to make the mount targets in the subnets that were asked for. It
// does not wait for them: Publish does, and makes what is missing.
func (b *Backend) beginTargets(ctx context.Context, f efs.FileSystem, o *order) error {
	if len(o.subnets) == 0 {
		return nil
	}
	have, err := b.api.MountTargets(ctx, f.ID)
	if err != nil {
		return fault.Wrap(opCreate, f.ID, err)
	}
	for _, subnet := range o.subnets {
		if slices.ContainsFunc(have, func(m efs.MountTarget) bool { return m.Subnet == subnet }) {
			continue
		}
		_, err := b.api.CreateMountTarget(ctx, f.ID, subnet, o.groups)
		switch {
		case err == nil || fault.Is(err, fault.Conflict): // the zone has one; Publish looks at it
		case fault.Is(err, fault.Limit):
			// The file system is there: a refusal would make the caller forget it.
			return fault.New(fault.Unavailable, opCreate, f.ID, "the file system exists and waits for its mount target in %s: %v", subnet, err)
		default:
			return fault.Wrap(opCreate, f.ID, err)
		}
	}
	return nil
}

// want is where a mount target is needed, and how to make it.
type want struct {
	system  efs.FileSystem
	zone    string
	node    ec2.Instance
	subnets []string // preferred ones
	groups  []string
}

// target finds or makes the mount target for a node and waits until it answers.
func (b *Backend) target(ctx context.Context, w want) (efs.MountTarget, error) {
	m, err := b.ensureTarget(ctx, w)
	if err != nil || m.State == efs.StateAvailable {
		return m, err
	}
	err = b.waits.target.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, found, err := b.targetIn(ctx, w)
		switch {
		case fault.Is(err, fault.Unavailable):
			return false, nil
		case err != nil:
			return false, err
		case !found: // not shown yet
			return false, nil
		}
		m = now
		if m.State == efs.StateError {
			return false, fault.New(fault.InUse, opPublish, w.system.ID, "EFS says that mount target %s in zone %s is in state %q; delete it and try again", m.ID, w.zone, m.State)
		}
		return m.State == efs.StateAvailable, nil
	})
	if err != nil && ctx.Err() != nil {
		return m, fault.New(fault.Pending, opPublish, w.system.ID, "mount target %s in zone %s is still %q, which takes up to 90 s; ask again", m.ID, w.zone, m.State)
	}
	return m, err
}

// targetIn finds the mount target in the wanted zone.
func (b *Backend) targetIn(ctx context.Context, w want) (m efs.MountTarget, found bool, err error) {
	list, err := b.api.MountTargets(ctx, w.system.ID)
	if err != nil {
		return m, false, fault.Wrap(opPublish, w.system.ID, err)
	}
	for _, t := range list {
		switch {
		case t.VPC != w.node.VPC:
			return m, false, fault.New(fault.InUse, opPublish, w.system.ID,
				"its mount targets are in %s and node %s is in %s; a file system serves one VPC, so use another one for these nodes", t.VPC, w.node.ID, w.node.VPC)
		case t.Zone == w.zone:
			m, found = t, true
		}
	}
	return m, found, nil
}

// ensureTarget finds or makes a mount target, one caller at a time for each file system
// and zone, so that many nodes that come at once cause one call.
func (b *Backend) ensureTarget(ctx context.Context, w want) (efs.MountTarget, error) {
	if m, found, err := b.targetIn(ctx, w); err != nil || found && m.State != efs.StateDeleting && m.State != efs.StateDeleted {
		return m, err
	}
	land, err := b.flights.enter(ctx, w.system.ID+" "+w.zone)
	if err != nil {
		return efs.MountTarget{}, fault.New(fault.Pending, opPublish, w.system.ID, "another call makes the mount target in zone %s; ask again", w.zone)
	}
	defer land()
	var m efs.MountTarget
	err = batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, found, err := b.targetIn(ctx, w)
		switch {
		case fault.Is(err, fault.Unavailable):
			return false, nil
		case err != nil:
			return false, err
		case found && (now.State == efs.StateDeleting || now.State == efs.StateDeleted):
			return false, nil // its zone is free when it is gone
		case found:
			m = now
			return true, nil
		}
		m, err = b.makeTarget(ctx, w)
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.Pending) {
			return false, nil // there is one that is not shown yet, or another process was faster
		}
		return err == nil, err
	})
	if err != nil && ctx.Err() != nil {
		return m, fault.New(fault.Pending, opPublish, w.system.ID, "EFS does not show a mount target in zone %s yet; ask again", w.zone)
	}
	return m, err
}

// makeTarget asks for a mount target in a subnet of the wanted zone.
func (b *Backend) makeTarget(ctx context.Context, w want) (efs.MountTarget, error) {
	subnet, err := b.subnetFor(ctx, w)
	if err != nil {
		return efs.MountTarget{}, err
	}
	groups, err := b.groupsFor(ctx, w.groups, w.node)
	if err != nil {
		return efs.MountTarget{}, fault.Wrap(opPublish, w.system.ID, err)
	}
	m, err := b.api.CreateMountTarget(ctx, w.system.ID, subnet, groups)
	return m, fault.Wrap(opPublish, w.system.ID, err)
}

// subnetFor chooses a subnet of the wanted zone: one that was asked for, else the
// node's own, else the VPC's default or first one there.
func (b *Backend) subnetFor(ctx context.Context, w want) (string, error) {
	if len(w.subnets) > 0 {
		list, err := b.network.Subnets(ctx, w.subnets)
		if err != nil {
			return "", fault.Wrap(opPublish, w.system.ID, err)
		}
		for _, s := range list {
			if s.Zone == w.zone && s.VPC == w.node.VPC {
				return s.ID, nil
			}
		}
		return "", fault.New(fault.InUse, opPublish, w.system.ID,
			"none of the subnets %v is in zone %s of %s, where node %s needs a mount target; add one to %s, or keep pods out of that zone", w.subnets, w.zone, w.node.VPC, w.node.ID, keySubnets)
	}
	if w.zone == w.node.Zone && w.node.Subnet != "" {
		return w.node.Subnet, nil
	}
	list, err := b.network.SubnetsIn(ctx, w.node.VPC, w.zone)
	if err != nil {
		return "", fault.Wrap(opPublish, w.system.ID, err)
	}
	if len(list) == 0 {
		return "", fault.New(fault.InUse, opPublish, w.system.ID, "%s has no subnet in zone %s, where the One Zone file system is; make one, or keep pods of this volume on nodes of another VPC", w.node.VPC, w.zone)
	}
	return slices.MinFunc(list, func(a, b ec2.Subnet) int {
		if a.Default != b.Default {
			return map[bool]int{true: -1, false: 1}[a.Default]
		}
		return strings.Compare(a.ID, b.ID)
	}).ID, nil
}

// checkReach checks that the security groups of a mount target let a node in. What was
// so a while ago is not asked again.
func (b *Backend) checkReach(ctx context.Context, m efs.MountTarget, node ec2.Instance) error {
	if b.reached.lately(m.ID, node.ID, time.Now()) {
		return nil
	}
	ids, err := b.api.MountTargetGroups(ctx, m.ID)
	if err != nil {
		return fault.Wrap(opPublish, m.FileSystem, err)
	}
	groups, err := b.network.SecurityGroups(ctx, ids)
	if err != nil {
		return fault.Wrap(opPublish, m.FileSystem, err)
	}
	if !admits(groups, node) {
		return fault.Wrap(opPublish, m.FileSystem, closed("mount target "+m.ID, ids, node))
	}
	b.reached.note(m.ID, node.ID, time.Now())
	return nil
}

// flights lets one caller at a time in for each key.
type flights struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func newFlights() *flights { return &flights{held: map[string]chan struct{}{}} }

// enter waits for its turn; the caller must land.
func (f *flights) enter(ctx context.Context, key string) (land func(), err error) {
	for {
		f.mu.Lock()
		busy, taken := f.held[key]
		if !taken {
			mine := make(chan struct{})
			f.held[key] = mine
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				delete(f.held, key)
				close(mine)
			}, nil
		}
		f.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reachedFor is how long a check of security groups is believed.
const reachedFor = 10 * time.Minute

// reached remembers which nodes the security groups of which mount targets let in.
type reached struct {
	mu   sync.Mutex
	when map[[2]string]time.Time
}

func newReached() *reached { return &reached{when: map[[2]string]time.Time{}} }

func (r *reached) lately(target, node string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.when[[2]string{target, node}]
	return ok && now.Sub(at) < reachedFor
}

func (r *reached) note(target, node string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, at := range r.when {
		if now.Sub(at) >= reachedFor {
			delete(r.when, key)
		}
	}
	r.when[[2]string{target, node}] = now
}
