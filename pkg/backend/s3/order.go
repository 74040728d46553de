package s3

import (
	"fmt"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opCreate = "create volume"

// order is what a request comes to.
type order struct {
	name       string
	size       volume.Range
	bytes      int64
	values     backend.Values
	handle     volume.Handle
	made       bool // the bucket is made for the volume
	existing   bool
	region     string
	encryption s3.Encryption
	days       int32
	tags       map[string]string
	request    string // stands for all settings
}

// order turns a request into what S3 is asked for, without asking it anything.
func (b *Backend) order(req volume.CreateRequest) (*order, error) {
	for _, c := range req.Capabilities {
		if err := b.Supports(c); err != nil {
			return nil, err
		}
	}
	o := &order{name: req.Name, size: req.Range}
	var err error
	if o.bytes, err = req.Range.Agreed(); err != nil {
		return nil, fault.New(fault.OutOfRange, opCreate, req.Name, "%v", err)
	}
	for _, step := range []func() error{
		func() error { return o.decode(req) },
		o.checkTogether,
		func() error { return o.place(b.opts.Owner.Cluster) },
		func() error { return o.shape(b.opts.KMSKey) },
		o.checkUse,
		func() error {
			o.tags, err = b.opts.Owner.NewTags(o.values, backend.TagVolumeName, o.name, b.standsIn())
			return err
		},
	} {
		if err := step(); err != nil {
			return nil, fault.New(fault.Invalid, opCreate, req.Name, "%v", err)
		}
	}
	o.request = volume.Token("s3-request", o.handle.String(), o.region, fmt.Sprint(o.encryption), o.values[keyVersioning], fmt.Sprint(o.days), o.values[keyOnDelete])[:16]
	o.tags[TagBytes], o.tags[TagOnDelete], o.tags[TagRequest] = fmt.Sprint(o.bytes), o.values[keyOnDelete], o.request
	return o, nil
}

func (o *order) decode(req volume.CreateRequest) (err error) {
	if req.Source != (volume.Source{}) {
		return fmt.Errorf("S3 volumes have no snapshots and clones; leave the source out")
	}
	if len(req.MutableParameters) > 0 {
		return fmt.Errorf("S3 volumes have no attributes that a VolumeAttributesClass could change; leave it out")
	}
	o.values, err = Parameters().Decode(req.Parameters)
	return err
}

// checkTogether refuses parameters that would have no effect.
func (o *order) checkTogether() error {
	made := []string{keyNamePrefix, keyEncryption, keyKMSKey}
	var without string
	switch {
	case o.values[keyExisting] != "":
		without = keyExisting
		made = append(made, keyBucket, keyBase)
	case o.values[keyBucket] != "":
		without = keyBucket
	default:
		made, without = []string{keyBase}, "no "+keyBucket
	}
	for _, key := range made {
		if o.values[key] != "" {
			return fmt.Errorf("parameter %s has no meaning with %s; leave it out", key, without)
		}
	}
	if without == "no "+keyBucket {
		return nil
	}
	if o.values.Bool(keyVersioning) {
		return fmt.Errorf("parameter %s has no meaning with %s: it is the bucket's own setting", keyVersioning, without)
	}
	for key := range o.values {
		if strings.HasPrefix(key, backend.TagParameter) {
			return fmt.Errorf("parameter %s has no meaning with %s: only new buckets are tagged", key, without)
		}
	}
	return nil
}

// place finds the volume's handle.
func (o *order) place(cluster string) error {
	v := o.values
	if p := v[keyProfile]; p != "" && !volume.IsProfile(p) {
		return fmt.Errorf("parameter %s: %.40q is not the name of an endpoint profile", keyProfile, p)
	}
	if r := v[keyRegion]; r != "" && !volume.IsRegion(r) {
		return fmt.Errorf("parameter %s: %.40q is not a region such as us-east-1", keyRegion, r)
	}
	o.region = v[keyRegion]
	switch {
	case v[keyExisting] != "":
		existing, err := v.ExpandPath(keyExisting)
		if err != nil {
			return err
		}
		h, err := volume.ParseHandle(existing)
		if err != nil || h.Kind != volume.S3 {
			return fmt.Errorf("parameter %s: %.80q is not s3://bucket or s3://bucket/prefix/", keyExisting, v[keyExisting])
		}
		if err := volume.CheckBucket(h.Root); err != nil {
			return fmt.Errorf("parameter %s: %w", keyExisting, err)
		}
		if h.Profile == "" {
			h.Profile = v[keyProfile]
		}
		o.handle, o.existing = h, true
	case v[keyBucket] != "":
		return o.placePrefix(volume.Token("s3-prefix", cluster, o.name)[:16])
	default:
		name, err := bucketName(v[keyNamePrefix], o.name, volume.Token("s3-bucket", cluster, o.name)[:16])
		if err != nil {
			return fmt.Errorf("parameter %s: %w", keyNamePrefix, err)
		}
		o.handle, o.made = volume.Handle{Kind: volume.S3, Root: name, Profile: v[keyProfile]}, true
	}
	return nil
}

// placePrefix puts the volume below a given bucket's base prefix.
func (o *order) placePrefix(hash string) error {
	bucket := strings.TrimPrefix(o.values[keyBucket], "s3://")
	base, err := o.values.ExpandPath(keyBase)
	if err != nil {
		return err
	}
	base = strings.Trim(base, "/")
	root, err := volume.ParseHandle("s3://" + bucket)
	if err != nil || root.Path != "" || root.Profile != "" {
		return fmt.Errorf("parameter %s: %.80q is not a legal bucket name", keyBucket, o.values[keyBucket])
	}
	if err := volume.CheckBucket(bucket); err != nil { // directory buckets too: they have no versions and other rules
		return fmt.Errorf("parameter %s: %w", keyBucket, err)
	}
	if base != "" {
		if _, err := volume.ParseHandle("s3://" + bucket + "/" + base); err != nil {
			return fmt.Errorf("parameter %s: %w", keyBase, err)
		}
		base += "/"
	}
	if volume.InObjectMarkers(base) {
		return fmt.Errorf("parameter %s: %s is where diskbridge keeps its markers; choose another prefix", keyBase, volume.ObjectMarkers)
	}
	root.Profile = o.values[keyProfile]
	for _, last := range []string{o.name, slug(o.name, 40) + "-" + hash, hash} {
		h := root
		h.Path = base + last + "/"
		if parsed, err := volume.ParseHandle(h.String()); err == nil && parsed == h && !strings.Contains(last, "/") && !volume.InObjectMarkers(h.Path) {
			o.handle = h
			return nil
		}
	}
	return fmt.Errorf("parameter %s: with it a volume's handle is longer than %d bytes; choose a shorter one", keyBase, volume.MaxHandle)
}

// maxBucket is the longest name of a bucket.
const maxBucket = 63

// bucketName is the same for the same volume, and no one else's: it ends with digits
// that nobody guesses.
func bucketName(prefix, name, hash string) (string, error) {
	if prefix = strings.TrimSuffix(prefix, "-"); prefix != "" {
		prefix += "-"
	}
	room := maxBucket - len(prefix) - len(hash) - 1
	if room < 0 {
		return "", fmt.Errorf("%.80q leaves no room for the rest of a bucket's name; at most %d characters", prefix, maxBucket-len(hash)-2)
	}
	middle := slug(name, room)
	if middle != "" {
		middle += "-"
	}
	full := prefix + middle + hash
	return full, volume.CheckBucket(full)
}

// slug keeps what a bucket's name may have, at most so many characters.
func slug(name string, most int) string {
	var out strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			out.WriteRune(r)
		} else if s := out.String(); s != "" && !strings.HasSuffix(s, "-") {
			out.WriteByte('-')
		}
	}
	s := out.String()
	return strings.Trim(s[:min(len(s), most)], "-")
}

