package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// marker is the object that says whose a prefix is. It is written before anything else
// and lies outside of the prefix: no marker, no delete.
type marker struct {
	Cluster  string `json:"cluster"`
	Name     string `json:"name"`
	Prefix   string `json:"prefix"`
	Request  string `json:"request"`
	OnDelete string `json:"onDelete"`
	Bytes    int64  `json:"bytes"`
	Adopted  bool   `json:"adopted,omitempty"` // used by us, never deleted by us
}

// readMarker reads the marker of a prefix. One that cannot be read is an error, since
// nobody can tell whose the prefix is.
func readMarker(ctx context.Context, api API, bucket, prefix string) (m marker, found bool, err error) {
	key := volume.ObjectMarker(prefix)
	data, found, err := api.Object(ctx, bucket, key)
	if err != nil || !found {
		return m, false, err
	}
	m, err = parseMarker(data)
	if err == nil && m.Prefix != prefix {
		err = errors.New("it is of another prefix")
	}
	if err != nil {
		return m, false, fault.New(fault.InUse, "read marker", bucket+"/"+key, "the object is no marker of diskbridge's: %v", err)
	}
	return m, true, nil
}

// anyMarker reads a marker by its key; one that cannot be understood is none.
func anyMarker(ctx context.Context, api API, bucket, key string) (m marker, found bool, err error) {
	data, found, err := api.Object(ctx, bucket, key)
	if err != nil || !found {
		return m, false, err
	}
	m, err = parseMarker(data)
	return m, err == nil, nil
}

func parseMarker(data []byte) (m marker, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return m, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || m.Cluster == "" || m.Name == "" {
		return m, errors.New("it lacks cluster or name")
	}
	return m, nil
}

// createPrefix marks a prefix as the volume's and makes the object that s3fs takes for
// its directory.
func (b *Backend) createPrefix(ctx context.Context, api API, o *order) (int64, error) {
	bucket, prefix := o.handle.Root, o.handle.Path
	if err := mustExist(ctx, opCreate, api, bucket); err != nil {
		return 0, err
	}
	m, marked, err := readMarker(ctx, api, bucket, prefix)
	if err != nil {
		return 0, err
	}
	if !marked {
		if err := b.mayMark(ctx, api, o); err != nil {
			return 0, err
		}
		m = marker{
			Cluster: b.opts.Owner.Cluster, Name: o.name, Prefix: prefix, Request: o.request,
			OnDelete: o.values[keyOnDelete], Bytes: o.bytes, Adopted: o.existing,
		}
		data, err := json.Marshal(m)
		if err != nil {
			return 0, err
		}
		err = api.PutObject(ctx, bucket, volume.ObjectMarker(prefix), data, true)
		if err != nil && !fault.Is(err, fault.Conflict) {
			return 0, err
		}
		// Whoever was first has it, also where a server does not know the condition.
		m, marked, err = readMarker(ctx, api, bucket, prefix)
		switch {
		case err != nil:
			return 0, err
		case !marked:
			return 0, fault.New(fault.Pending, opCreate, bucket+"/"+prefix, "the marker that was written is not there; ask again")
		}
	}
	if m.Cluster != b.opts.Owner.Cluster || m.Name != o.name {
		return 0, fault.New(fault.Conflict, opCreate, bucket+"/"+prefix, "the prefix is already used as %q in cluster %q", m.Name, m.Cluster)
	}
	if m.Request != o.request || m.Adopted != o.existing {
		return 0, fault.New(fault.Conflict, opCreate, bucket+"/"+prefix, "the prefix was made with other parameters; delete that volume first, or choose another name")
	}
	if why := o.fits(m.Bytes); why != "" {
		return 0, fault.New(fault.Conflict, opCreate, bucket+"/"+prefix, "the volume exists, but %s", why)
	}
	_, there, err := api.Object(ctx, bucket, prefix)
	if err == nil && !there {
		err = api.PutObject(ctx, bucket, prefix, nil, false)
	}
	return m.Bytes, err
}

// mayMark checks that a prefix is free: nothing lies under it, and it lies in no other
// volume's. A prefix that is adopted must have something.
func (b *Backend) mayMark(ctx context.Context, api API, o *order) error {
	bucket, prefix := o.handle.Root, o.handle.Path
	keys, _, err := api.Keys(ctx, bucket, prefix, "", 1)
	switch {
	case err != nil:
		return err
	case o.existing && len(keys) == 0:
		return fault.New(fault.NotFound, opCreate, bucket+"/"+prefix, "nothing lies under the prefix that %s names", keyExisting)
	case !o.existing && len(keys) > 0:
		return fault.New(fault.Conflict, opCreate, bucket+"/"+prefix, "objects lie under the prefix and no marker says that they are ours; "+
			"they are left as they are: choose another %s, or use them with %s", keyBase, keyExisting)
	}
	for _, above := range ancestors(prefix) {
		m, found, err := readMarker(ctx, api, bucket, above)
		if err != nil {
			return err
		}
		if found {
			return fault.New(fault.Conflict, opCreate, bucket+"/"+prefix, "the prefix lies inside %s, which is the volume %q of cluster %q", above, m.Name, m.Cluster)
		}
	}
	return nil
}
