package mount

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Publish makes a staged volume visible at targetPath, a directory that it creates. readOnly makes this target read-only,
// whatever the plan says. A mount that has become stale is made anew.
//
// Kinds: InUse (not staged, or published elsewhere although the plan has one target), Conflict (the target has another
// mount), Unavailable (the server does not answer), Invalid (path), Pending and UnknownOutcome (deadline).
func (n *NFS) Publish(ctx context.Context, plan volume.NFSPlan, stagingPath, targetPath string, readOnly bool) error {
	readOnly = readOnly || plan.ReadOnly
	return n.work(ctx, "publish", plan.Handle, func(t *task) error {
		staging, err := n.locate(ctx, t, stagingPath)
		if err != nil {
			return err
		}
		if !staging.mounted || !staging.entry.shows(plan.Directory) {
			return fault.New(fault.InUse, "check mount", staging.point, "%s of %s is not mounted there; stage the volume first", plan.Directory, plan.FileSystem)
		}
		if err := n.stageAt(ctx, t, plan, staging); err != nil {
			return err
		}
		target, err := n.locate(ctx, t, targetPath)
		if err != nil {
			return err
		}
		if target.mounted {
			published, err := n.published(ctx, t, plan, target, readOnly)
			if err != nil || published {
				return err
			}
		}
		if plan.OneTarget {
			if err := n.onlyTarget(plan, staging.point, target.point); err != nil {
				return err
			}
		}
		if err := t.run(ctx, "make target", target.point, func() error { return makeTarget(target.point, false) }); err != nil {
			return err
		}
		life, cancel := soon(ctx, lookLimit)
		defer cancel()
		_, err = n.children.run(ctx, life, t, order{Do: "bind", Path: staging.point, Target: target.point, ReadOnly: readOnly})
		return err
	})
}

// published reports whether the target shows the volume already, in the right way. A stale mount of it is taken away.
func (n *NFS) published(ctx context.Context, t *task, plan volume.NFSPlan, at spot, readOnly bool) (bool, error) {
	switch e := at.entry; {
	case !e.shows(plan.Directory):
		return false, fault.New(fault.Conflict, "check mount", at.point, "%s (%s) is mounted there, and not %s of %s; unmount it first if it is not needed",
			e.source, e.fsType, plan.Directory, plan.FileSystem)
	case e.readOnly() != readOnly:
		return false, fault.New(fault.Conflict, "check mount", at.point, "the volume is published there, but read-only is %t and not %t; unpublish it first", e.readOnly(), readOnly)
	}
	err := n.look(ctx, t, at.point)
	if corrupted(err) {
		return false, n.detach(ctx, t, at.point)
	}
	return err == nil, err
}

// onlyTarget proves that the volume is seen at no other path than where it is staged: CSI specification,
// NodePublishVolume, access mode SINGLE_NODE_SINGLE_WRITER.
func (n *NFS) onlyTarget(plan volume.NFSPlan, staging, target string) error {
	mounts, err := readTable()
	if err != nil {
		return err
	}
	at, _ := mounts.at(staging)
	for _, e := range mounts {
		if e.number == at.number && e.shows(plan.Directory) && !mounts.among(e, []string{staging, target}) {
			return fault.New(fault.InUse, "publish", target, "the volume is published at %s already, and its access mode allows one path; unpublish it there first", e.point)
		}
	}
	return nil
}

// Stats measures the volume at path, a staging or a target path; EFS answers what the whole file system holds. Kinds:
// NotFound (nothing is mounted there, or something else), Unavailable (the server does not answer).
func (n *NFS) Stats(ctx context.Context, handle, path string) (Stats, error) {
	var s Stats
	err := n.work(ctx, "measure", handle, func(t *task) error {
		h, err := volume.ParseHandle(handle)
		if err != nil {
			return fault.New(fault.NotFound, "measure", handle, "%v", err)
		}
		at, err := n.locate(ctx, t, path)
		if err != nil || !at.mounted || !at.entry.shows(h.Path) {
			return fault.New(fault.NotFound, "check mount", path, "volume %s is not mounted there", handle)
		}
		life, cancel := soon(ctx, lookLimit)
		defer cancel()
		a, err := n.children.run(ctx, life, t, order{Do: "measure", Path: at.point})
		if corrupted(err) {
			err = &fault.Error{Op: "measure", Subject: at.point, Kind: fault.Unavailable, Message: "the mount no longer answers", Err: err}
		}
		s = a.Stats
		return err
	})
	if err != nil {
		return Stats{}, err
	}
	return s, nil
}
