package efs

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// accessPoint makes an access point in one of the given file systems. The name decides
// which one is tried first; the next one is tried where one is full.
func (b *Backend) accessPoint(ctx context.Context, o *order) (volume.Volume, error) {
	pool, err := o.systems()
	if err != nil {
		return volume.Volume{}, fault.New(fault.Invalid, opCreate, o.name, "%v", err)
	}
	spec := efs.AccessPoint{Token: o.spec.Token, UID: int64(o.owner.UID), GID: int64(o.owner.GID), Perms: fmt.Sprintf("%04o", o.owner.Perms), Tags: o.tags}
	a, err := b.existingPoint(ctx, pool, o)
	if err != nil {
		return volume.Volume{}, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(o.name)) // a hash never fails
	for i := 0; a.ID == "" && i < len(pool); i++ {
		spec.FileSystem = pool[(int(h.Sum32()%uint32(len(pool)))+i)%len(pool)] //nolint:gosec // a handful
		a, err = b.makePoint(ctx, o, spec)
		if err != nil && (!fault.Is(err, fault.Limit) || i == len(pool)-1) {
			return volume.Volume{}, err
		}
	}
	handle := volume.Handle{Kind: volume.EFS, Root: a.FileSystem, AccessPoint: a.ID}
	if a, err = b.availablePoint(ctx, handle); err != nil {
		return volume.Volume{}, err
	}
	if why := unfitPoint(a, o, b.opts.Owner.Cluster); why != "" {
		return volume.Volume{}, fault.New(fault.Conflict, opCreate, o.name, "%s exists under this name, but %s", a.ID, why)
	}
	f, err := b.system(ctx, opCreate, a.FileSystem)
	if err != nil {
		return volume.Volume{}, given(err, o)
	}
	out := describe(f)
	out.Handle = handle.String()
	out.Bytes, out.Context = bytesOf(a.Tags), o.context()
	return out, nil
}

// existingPoint finds the access point of this name in a pool, where an earlier
// request may have put it anywhere. A pool of one needs no look: EFS's token tells.
func (b *Backend) existingPoint(ctx context.Context, pool []string, o *order) (found efs.AccessPoint, err error) {
	if len(pool) == 1 {
		return found, nil
	}
	for _, id := range pool {
		list, err := b.api.AccessPoints(ctx, id)
		if err != nil {
			return found, fault.Wrap(opCreate, o.name, err)
		}
		for _, a := range list {
			if a.Token == o.spec.Token {
				return a, nil
			}
		}
	}
	return found, nil
}

// makePoint asks for an access point; one with the token is answered as it is.
func (b *Backend) makePoint(ctx context.Context, o *order, spec efs.AccessPoint) (efs.AccessPoint, error) {
	f, err := b.available(ctx, opCreate, spec.FileSystem)
	if err != nil {
		return efs.AccessPoint{}, given(err, o)
	}
	if spec.Path, err = o.path(f.ID, maxPointPath+len(f.ID)+1, b.opts.Owner.Cluster); err != nil {
		return efs.AccessPoint{}, fault.New(fault.Invalid, opCreate, o.name, "%v", err)
	}
	a, err := b.api.CreateAccessPoint(ctx, spec)
	if err != nil && (!fault.Is(err, fault.Conflict) || a.ID == "") {
		return efs.AccessPoint{}, fault.Wrap(opCreate, o.name, err)
	}
	return a, nil
}

// maxPointPath is the longest root directory in bytes.
// https://docs.aws.amazon.com/efs/latest/ug/API_RootDirectory.html
const maxPointPath = 100

// availablePoint waits until an access point can be used.
func (b *Backend) availablePoint(ctx context.Context, h volume.Handle) (a efs.AccessPoint, err error) {
	err = b.waits.system.Poll(ctx, func(ctx context.Context) (bool, error) {
		now, err := b.point(ctx, opCreate, h)
		switch {
		case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Pending) && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, err
		}
		a = now
		if a.State == efs.StateDeleting || a.State == efs.StateDeleted {
			return false, fault.New(fault.Pending, opCreate, h.AccessPoint, "an access point of this name is being deleted; ask again when it is gone")
		}
		return a.State == efs.StateAvailable, nil
	})
	if err != nil && ctx.Err() != nil {
		return a, fault.New(fault.Pending, opCreate, h.AccessPoint, "EFS still says %q; ask again", a.State)
	}
	return a, err
}

// unfitPoint says why an existing access point is not what was asked for, or "".
func unfitPoint(a efs.AccessPoint, o *order, cluster string) string {
	path, err := o.path(a.FileSystem, maxPointPath+len(a.FileSystem)+1, cluster)
	switch {
	case err != nil:
		return err.Error()
	case !o.size.Fits(bytesOf(a.Tags)):
		return fmt.Sprintf("its %d bytes do not satisfy required_bytes %d and limit_bytes %d", bytesOf(a.Tags), o.size.RequiredBytes, o.size.LimitBytes)
	case a.Path != path:
		return fmt.Sprintf("its directory is %s, not %s", a.Path, path)
	case a.UID != int64(o.owner.UID) || a.GID != int64(o.owner.GID):
		return fmt.Sprintf("its user is %d:%d, not %d:%d", a.UID, a.GID, o.owner.UID, o.owner.GID)
	}
	return ""
}