// shape says what a new bucket shall be.
func (o *order) shape(defaultKey string) error {
	v := o.values
	o.encryption = s3.Encryption{KMS: v[keyEncryption] == withKMS || v[keyKMSKey] != "", Key: v[keyKMSKey]}
	if v[keyEncryption] == withS3 && o.encryption.KMS {
		return fmt.Errorf("parameters %s=%s and %s contradict each other", keyEncryption, withS3, keyKMSKey)
	}
	if o.encryption.KMS {
		o.encryption.BucketKey = v.Bool(keyBucketKey)
		if o.encryption.Key == "" {
			o.encryption.Key = defaultKey
		}
	}
	days := v.Int(keyUploadDays)
	if days > 3650 {
		return fmt.Errorf("parameter %s: %d is more than 3650 days", keyUploadDays, days)
	}
	o.days = int32(days) //nolint:gosec // at most 3650
	return nil
}

// checkUse lets the plan judge what nodes will be told, so that a mistake shows now.
func (o *order) checkUse() error {
	_, err := volume.NewObjectPlan(volume.PlanRequest{Handle: o.handle.String(), Context: o.context(false)})
	return err
}

// context is what the nodes are told.
func (o *order) context(secret bool) map[string]string {
	c := map[string]string{}
	for key, to := range map[string]string{
		keyRegion: volume.ContextRegion, keyUID: volume.ContextFileUID, keyGID: volume.ContextFileGID,
		keyUmask: volume.ContextUmask, keyPerms: volume.ContextPermissions, keyCache: volume.ContextCacheMiB,
	} {
		if o.values[key] != "" {
			c[to] = o.values[key]
		}
	}
	if secret {
		c[volume.ContextCredentials] = "secret"
	}
	return c
}

// fits says why a volume of so many bytes is not what was asked for; "" if it is.
func (o *order) fits(bytes int64) string {
	switch {
	case bytes < o.size.RequiredBytes:
		return fmt.Sprintf("it was agreed on with %d bytes, less than the required %d", bytes, o.size.RequiredBytes)
	case o.size.LimitBytes > 0 && bytes > o.size.LimitBytes:
		return fmt.Sprintf("it was agreed on with %d bytes, more than the limit %d", bytes, o.size.LimitBytes)
	}
	return ""
}

// ancestors are the prefixes that a prefix lies in, the widest first.
func ancestors(prefix string) []string {
	parts := strings.Split(strings.TrimSuffix(prefix, "/"), "/")
	var out []string
	for i := range parts[:len(parts)-1] {
		out = append(out, strings.Join(parts[:i+1], "/")+"/")
	}
	return slices.Clip(out)
}
