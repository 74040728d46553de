package efs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// order is what a request comes to.
type order struct {
	name      string
	size      volume.Range
	bytes     int64
	values    backend.Values
	mode      string
	spec      efs.FileSystemSpec // of a new file system
	lifecycle efs.Lifecycle
	subnets   []string
	groups    []string
	owner     volume.Owner
	onDelete  volume.OnDelete
	tags      map[string]string
	places    []volume.Topology // where it is needed, best first
}

// order turns a request into what EFS is asked for, without asking it anything.
func (b *Backend) order(req volume.CreateRequest) (*order, error) {
	for _, c := range req.Capabilities {
		if err := b.Supports(c); err != nil {
			return nil, err
		}
	}
	if req.Source != (volume.Source{}) {
		return nil, fault.New(fault.Invalid, opCreate, req.Name, "EFS volumes have no snapshots and clones; leave the source out")
	}
	o := &order{name: req.Name, size: req.Range, places: req.Topology.Candidates()}
	var err error
	if o.bytes, err = req.Range.Agreed(); err != nil {
		return nil, fault.New(fault.OutOfRange, opCreate, req.Name, "%v", err)
	}
	for _, step := range []func() error{
		func() error { return o.decode(req) },
		o.checkMode,
		func() error { return o.shape(b.opts.KMSKey) },
		o.place,
		o.network,
		func() error { o.owner, err = owner(o.values, b.opts.Owner.Cluster, o.name); return err },
		func() error { return b.tag(o) },
	} {
		if err := step(); err != nil {
			var known *fault.Error
			if errors.As(err, &known) {
				return nil, err
			}
			return nil, fault.New(fault.Invalid, opCreate, req.Name, "%v", err)
		}
	}
	o.spec.Tags = o.tags
	o.spec.Token = volume.Token(b.opts.Owner.Cluster, req.Name)
	return o, nil
}

// decode reads the parameters; mutable ones win over others.
func (o *order) decode(req volume.CreateRequest) (err error) {
	if o.values, err = Parameters().Decode(req.Parameters); err != nil {
		return err
	}
	changed, err := MutableParameters().Decode(req.MutableParameters)
	if err != nil {
		return err
	}
	if changed[keyThroughput] != "" && changed[keyMiBs] == "" {
		delete(o.values, keyMiBs)
	}
	maps.Copy(o.values, changed)
	return nil
}

// ofMode says which parameters have no meaning in which mode.
var ofMode = map[string][]string{
	modeFileSystem: {keyFileSystem, keyBasePath, keySubPath},
	modeDirectory: {keyThroughput, keyMiBs, keyKMSKey, keyOneZone, keyZone, keyToIA, keyToArchive, keyToPrimary, keyBackup,
		keyNamePrefix, keyExisting},
	modeAccessPoint: {keyThroughput, keyMiBs, keyKMSKey, keyOneZone, keyZone, keyToIA, keyToArchive, keyToPrimary, keyBackup, keyExisting},
}

func (o *order) checkMode() error {
	o.mode = o.values[keyMode]
	if o.mode == modeEFSDriver {
		o.mode = modeAccessPoint
	}
	if o.mode != modeFileSystem && o.values[keyFileSystem] == "" {
		return fmt.Errorf("%s %s needs the parameter %s: the file system to make it in", keyMode, o.mode, keyFileSystem)
	}
	for _, key := range ofMode[o.mode] {
		if o.values[key] != "" {
			return fmt.Errorf("parameter %s has no meaning with %s %s; leave it out", key, keyMode, o.mode)
		}
	}
	if o.mode == modeDirectory {
		for key := range o.values {
			if strings.HasPrefix(key, backend.TagParameter) {
				return fmt.Errorf("parameter %s has no meaning with %s %s: a directory has no tags", key, keyMode, o.mode)
			}
		}
	}
	o.onDelete = volume.OnDelete(o.values[keyOnDelete])
	switch {
	case o.onDelete == "" && o.mode == modeFileSystem:
		o.onDelete = volume.Delete
	case o.onDelete == "":
		o.onDelete = volume.Retain
	case o.mode == modeAccessPoint && o.onDelete != volume.Retain:
		return fmt.Errorf("%s %s only allows %s retain: nobody removes the directory of an access point; use %s %s", keyMode, o.mode, keyOnDelete, keyMode, modeDirectory)
	}
	return nil
}

