package efs

import (
	"context"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Examine answers what EFS says is wrong with a file system, its mount targets or the access point.
func (b *Backend) Examine(ctx context.Context, handle string) ([]volume.Ailment, error) {
	const op = "examine"
	h, err := parse(op, handle)
	if err != nil {
		return nil, err
	}
	f, err := b.system(ctx, op, h.Root)
	if err != nil {
		return nil, err
	}
	var out []volume.Ailment
	if f.State == efs.StateError {
		out = append(out, volume.Ailment{Inaccessible: true, Reason: "FileSystemError", Message: fmt.Sprintf("EFS says that file system %s is in state %q", f.ID, f.State)})
	}
	targets, err := b.api.MountTargets(ctx, f.ID)
	if err != nil {
		return nil, fault.Wrap(op, f.ID, err)
	}
	for _, m := range targets {
		if m.State == efs.StateError { // nodes of other zones have theirs
			out = append(out, volume.Ailment{
				Inaccessible: f.Zone != "", Reason: "MountTargetError",
				Message: fmt.Sprintf("EFS says that mount target %s in zone %s is in state %q; delete it, and it is made anew", m.ID, m.Zone, m.State),
			})
			break // one for each reason
		}
	}
	if h.AccessPoint == "" {
		return out, nil
	}
	a, err := b.point(ctx, op, h)
	if err == nil && a.State == efs.StateError {
		out = append(out, volume.Ailment{Inaccessible: true, Reason: "AccessPointError", Message: fmt.Sprintf("EFS says that access point %s is in state %q", a.ID, a.State)})
	}
	return out, err
}
