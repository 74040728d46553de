package efs

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// directory answers with a directory of the given file system, which a node makes when
// it first stages the volume. All of it follows from the request; nothing is written.
func (b *Backend) directory(ctx context.Context, o *order) (volume.Volume, error) {
	list, err := o.systems()
	if err == nil && len(list) > 1 {
		err = fmt.Errorf("parameter %s names several file systems; %s %s takes one", keyFileSystem, keyMode, o.mode)
	}
	if err != nil {
		return volume.Volume{}, fault.New(fault.Invalid, opCreate, o.name, "%v", err)
	}
	d := volume.Directory{Cluster: b.opts.Owner.Cluster, Name: o.name, OnDelete: o.onDelete, Owner: o.owner}
	if d.Path, err = o.path(list[0], volume.MaxHandle-len("#archive.0123456789abcdef"), b.opts.Owner.Cluster); err != nil {
		return volume.Volume{}, fault.New(fault.Invalid, opCreate, o.name, "%v", err)
	}
	if _, wish := (volume.Removal{Cluster: d.Cluster, Path: d.Path, OnDelete: d.OnDelete}).Tag(); d.OnDelete != volume.Retain && !tagText.MatchString(wish) {
		return volume.Volume{}, fault.New(fault.Invalid, opCreate, o.name, "parameters %s and %s make %q, whose removal could not be asked for: a tag of EFS has letters, digits, blanks and _.:/=+-@ only; "+
			"choose another directory, or %s retain", keyBasePath, keySubPath, d.Path, keyOnDelete)
	}
	f, err := b.available(ctx, opCreate, list[0])
	if err != nil {
		return volume.Volume{}, given(err, o)
	}
	for _, r := range volume.Removals(f.ID, f.Tags) {
		if r.Path == d.Path {
			return volume.Volume{}, fault.New(fault.Pending, opCreate, o.name, "directory %s of %s is still to be removed by diskbridge-csi janitor; ask again when it is gone", d.Path, f.ID)
		}
	}
	out := describe(f)
	out.Handle, out.Bytes, out.Context = d.Handle(f.ID).String(), o.bytes, o.context()
	maps.Copy(out.Context, d.Context())
	return out, nil
}

// tagText is what the values of tags are made of. https://docs.aws.amazon.com/efs/latest/ug/API_Tag.html
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// given makes a missing file system the request's fault.
func given(err error, o *order) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Invalid, opCreate, o.name, "parameter %s: file system %s does not exist in this region", keyFileSystem, o.values[keyFileSystem])
	}
	return err
}

// systems reads the list of given file systems.
func (o *order) systems() ([]string, error) {
	list := strings.FieldsFunc(o.values[keyFileSystem], func(r rune) bool { return r == ',' || r == ' ' })
	for _, id := range list {
		if h, err := volume.ParseHandle(id); err != nil || h.Kind != volume.EFS || h.String() != id || h.Path+h.AccessPoint != "" {
			return nil, fmt.Errorf("parameter %s: %q is not a file system id (fs-…)", keyFileSystem, id)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("parameter %s names no file system", keyFileSystem)
	}
	return list, nil
}

// path is where a volume's directory lies: below basePath, under the name that
// subPathPattern makes or the volume's own. A handle of more than most bytes gets its
// last part hashed.
func (o *order) path(fileSystem string, most int, cluster string) (string, error) {
	name := o.name
	base, err := o.values.ExpandPath(keyBasePath)
	if err != nil {
		return "", err
	}
	if o.values[keySubPath] != "" {
		if name, err = o.values.ExpandPath(keySubPath); err != nil {
			return "", err
		}
		if o.values.Bool(keyUnique) {
			name += "-" + volume.Token("directory", cluster, o.name)[:8]
		}
	}
	parts := slices.DeleteFunc(strings.Split(base+"/"+name, "/"), func(p string) bool { return p == "" })
	path := "/" + strings.Join(parts, "/")
	if room := most - len(fileSystem) - 1; len(path) > room {
		head := path[:strings.LastIndex(path, "/")+1]
		if room-len(head) < 16 {
			return "", fmt.Errorf("parameters %s and %s make a path of %d bytes, and a handle has room for %d; shorten them", keyBasePath, keySubPath, len(path), room)
		}
		path = head + volume.Token("path", path)[:16]
	}
	if h, err := volume.ParseHandle(fileSystem + ":" + path); err != nil || h.Path != path {
		return "", fmt.Errorf("parameters %s and %s make %q, which is no path below the root of the file system without . and .. parts", keyBasePath, keySubPath, path)
	}
	if volume.InReserved(path) {
		return "", fmt.Errorf("parameters %s and %s lead into %s, where diskbridge keeps its markers; choose another directory", keyBasePath, keySubPath, volume.Reserved)
	}
	return path, nil
}
