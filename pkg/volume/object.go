package volume

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Volume context keys of S3 volumes. They have no domain, since they are written by
// hand too: into the volumeAttributes of a volume that exists already.
const (
	ContextRegion      = "region"       // of the bucket
	ContextFileUID     = "uid"          // owner that files appear to have
	ContextFileGID     = "gid"          // their group
	ContextUmask       = "umask"        // permission bits they lack, in octal
	ContextPermissions = "permissions"  // "file": those that each file has; "volume": the three above are all files'
	ContextCacheMiB    = "cacheSizeMiB" // most of the node's disk that files being read and written may take
	ContextCredentials = "credentials"  // "secret": only with the credentials of a secret; "driver"
)

// ObjectPlan is what a node does to mount an S3 bucket, or a prefix of one. It is a
// pure function of handle, volume context and capability.
type ObjectPlan struct {
	Handle  string
	Profile string // endpoint profile of the mounter's configuration; "" is the default one
	Bucket  string
	Prefix  string // "" or "prefix/"
	Region  string // "" where only the profile knows it
	// ReadOnly mounts read-only. OneTarget: published at one path at a time
	// (SINGLE_NODE_SINGLE_WRITER).
	ReadOnly, OneTarget bool

	UID, GID uint32
	Umask    uint32
	PerFile  bool         // in place of the three: owner, group and rights are those that each file was given
	CacheMiB int64        // 0: the mounter's own limit
	Options  MountOptions // for s3fs, checked; without ro, uid, gid and umask, which are said above
	Secret   bool         // must not be mounted with any other credentials than a secret's
}

func (p ObjectPlan) handle() string { return p.Handle }

var _ Plan = ObjectPlan{}

// NewObjectPlan makes the plan for an S3 handle. The error names the field that is wrong.
func NewObjectPlan(r PlanRequest) (ObjectPlan, error) {
	h, err := ParseHandle(r.Handle)
	if err != nil {
		return ObjectPlan{}, err
	}
	if h.Kind != S3 {
		return ObjectPlan{}, fmt.Errorf("handle %q names an %s volume; this driver serves S3 buckets (s3://bucket[/prefix/])", r.Handle, h.Kind)
	}
	if err := checkObjectUse(r.Capability); err != nil {
		return ObjectPlan{}, err
	}
	if InObjectMarkers(h.Path) {
		return ObjectPlan{}, fmt.Errorf("handle %q: %s is where diskbridge keeps its markers; no volume lies there", r.Handle, ObjectMarkers)
	}
	if r.Context, err = ReadContext(S3, r.Context); err != nil {
		return ObjectPlan{}, err
	}
	options, err := ParseMountOptions(S3FS, r.Capability.MountFlags)
	if err != nil {
		return ObjectPlan{}, err
	}
	p := ObjectPlan{
		Handle: h.String(), Profile: h.Profile, Bucket: h.Root, Prefix: h.Path, Region: r.Context[ContextRegion],
		ReadOnly:  r.Capability.Mode.ReadOnly() || options.Has("ro"),
		OneTarget: r.Capability.Mode == SingleNodeSingleWriter,
		Umask:     0o022, Secret: r.Context[ContextCredentials] == "secret",
	}
	if p.Region != "" && !objectRegion.MatchString(p.Region) {
		return ObjectPlan{}, fmt.Errorf("volume context %s: %.40q is not a region such as us-east-1", ContextRegion, p.Region)
	}
	if c := r.Context[ContextCredentials]; c != "" && c != "secret" && c != "driver" {
		return ObjectPlan{}, fmt.Errorf("volume context %s: %.40q is neither driver nor secret", ContextCredentials, c)
	}
	return p, p.own(r, options)
}

// checkObjectUse refuses what no bucket can be.
func checkObjectUse(c Capability) error {
	switch {
	case c.Block:
		return fmt.Errorf("an S3 bucket is no raw block device; use volumeMode: Filesystem")
	case c.FSType != "" && !slices.Contains([]string{S3FS, "fuse", "fuse.s3fs"}, c.FSType):
		return fmt.Errorf("file system %q does not fit S3, which is always mounted by s3fs; leave it out", c.FSType)
	}
	return nil
}

