package volume

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// OnDelete says what becomes of a directory when its volume is deleted.
type OnDelete string

// The fates of a directory.
const (
	Delete  OnDelete = "delete"  // removed with all that is in it
	Retain  OnDelete = "retain"  // left as it is
	Archive OnDelete = "archive" // renamed to ArchivedPrefix and its last part, beside where it was
)

// ArchivedPrefix begins the name of an archived directory.
const ArchivedPrefix = "archived-"

// Reserved is the directory in the root of a file system that holds the markers of
// the directories that diskbridge made there. No volume lies in it.
const Reserved = "/.diskbridge"

// Owner is who may use a directory: numeric user and group, and permission bits as
// chmod(2) takes them.
type Owner struct {
	UID, GID uint32
	Perms    uint32
}

// Directory is a directory of an EFS file system that a node makes for one volume
// when it first stages it. Its marker, written before the directory is made, is the
// proof that it is ours: no marker, no delete.
type Directory struct {
	Cluster  string // the cluster id that may delete it
	Name     string // the volume's name
	Path     string // absolute, in the file system
	OnDelete OnDelete
	Owner    Owner
}

// Digest stands for all that a volume's directory was asked for: 16 hexadecimal
// digits, which are part of its handle.
func (d Directory) Digest() string {
	return Token("directory", d.Cluster, d.Name, d.Path, string(d.OnDelete),
		fmt.Sprint(d.Owner.UID), fmt.Sprint(d.Owner.GID), strconv.FormatUint(uint64(d.Owner.Perms), 8))[:16]
}

// Handle is the handle of the directory's volume.
func (d Directory) Handle(fileSystem string) Handle {
	return Handle{Kind: EFS, Root: fileSystem, Path: d.Path, OnDelete: d.OnDelete, Digest: d.Digest()}
}

// MarkerPath is where the marker of a directory lies in its file system: one for a
// path, whoever asks for it, so that two volumes can never share a directory.
func MarkerPath(directory string) string {
	return Reserved + "/" + Token("marker", directory)[:32]
}

// InReserved reports whether a clean absolute path lies in Reserved, or is it.
func InReserved(path string) bool { return path == Reserved || strings.HasPrefix(path, Reserved+"/") }

// ParsePerms reads permission bits written as three or four octal digits.
func ParsePerms(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || len(s) < 3 || len(s) > 4 || n > 0o7777 {
		return 0, fmt.Errorf("%.40q is not a directory mode of three or four octal digits, such as 0770", s)
	}
	return uint32(n), nil
}

// ParseID reads a numeric user or group id.
func ParseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > 1<<32-2 || strconv.FormatUint(n, 10) != s { // the largest number means "no change" to chown(2)
		return 0, fmt.Errorf("%.40q is not a numeric id from 0 to 4294967294", s)
	}
	return uint32(n), nil
}

// Context is what the controller tells the node about an owner.
func (o Owner) Context() map[string]string {
	return map[string]string{
		ContextUID: fmt.Sprint(o.UID), ContextGID: fmt.Sprint(o.GID), ContextPerms: fmt.Sprintf("%04o", o.Perms),
	}
}

// Context is what the controller tells the node about a directory; the rest is in its handle.
func (d Directory) Context() map[string]string {
	context := d.Owner.Context()
	context[ContextCluster], context[ContextName] = d.Cluster, d.Name
	return context
}

// ownerOf reads what context wrote; ok is false where nothing was written.
func ownerOf(context map[string]string) (o Owner, ok bool, err error) {
	if context[ContextPerms] == "" {
		return o, false, nil
	}
	if o.Perms, err = ParsePerms(context[ContextPerms]); err != nil {
		return o, false, fmt.Errorf("volume context %s: %w", ContextPerms, err)
	}
	if o.UID, err = ParseID(context[ContextUID]); err != nil {
		return o, false, fmt.Errorf("volume context %s: %w", ContextUID, err)
	}
	if o.GID, err = ParseID(context[ContextGID]); err != nil {
		return o, false, fmt.Errorf("volume context %s: %w", ContextGID, err)
	}
	return o, true, nil
}

// Removal is a directory whose volume was deleted: work for the janitor. The
// controller, which mounts nothing, writes it as a tag on the file system.
type Removal struct {
	FileSystem string
	Cluster    string // whose controller asks; the marker must agree
	Path       string
	OnDelete   OnDelete
	Digest     string // of the Directory that was made; the marker must agree
}

// removalKey begins the key of a removal's tag; the digest follows.
const removalKey = "diskbridge.io/remove-"

// Tag is the tag that asks for a removal.
func (r Removal) Tag() (key, value string) {
	return removalKey + r.Digest, string(r.OnDelete) + ":" + r.Cluster + ":" + r.Path
}

// Removals reads the removals that a file system's tags ask for, in a fixed order. A
// tag that is none of ours, or was changed beyond sense, is none.
func Removals(fileSystem string, tags map[string]string) []Removal {
	var out []Removal
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		digest, ours := strings.CutPrefix(key, removalKey)
		fate, rest, _ := strings.Cut(tags[key], ":")
		cluster, path, _ := strings.Cut(rest, ":")
		h, err := ParseHandle(fileSystem + ":" + path + "#" + fate + "." + digest)
		if ours && err == nil && h.Path == path && h.Digest == digest && !InReserved(path) {
			out = append(out, Removal{FileSystem: fileSystem, Cluster: cluster, Path: path, OnDelete: h.OnDelete, Digest: digest})
		}
	}
	return out
}