// shape says what a new file system shall be.
func (o *order) shape(defaultKey string) error {
	v := o.values
	o.spec.PerformanceMode = "generalPurpose"
	if v[keyPerformance] == "maxio" { // Decode has taken the case away
		o.spec.PerformanceMode = "maxIO"
	}
	t, err := throughputOf(v, efs.Throughput{Mode: "bursting"})
	if err != nil {
		return err
	}
	o.spec.Throughput = t
	o.spec.Encrypted, o.spec.KMSKey = v.Bool(keyEncrypted), v[keyKMSKey]
	if !o.spec.Encrypted && o.spec.KMSKey != "" {
		return fmt.Errorf("parameters %s=false and %s contradict each other", keyEncrypted, keyKMSKey)
	}
	if o.spec.Encrypted && o.spec.KMSKey == "" {
		o.spec.KMSKey = defaultKey
	}
	if v[keyBackup] != "" {
		on := v.Bool(keyBackup)
		o.spec.Backup = &on
	}
	o.lifecycle = efs.Lifecycle{ToIA: strings.ToUpper(v[keyToIA]), ToArchive: strings.ToUpper(v[keyToArchive]), ToPrimary: strings.ToUpper(v[keyToPrimary])}
	return nil
}

// maxMiBs is the most that EFS provisions. https://docs.aws.amazon.com/efs/latest/ug/limits.html
const maxMiBs = 3414

// throughputOf combines parameters with what there is.
func throughputOf(v backend.Values, now efs.Throughput) (efs.Throughput, error) {
	mibs := v.Int(keyMiBs)
	t := efs.Throughput{Mode: v[keyThroughput], MiBs: float64(mibs)}
	switch {
	case t.Mode == "" && mibs > 0:
		t.Mode = "provisioned"
	case t.Mode == "":
		return now, nil
	case t.Mode == "provisioned" && mibs == 0 && now.Mode == "provisioned":
		t.MiBs = now.MiBs
	}
	switch {
	case t.Mode == "provisioned" && t.MiBs == 0:
		return t, fmt.Errorf("%s provisioned needs %s", keyThroughput, keyMiBs)
	case t.Mode != "provisioned" && mibs > 0:
		return t, fmt.Errorf("%s has no meaning with %s %s", keyMiBs, keyThroughput, t.Mode)
	case t.MiBs > maxMiBs:
		return t, fmt.Errorf("%s %d is more than the %d that EFS provisions", keyMiBs, mibs, maxMiBs)
	}
	return t, nil
}

// place chooses the zone of a One Zone file system.
func (o *order) place() error {
	explicit := o.values[keyZone]
	switch {
	case explicit == "" && !o.values.Bool(keyOneZone):
		return nil
	case explicit != "" && len(o.places) > 0 && !slices.ContainsFunc(o.places, func(t volume.Topology) bool { return t.Zone == explicit }):
		return fmt.Errorf("parameter %s=%s is outside the requested topology", keyZone, explicit)
	case explicit != "":
		o.spec.Zone = explicit
	case len(o.places) == 0 || o.places[0].Zone == "":
		return fmt.Errorf("parameter %s needs a zone: give %s, or volumeBindingMode: WaitForFirstConsumer", keyOneZone, keyZone)
	default:
		o.spec.Zone = o.places[0].Zone
	}
	if o.spec.PerformanceMode == "maxIO" {
		return fmt.Errorf("a One Zone file system has no %s maxIO", keyPerformance)
	}
	return nil
}

// maxGroups of a mount target. https://docs.aws.amazon.com/efs/latest/ug/limits.html
const maxGroups = 5

// network reads the lists of ids.
func (o *order) network() (err error) {
	if o.subnets, err = ids(o.values[keySubnets], "subnet-", keySubnets); err != nil {
		return err
	}
	if o.groups, err = ids(o.values[keyGroups], "sg-", keyGroups); err != nil {
		return err
	}
	if len(o.groups) > maxGroups {
		return fmt.Errorf("parameter %s names %d groups; a mount target has at most %d", keyGroups, len(o.groups), maxGroups)
	}
	return nil
}