// own fills in whose files appear to be, and the cache: mount options over the volume
// context, over the group that the pod asked for.
func (p *ObjectPlan) own(r PlanRequest, options MountOptions) (err error) {
	given := map[string]string{
		ContextFileUID: r.Context[ContextFileUID], ContextFileGID: r.Context[ContextFileGID], ContextUmask: r.Context[ContextUmask],
	}
	if given[ContextFileGID] == "" {
		given[ContextFileGID] = r.Capability.Group
	}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "ro":
		case ContextFileUID, ContextFileGID, ContextUmask:
			given[name] = value
		default:
			p.Options = append(p.Options, option)
		}
	}
	if given[ContextFileUID]+given[ContextFileGID] != "" {
		p.Umask = 0o007
	}
	if err := p.perFile(r.Context[ContextPermissions], given); err != nil {
		return err
	}
	for _, v := range []struct {
		key string
		to  *uint32
		of  func(string) (uint32, error)
	}{{ContextFileUID, &p.UID, ParseID}, {ContextFileGID, &p.GID, ParseID}, {ContextUmask, &p.Umask, ParseUmask}} {
		if given[v.key] == "" {
			continue
		}
		if *v.to, err = v.of(given[v.key]); err != nil {
			return fmt.Errorf("volume context %s: %w", v.key, err)
		}
	}
	if text := r.Context[ContextCacheMiB]; text != "" {
		if p.CacheMiB, err = ParseCacheMiB(text); err != nil {
			return fmt.Errorf("volume context %s: %w", ContextCacheMiB, err)
		}
	}
	return nil
}

// perFile lets each file have an owner, a group and rights of its own, where nothing says what those of all are.
func (p *ObjectPlan) perFile(permissions string, given map[string]string) error {
	switch permissions {
	case "", PermissionsVolume:
		return nil
	case PermissionsFile:
	default:
		return fmt.Errorf("volume context %s: %.40q is neither %s nor %s", ContextPermissions, permissions, PermissionsVolume, PermissionsFile)
	}
	for _, key := range []string{ContextFileUID, ContextFileGID, ContextUmask} {
		if given[key] != "" {
			return fmt.Errorf("volume context %s=%s: each file has its own, and %s %s (of the class, a mount option or the pod's fsGroup) would be that of all; leave one of them out",
				ContextPermissions, PermissionsFile, key, given[key])
		}
	}
	p.PerFile, p.Umask = true, 0
	return nil
}

// What ContextPermissions may say.
const (
	PermissionsVolume = "volume"
	PermissionsFile   = "file"
)

// ParseUmask reads the permission bits that files shall lack.
func ParseUmask(s string) (uint32, error) {
	if m, err := ParsePerms(s); err == nil && m <= 0o777 {
		return m, nil
	}
	return 0, fmt.Errorf("%.40q is not a mask of three or four octal digits, such as 0027", s)
}

// ParseCacheMiB reads how much of a node's disk a mount may take, in MiB. Below the least
// s3fs cannot hold the parts of one upload.
func ParseCacheMiB(s string) (int64, error) {
	const least, most = 64, 1 << 24
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%.40q is not a number of MiB from %d to %d", s, least, most)
	}
	return n, nil
}

// ObjectMarkers is the prefix of a bucket that holds the markers of the prefixes that
// diskbridge made there. No volume lies in it.
const ObjectMarkers = ".diskbridge/"

// InObjectMarkers reports whether a prefix ("a/b/") lies in ObjectMarkers, or is it.
func InObjectMarkers(prefix string) bool { return strings.HasPrefix(prefix, ObjectMarkers) }

// ObjectMarker is the key of a prefix's marker: one for a prefix, whoever asks for it,
// so that two volumes can never share one.
func ObjectMarker(prefix string) string {
	return ObjectMarkers + "volumes/" + Token("object-marker", prefix)[:32]
}

// ObjectForgotten is the key of what stays of a prefix's marker once its adoption is
// forgotten.
func ObjectForgotten(prefix string) string {
	return ObjectMarkers + "forgotten/" + Token("object-marker", prefix)[:32]
}
