package mount

import (
	"path"
	"slices"
	"strings"
)

// A mount on a directory that is shared shows again wherever that directory is mounted, too, such as kubelet's directory that
// is bound from a data disk: mount_namespaces(7), "Shared subtrees". The copies come and go with the mount. Bind mounts,
// such as a target of its staging path, can be in one peer group with it as well, but are mounts of their own.

// one reports whether two entries are one mount: the same directory of a file system, at the same place of directories
// that propagate to one another.
func (t table) one(a, b entry) bool {
	if a.id == b.id {
		return true
	}
	if a.number != b.number || a.root != b.root {
		return false
	}
	p, knowsA := t.byID(a.parent)
	q, knowsB := t.byID(b.parent)
	return knowsA && knowsB && p.number == q.number && p.inside(a) == q.inside(b) && p.propagates(q)
}

// inside returns where in the parent's file system a mount lies.
func (e entry) inside(child entry) string {
	return path.Join(e.root, strings.TrimPrefix(child.point, e.point))
}

// propagates reports whether what is mounted in one of two directories shows in the other, or in both if it was mounted in
// a third.
func (e entry) propagates(to entry) bool {
	switch {
	case e.peers != 0 && (e.peers == to.peers || e.peers == to.master):
		return true
	case e.master != 0:
		return e.master == to.peers || e.master == to.master
	}
	return false
}

// apart leaves out of some entries those that are at these points, or one mount with what is.
func (t table) apart(entries []entry, points ...string) []entry {
	return slices.DeleteFunc(entries, func(e entry) bool { return t.among(e, points) })
}

// among reports whether the entry is at one of the points, or one mount with what is.
func (t table) among(e entry, points []string) bool {
	return slices.ContainsFunc(t, func(own entry) bool { return slices.Contains(points, own.point) && t.one(e, own) })
}

// stack returns the mounts that lie on one another at a point, the one that is seen last.
func (t table) stack(point string) []entry {
	var out []entry
	for e, ok := t.at(point); ok && e.point == point && len(out) < len(t); e, ok = t.byID(e.parent) {
		out = append(out, e)
	}
	slices.Reverse(out)
	return out
}
