package efs

import (
	"context"
	"slices"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opDelete = "delete volume"

// Delete removes a file system or an access point that is ours, or asks the janitor to
// remove a directory. The root of a file system that others use too is never removed.
func (b *Backend) Delete(ctx context.Context, handle string) (kept string, err error) {
	h, err := parse(opDelete, handle)
	if fault.Is(err, fault.NotFound) {
		return "", nil // nothing of ours can have such a handle
	}
	if err != nil {
		return "", err
	}
	f, err := b.system(ctx, opDelete, h.Root)
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	switch {
	case err != nil:
		return "", err
	case h.AccessPoint != "":
		return b.deletePoint(ctx, h)
	case h.Path != "":
		return b.deleteDirectory(ctx, f, h)
	}
	return b.deleteSystem(ctx, f)
}

// judged reads a file system again while its tags forbid to delete it, until EFS must show what was written to it last.
// A refusal that stands when ctx ends is the answer: it says what to do, which the end of a context does not.
func (b *Backend) judged(ctx context.Context, f efs.FileSystem) (efs.FileSystem, backend.Verdict, error) {
	judge := func() backend.Verdict { return b.opts.Owner.Judge(backend.TagVolumeName, f.Tags, b.standsIn()) }
	start, verdict := time.Now(), judge()
	err := batch.Poll(ctx, func(ctx context.Context) (bool, error) {
		if verdict.Refuse == "" || time.Since(start) >= b.api.AbsenceInterval() {
			return true, nil
		}
		now, found, err := b.api.FileSystem(ctx, f.ID)
		if found {
			f = now
			verdict = judge()
		}
		if fault.Is(err, fault.Unavailable) {
			err = nil
		}
		return verdict.Refuse == "", err
	})
	if ctx.Err() != nil {
		err = nil
	}
	return f, verdict, fault.Wrap(opDelete, f.ID, err)
}

func (b *Backend) deleteSystem(ctx context.Context, f efs.FileSystem) (kept string, err error) {
	if f.State == efs.StateDeleting || f.State == efs.StateDeleted {
		return "", b.awaitGone(ctx, f.ID)
	}
	f, verdict, err := b.judged(ctx, f)
	if err != nil {
		return "", err
	}
	fate := volume.OnDelete(f.Tags[TagOnDelete])
	switch {
	case verdict.Keep != "":
		return verdict.Keep, b.disown(ctx, f.ID, f.Tags)
	case verdict.Refuse != "":
		return "", fault.New(fault.InUse, opDelete, f.ID, "%s; to let this driver delete it: %s", verdict.Refuse, b.claim(f.ID))
	case fate == volume.Retain:
		return "its class says " + keyOnDelete + ": retain", nil
	}
	points, err := b.livePoints(ctx, f.ID)
	switch {
	case err != nil:
		return "", fault.Wrap(opDelete, f.ID, err)
	case len(points) > 0 && fate != volume.Archive:
		return "", fault.New(fault.InUse, opDelete, f.ID, "it has access points (%s and %d more), so that others use it; delete them first", points[0].ID, len(points)-1)
	}
	if err := b.deleteTargets(ctx, f.ID, fate == volume.Archive); err != nil {
		return "", err
	}
	if fate == volume.Archive {
		err := b.api.Tag(ctx, f.ID, map[string]string{TagArchived: "true"})
		return "its class says " + keyOnDelete + ": archive; it has no mount targets any more", fault.Wrap(opDelete, f.ID, err)
	}
	err = b.api.DeleteFileSystem(ctx, f.ID)
	switch {
	case fault.Is(err, fault.NotFound):
		return "", nil // it was seen above and is no more
	case fault.Is(err, fault.InUse):
		return "", fault.New(fault.Pending, opDelete, f.ID, "EFS still counts mount targets or a replication of it: %v; ask again, or end the replication", err)
	case err != nil:
		return "", fault.Wrap(opDelete, f.ID, err)
	}
	return "", b.awaitGone(ctx, f.ID)
}

// livePoints are a file system's access points. EFS shows one for a moment after it was
// deleted, so that any is looked at for that long.
func (b *Backend) livePoints(ctx context.Context, id string) (points []efs.AccessPoint, err error) {
	start := time.Now()
	err = batch.Poll(ctx, func(ctx context.Context) (done bool, err error) {
		points, err = b.api.AccessPoints(ctx, id)
		points = slices.DeleteFunc(points, func(a efs.AccessPoint) bool { return a.State == efs.StateDeleting || a.State == efs.StateDeleted })
		return len(points) == 0 || time.Since(start) >= b.api.AbsenceInterval(), err
	})
	return points, err
}

// disown forgets our own adoption. That it was adopted once stays on it, so that a
// repeated deletion is answered as the first one.
func (b *Backend) disown(ctx context.Context, id string, tags map[string]string) error {
	if tags[backend.TagAdopted] != "external" || tags[backend.TagCluster] != b.opts.Owner.Cluster {
		return nil
	}
	return fault.Wrap(opDelete, id, b.api.Untag(ctx, id, []string{backend.TagCluster, backend.TagVolumeName, TagBytes}))
}

// deleteTargets deletes every mount target and waits until they are gone: EFS refuses
// to delete a file system before. Where it is not asked to, sure looks again until EFS must
// show a fresh one.
func (b *Backend) deleteTargets(ctx context.Context, id string, sure bool) error {
	asked, start := map[string]bool{}, time.Now()
	err := b.waits.ended.Poll(ctx, func(ctx context.Context) (bool, error) {
		list, err := b.api.MountTargets(ctx, id)
		if fault.Is(err, fault.Unavailable) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		list = slices.DeleteFunc(slices.Clone(list), func(m efs.MountTarget) bool { return m.State == efs.StateDeleted })
		for _, m := range list {
			if asked[m.ID] || m.State == efs.StateDeleting {
				continue
			}
			if err := b.api.DeleteMountTarget(ctx, m.ID); err != nil && !fault.Is(err, fault.NotFound) {
				return false, err
			}
			asked[m.ID] = true
		}
		return len(list) == 0 && (!sure || time.Since(start) >= b.api.AbsenceInterval()), nil
	})
	if err != nil && ctx.Err() != nil {
		return fault.New(fault.Pending, opDelete, id, "its mount targets are still being deleted; ask again")
	}
	return fault.Wrap(opDelete, id, err)
}

// awaitGone waits until a file system is proven gone.
func (b *Backend) awaitGone(ctx context.Context, id string) error {
	err := b.waits.ended.Poll(ctx, func(ctx context.Context) (bool, error) {
		f, found, err := b.api.FileSystem(ctx, id)
		switch {
		case fault.Is(err, fault.Unavailable):
			return false, nil
		case err != nil:
			return false, err
		case found && f.State == efs.StateError:
			return false, fault.New(fault.InUse, opDelete, id, "EFS says that the file system is in state %q; look at it in the console", f.State)
		case found:
			return f.State == efs.StateDeleted, nil
		}
		return b.api.FileSystemAbsent(ctx, id)
	})
	if err != nil && ctx.Err() != nil {
		return fault.New(fault.Pending, opDelete, id, "the file system is still being deleted; ask again")
	}
	return fault.Wrap(opDelete, id, err)
}

// deletePoint deletes an access point; its directory stays.
func (b *Backend) deletePoint(ctx context.Context, h volume.Handle) (kept string, err error) {
	a, err := b.point(ctx, opDelete, h)
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	switch verdict := b.opts.Owner.Judge(backend.TagVolumeName, a.Tags, b.standsIn()); {
	case a.State == efs.StateDeleting || a.State == efs.StateDeleted:
		return "", nil
	case verdict.Keep != "":
		return verdict.Keep, b.disown(ctx, a.ID, a.Tags)
	case verdict.Refuse != "":
		return "", fault.New(fault.InUse, opDelete, a.ID, "%s; to let this driver delete it: %s", verdict.Refuse, b.claim(a.ID))
	}
	if err := b.api.DeleteAccessPoint(ctx, a.ID); err != nil && !fault.Is(err, fault.NotFound) {
		return "", fault.Wrap(opDelete, a.ID, err)
	}
	return "", nil
}

// maxTags of a file system. https://docs.aws.amazon.com/efs/latest/ug/manage-fs-tags.html
const maxTags = 50

// deleteDirectory leaves the work to the janitor, who alone may mount. The wish is a
// tag on the file system, which the janitor removes when the directory is gone.
func (b *Backend) deleteDirectory(ctx context.Context, f efs.FileSystem, h volume.Handle) (kept string, err error) {
	switch {
	case h.Digest == "":
		return "", fault.New(fault.InUse, opDelete, h.String(),
			"this handle names a directory that diskbridge did not make; set the volume's reclaim policy to Retain, and remove the directory yourself if it is meant")
	case h.OnDelete == volume.Retain:
		return "its class says " + keyOnDelete + ": retain", nil
	}
	asked := volume.Removals(f.ID, f.Tags)
	if slices.ContainsFunc(asked, func(r volume.Removal) bool { return r.Digest == h.Digest }) {
		return "", nil
	}
	key, value := volume.Removal{FileSystem: f.ID, Cluster: b.opts.Owner.Cluster, Path: h.Path, OnDelete: h.OnDelete, Digest: h.Digest}.Tag()
	err = b.api.Tag(ctx, f.ID, map[string]string{key: value})
	if fault.Is(err, fault.Invalid) && len(f.Tags) >= maxTags {
		return "", fault.New(fault.Unavailable, opDelete, h.String(),
			"%d directories of %s wait to be removed already, and the file system takes no more tags; start diskbridge-csi janitor", len(asked), f.ID)
	}
	if err != nil {
		return "", fault.Wrap(opDelete, h.String(), err)
	}
	return "", nil
}