// ids cuts a list of ids at commas.
func ids(list, prefix, key string) ([]string, error) {
	var out []string
	for _, id := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		switch {
		case !strings.HasPrefix(id, prefix) || strings.Trim(id[len(prefix):], "0123456789abcdef") != "":
			return nil, fmt.Errorf("parameter %s: %q is not of the form %s…", key, id, prefix)
		case slices.Contains(out, id):
			return nil, fmt.Errorf("parameter %s names %s twice", key, id)
		}
		out = append(out, id)
	}
	return out, nil
}

// owner says whose a directory becomes.
func owner(v backend.Values, cluster, name string) (o volume.Owner, err error) {
	start, end := v[keyGIDStart], v[keyGIDEnd]
	o.Perms = 0o777
	if v[keyUID]+v[keyGID]+start != "" {
		o.Perms = 0o770
	}
	for _, p := range []struct {
		key string
		set func(string) error
	}{
		{keyUID, func(s string) error { o.UID, err = volume.ParseID(s); return err }},
		{keyGID, func(s string) error { o.GID, err = volume.ParseID(s); return err }},
		{keyPerms, func(s string) error { o.Perms, err = volume.ParsePerms(s); return err }},
	} {
		if v[p.key] == "" {
			continue
		}
		if err := p.set(v[p.key]); err != nil {
			return o, fmt.Errorf("parameter %s: %w", p.key, err)
		}
	}
	switch {
	case start == "" && end == "":
		return o, nil
	case start == "" || end == "":
		return o, fmt.Errorf("parameters %s and %s belong together; give both", keyGIDStart, keyGIDEnd)
	case v[keyGID] != "":
		return o, fmt.Errorf("parameters %s and %s exclude each other; give one", keyGID, keyGIDStart)
	}
	o.GID, err = gidOf(start, end, volume.Token("gid", cluster, name))
	return o, err
}

// gidOf picks a group from a range by a token, so that a repeated request picks the same.
func gidOf(start, end, token string) (uint32, error) {
	first, err := volume.ParseID(start)
	if err != nil {
		return 0, fmt.Errorf("parameter %s: %w", keyGIDStart, err)
	}
	last, err := volume.ParseID(end)
	if err != nil {
		return 0, fmt.Errorf("parameter %s: %w", keyGIDEnd, err)
	}
	if first > last {
		return 0, fmt.Errorf("parameter %s %d is more than %s %d", keyGIDStart, first, keyGIDEnd, last)
	}
	var n uint64
	if _, err := fmt.Sscanf(token[:15], "%x", &n); err != nil {
		return 0, err
	}
	return first + uint32(n%(uint64(last-first)+1)), nil //nolint:gosec // at most last
}

// tag says what is tagged how.
func (b *Backend) tag(o *order) (err error) {
	if o.tags, err = b.opts.Owner.NewTags(o.values, backend.TagVolumeName, o.name, b.standsIn()); err != nil {
		return err
	}
	o.tags[TagBytes], o.tags[TagOnDelete] = fmt.Sprint(o.bytes), string(o.onDelete)
	if o.tags["Name"] == "" {
		o.tags["Name"] = o.name
		if prefix := o.values[keyNamePrefix]; prefix != "" {
			o.tags["Name"] = prefix + "/" + o.name
			if len(o.tags["Name"]) > 256 {
				return fmt.Errorf("parameter %s makes the tag Name longer than 256 characters", keyNamePrefix)
			}
		}
	}
	return nil
}

// context is what the node, and Publish, are told about every volume.
func (o *order) context() map[string]string {
	c := map[string]string{}
	for key, list := range map[string][]string{keySubnets: o.subnets, keyGroups: o.groups} {
		if len(list) > 0 {
			c[key] = strings.Join(list, ",")
		}
	}
	if o.values.Bool(keyTLS) || o.mode == modeAccessPoint {
		c[volume.ContextTLS] = "true"
	}
	return c
}
