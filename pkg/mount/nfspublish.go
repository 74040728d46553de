package mount

import (
	"context"
	"errors"

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
		if !staging.shows(stagedLabel(plan.Handle), addressOf(plan)) {
			return fault.New(fault.InUse, "check mount", staging.point, "%s is not mounted there; stage the volume first", plan.Handle)
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
			if err := onlyPublishedAt(plan, staging, target); err != nil {
				return err
			}
		}
		return n.bindTarget(ctx, t, plan, staging.point, target, readOnly)
	})
}

// bindTarget makes what is staged visible at a target, on a label of its own.
func (n *NFS) bindTarget(ctx context.Context, t *task, plan volume.NFSPlan, staging string, target spot, readOnly bool) error {
	err := t.run(ctx, "make target", target.point, func() error { return makeTarget(target.point, false) })
	if err != nil {
		return err
	}
	if err := n.putLabel(ctx, t, target, publishedLabel(plan.Handle)); err != nil {
		return err
	}
	life, cancel := soon(ctx, lookLimit)
	defer cancel()
	_, err = n.children.run(ctx, life, t, order{Do: "bind", Path: staging, Target: target.point, ReadOnly: readOnly})
	if err != nil {
		err = errors.Join(err, n.dropLabel(ctx, t, target.point, err))
	}
	return err
}

// published reports whether the target shows the volume already, in the right way. A stale mount of it is taken away.
func (n *NFS) published(ctx context.Context, t *task, plan volume.NFSPlan, at spot, readOnly bool) (bool, error) {
	switch e := at.entry; {
	case !at.shows(publishedLabel(plan.Handle), addressOf(plan)):
		return false, fault.New(fault.Conflict, "check mount", at.point, "%s (%s) is mounted there, and this driver did not mount it for %s; unmount it first if it is not needed",
			e.source, e.fsType, plan.Handle)
	case e.readOnly() != readOnly:
		return false, fault.New(fault.Conflict, "check mount", at.point, "the volume is published there, but read-only is %t and not %t; unpublish it first", e.readOnly(), readOnly)
	}
	err := n.look(ctx, t, at.point)
	if corrupted(err) {
		return false, n.detach(ctx, t, at.point)
	}
	return err == nil, err
}

// onlyPublishedAt proves that the volume is published at no other path: CSI specification, NodePublishVolume, access mode
// SINGLE_NODE_SINGLE_WRITER. Mounts without a label count, since those of an earlier release have none.
func onlyPublishedAt(plan volume.NFSPlan, staging, target spot) error {
	others := target.mounts.apart(append(target.mounts.labelled(publishedLabel(plan.Handle)), staging.unlabelled()...), target.point)
	if len(others) == 0 {
		return nil
	}
	return fault.New(fault.InUse, "publish", target.point, "the volume is published at %s already, and its access mode allows one path; unpublish it there first", points(others))
}
