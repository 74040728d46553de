package objectmount

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// publish binds the mount to a target.
func (u *unit) publish(path string, readOnly, only bool) error {
	point, err := mount.Place(path)
	if err != nil {
		return err
	}
	layers, err := mount.Layers(point)
	if err != nil {
		return err
	}
	t := target{point, readOnly}
	if n := len(layers); n > 0 {
		switch top := layers[n-1]; {
		case u.m.ours(top, u.handle) && top.Device == u.Device && top.ReadOnly != readOnly:
			return fault.New(fault.Conflict, "check mount", point, "the volume is published there, but read-only is %t and not %t; unpublish it first", top.ReadOnly, readOnly)
		case u.m.ours(top, u.handle) && top.Device == u.Device:
			return u.published(t)
		case !u.m.ours(top, u.handle) && !isShield(top):
			return fault.New(fault.Conflict, "check mount", point, "%s (%s) is mounted there, and not %s; unmount it first if it is not needed", top.Source, top.FSType, u.handle)
		}
	}
	if others := u.others(point); only && len(others) > 0 {
		return fault.New(fault.InUse, "publish", point, "the volume is published at %s already, and its access mode allows one path; unpublish it there first", others[0])
	}
	if len(layers) == 0 { // a lost mount does not let anybody look at what is below it
		if err := mount.MakeTarget(point); err != nil {
			return err
		}
	}
	if err := u.bind(t); err != nil {
		return err
	}
	return u.published(t)
}

// maxLayers bounds the lost mounts that lie below the one that is seen.
const maxLayers = 20

// bind makes a target show the mount, above an empty tmpfs. It must be there. Lost mounts stay below: a container that takes
// mounts from the host has those, and sees only what comes above them.
func (u *unit) bind(t target) error {
	layers, err := mount.Layers(t.Path)
	if err != nil {
		return err
	}
	if n := len(layers); n == 0 || n > maxLayers || !u.m.ours(layers[n-1], u.handle) {
		if _, err := u.shield(t.Path); err != nil {
			return err
		}
	}
	return mount.Bind(u.Staging, t.Path, t.ReadOnly)
}

// published notes a target, so that it is bound again with the mount.
func (u *unit) published(t target) error {
	if slices.Contains(u.Targets, t) {
		return nil
	}
	u.forget(t.Path)
	u.Targets = append(u.Targets, t)
	return u.note(u.dir())
}

// forget drops a target and returns how many are left.
func (u *unit) forget(path string) int {
	u.Targets = slices.DeleteFunc(u.Targets, func(t target) bool { return t.Path == path })
	return len(u.Targets)
}

// others are the targets beside one that still show a mount.
func (u *unit) others(path string) []string {
	var out []string
	for _, t := range u.Targets {
		if layers, err := mount.Layers(t.Path); t.Path != path && (err != nil || len(layers) > 0) {
			out = append(out, t.Path)
		}
	}
	return out
}

// unpublish takes a target away. The volume's units are held meanwhile, so that nobody binds it again.
func (m *Mounts) unpublish(ctx context.Context, h volume.Handle, path string) error {
	point, err := mount.Place(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	units, err := m.holdAll(ctx, h.String())
	defer func() {
		for _, u := range units {
			u.release()
		}
	}()
	if err != nil {
		return err
	}
	for _, u := range units {
		if u.Staging == point {
			return fault.New(fault.Invalid, "unpublish", point, "the volume is staged there")
		}
	}
	if err := m.clear(h.String(), point); err != nil {
		return err
	}
	if err := mount.RemoveTarget(point); err != nil {
		return err
	}
	for _, u := range units {
		if n := len(u.Targets); u.forget(point) != n {
			err = errors.Join(err, u.note(u.dir()))
		}
	}
	return err
}
