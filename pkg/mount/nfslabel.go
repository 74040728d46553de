package mount

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// label names the volume of an NFS mount, and what the mount is for. It is the source of an empty, read-only tmpfs that lies
// below the mount. The mount's own source cannot name the volume: the kernel shows the directory's present name there, and the
// address of the first mount that shares the connection. A label is in the mount table, so it survives a restart of this
// process and ends with the mount.
type label string

const (
	stagedPrefix    = "diskbridge-staged:"
	publishedPrefix = "diskbridge-published:"
)

func stagedLabel(handle string) label    { return label(stagedPrefix + handle) }
func publishedLabel(handle string) label { return label(publishedPrefix + handle) }

// label returns what a mount says if it is a label, else "".
func (e entry) label() label {
	if e.fsType != "tmpfs" || !strings.HasPrefix(e.source, stagedPrefix) && !strings.HasPrefix(e.source, publishedPrefix) {
		return ""
	}
	return label(e.source)
}

// handle returns the volume that a label names.
func (l label) handle() string {
	_, handle, _ := strings.Cut(string(l), ":")
	return handle
}

// labelOf returns the label on which a mount lies, "" if it lies on something else.
func (t table) labelOf(e entry) label {
	below, ok := t.byID(e.parent)
	if !ok || below.point != e.point {
		return ""
	}
	return below.label()
}

func (e entry) isNFS() bool { return strings.HasPrefix(e.fsType, "nfs") }

// labelled returns the NFS mounts that lie on a label.
func (t table) labelled(l label) []entry {
	var out []entry
	for _, e := range t {
		if e.isNFS() && t.labelOf(e) == l {
			out = append(out, e)
		}
	}
	return out
}

// spot is a path with what is mounted there.
type spot struct {
	point   string
	mounted bool // something that is no label
	entry   entry
	label   label // on which entry lies; without a mount, the label that was left there
	mounts  table
}

// shows reports whether a mount of the label's volume is seen there: one that lies on the label or, as releases without labels
// mounted it, on no label; that one must show the volume's directory and come from the address, which is "" if not known.
func (p spot) shows(l label, address string) bool {
	if !p.mounted || !p.entry.isNFS() {
		return false
	}
	if p.label != "" {
		return p.label == l
	}
	h, err := volume.ParseHandle(l.handle())
	return err == nil && p.entry.shows(h.Path) && (address == "" || p.entry.from(address))
}

// unlabelled returns the other mounts of the directory that is seen there which lie on no label, such as those of releases
// without labels.
func (p spot) unlabelled() []entry {
	others := slices.DeleteFunc(slices.Clone(p.mounts), func(e entry) bool {
		return e.number != p.entry.number || e.root != p.entry.root || p.mounts.labelOf(e) != ""
	})
	return p.mounts.apart(others, p.point)
}

// spotAt says what is mounted at a point.
func spotAt(point string) (spot, error) {
	mounts, err := readTable()
	return mounts.spot(point), err
}

func (t table) spot(point string) spot {
	p := spot{point: point, mounts: t}
	e, ok := t.at(point)
	switch l := e.label(); {
	case !ok:
	case l != "":
		p.label = l
	default:
		p.mounted, p.entry, p.label = true, e, t.labelOf(e)
	}
	return p
}

// putLabel makes the next mount at the point lie on a label. One of another volume without a mount on it was left by a
// process that was killed, and is replaced.
func (n *NFS) putLabel(ctx context.Context, t *task, at spot, l label) error {
	if at.label == l {
		return nil
	}
	return t.run(ctx, "label", at.point, func() error {
		if err := takeLabel(at.point); err != nil {
			return err
		}
		return Shield(at.point, string(l))
	})
}

// takeLabel removes a label on which nothing is mounted.
func takeLabel(point string) error {
	at, err := spotAt(point)
	if err != nil || at.mounted || at.label == "" {
		return err
	}
	return Unmount(point, false)
}

// dropLabel removes the label after a failure, unless a child may still mount on it.
func (n *NFS) dropLabel(ctx context.Context, t *task, point string, failure error) error {
	if fault.Is(failure, fault.UnknownOutcome) || fault.Is(failure, fault.Pending) {
		return nil
	}
	return t.run(ctx, "remove label", point, func() error { return takeLabel(point) })
}

// inUse is an error that names where the volume is still published. Only mounts of the staged superblock count: another node
// on this machine, in a network of its own, has another one. What goes through a tunnel and carries no label, such as a part
// of the volume that the kubelet mounted in a container, counts too: it would hang without the tunnel. Where the staged mount
// was taken away by hand and its label is left, every target counts.
func inUse(at spot, handle string) error {
	if !at.mounted && at.label == "" {
		return nil
	}
	users := slices.DeleteFunc(at.mounts.labelled(publishedLabel(handle)), func(e entry) bool { return at.mounted && e.number != at.entry.number })
	if at.mounted && at.entry.value("addr") == loopback {
		for _, e := range at.mounts {
			if e.number == at.entry.number && !at.mounts.among(e, []string{at.point}) && at.mounts.labelOf(e) == "" && within(e.root, at.entry.root) {
				users = append(users, e)
			}
		}
	}
	if len(users) == 0 {
		return nil
	}
	return &fault.Error{Op: "unstage", Subject: at.point, Kind: fault.InUse, Err: unix.EBUSY,
		Message: "the volume is still mounted at " + points(users) + "; unpublish it there first"}
}

// maxNamed is how many mounts an error names.
const maxNamed = 5

// points lists where mounts are.
func points(mounts []entry) string {
	var out []string
	for _, e := range mounts {
		if len(out) == maxNamed {
			out = append(out, "…")
			break
		}
		out = append(out, e.point)
	}
	return strings.Join(out, ", ")
}
