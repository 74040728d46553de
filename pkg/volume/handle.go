package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Kind names a backend: the part of a driver name before ".csi.diskbridge.io".
type Kind string

// The kinds of disk that a handle can name.
const (
	EBS Kind = "ebs"
	EFS Kind = "efs"
	S3  Kind = "s3"
)

// MaxHandle is the longest handle in bytes; the CSI specification ("Size Limits")
// allows no more for a string field.
const MaxHandle = 128

// Handle is a volume under the cloud's own name, so that it moves between
// diskbridge, other drivers and CPIs unchanged.
type Handle struct {
	Kind        Kind
	Root        string // volume id, file system id or bucket
	Path        string // EFS: "/dir"; S3: "prefix/"; otherwise empty
	AccessPoint string // EFS only: "fsap-…"
	Profile     string // S3 only: endpoint profile, written before the bucket: "s3://profile@bucket"
	// OnDelete and Digest belong to an EFS directory that was made for a claim: what
	// becomes of it, and [Directory.Digest].
	OnDelete OnDelete
	Digest   string
}

var (
	volumeID     = regexp.MustCompile(`^vol-[0-9a-f]{8}([0-9a-f]{9})?$`)
	fileSystemID = regexp.MustCompile(`^fs-[0-9a-f]{8}([0-9a-f]{9})?$`)
	accessPoint  = regexp.MustCompile(`^fsap-[0-9a-f]{8}([0-9a-f]{9})?$`)
	made         = regexp.MustCompile(`^(.*)#(delete|retain|archive)\.([0-9a-f]{16})$`)
	bucketName   = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	objectRegion = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,38}[a-zA-Z0-9])?$`) // other servers name theirs as they like
	profileName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)
)

// ParseHandle reads a handle or one of its aliases ("efs:fs-…", "bucket/prefix").
// Its String is the canonical form. The error says which forms exist.
func ParseHandle(s string) (Handle, error) {
	if len(s) > MaxHandle {
		return Handle{}, fmt.Errorf("handle of %d bytes: at most %d are allowed", len(s), MaxHandle)
	}
	switch {
	case volumeID.MatchString(s):
		return Handle{Kind: EBS, Root: s}, nil
	case strings.HasPrefix(s, "vol-"):
		return Handle{}, fmt.Errorf("handle %q: an EBS volume id is vol- and 8 or 17 hexadecimal digits", s)
	case strings.HasPrefix(s, "fs-"), strings.HasPrefix(s, "efs:"):
		return parseEFS(strings.TrimPrefix(s, "efs:"))
	case strings.HasPrefix(s, "s3://"), strings.Contains(s, "/"):
		return parseS3(strings.TrimPrefix(s, "s3://"))
	default:
		return Handle{}, fmt.Errorf("handle %q: expected vol-…, fs-…[:/dir], fs-…::fsap-… or s3://bucket[/prefix/]", s)
	}
}

func parseEFS(s string) (Handle, error) {
	root, rest, _ := strings.Cut(s, ":")
	h := Handle{Kind: EFS, Root: root}
	if m := made.FindStringSubmatch(rest); m != nil && strings.HasPrefix(rest, "/") {
		rest, h.OnDelete, h.Digest = m[1], OnDelete(m[2]), m[3]
	}
	if !fileSystemID.MatchString(root) {
		return Handle{}, fmt.Errorf("handle %q: an EFS file system id is fs- and 8 or 17 hexadecimal digits", s)
	}
	switch ap, isAP := strings.CutPrefix(rest, ":"); {
	case rest == "":
	case isAP && accessPoint.MatchString(ap):
		h.AccessPoint = ap
	case strings.HasPrefix(rest, "/") && cleanPath(rest[1:]):
		h.Path = rest
	default:
		return Handle{}, fmt.Errorf("handle %q: after the file system id comes :/dir without . or .. parts, or ::fsap-…", s)
	}
	return h, nil
}

func parseS3(s string) (Handle, error) {
	bucket, prefix, _ := strings.Cut(s, "/")
	profile, name, named := strings.Cut(bucket, "@")
	switch {
	case !named:
		profile = ""
	case !profileName.MatchString(profile):
		return Handle{}, fmt.Errorf("handle %q: %q is not the name of an endpoint profile", s, profile)
	default:
		bucket = name
	}
	if !bucketName.MatchString(bucket) || strings.Contains(bucket, "..") {
		return Handle{}, fmt.Errorf("handle %q: %q is not a legal bucket name", s, bucket)
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return Handle{Kind: S3, Root: bucket, Profile: profile}, nil
	}
	if !cleanPath(prefix) {
		return Handle{}, fmt.Errorf("handle %q: a prefix has no empty, . or .. parts and no control characters", s)
	}
	h := Handle{Kind: S3, Root: bucket, Path: prefix + "/", Profile: profile}
	if len(h.String()) > MaxHandle {
		return Handle{}, fmt.Errorf("handle %q: its canonical form is longer than %d bytes", s, MaxHandle)
	}
	return h, nil
}

// cleanPath reports whether every part of a relative path is an ordinary name,
// so that the path cannot leave its root.
func cleanPath(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
		for _, r := range part {
			if r < ' ' || r == 0x7f || r == '\uFFFD' {
				return false
			}
		}
	}
	return true
}

// String returns the canonical form, at most MaxHandle bytes for a parsed handle.
func (h Handle) String() string {
	switch {
	case h.Kind == S3:
		s := "s3://"
		if h.Profile != "" {
			s += h.Profile + "@"
		}
		s += h.Root
		if h.Path != "" {
			s += "/" + h.Path
		}
		return s
	case h.AccessPoint != "":
		return h.Root + "::" + h.AccessPoint
	case h.Digest != "":
		return h.Root + ":" + h.Path + "#" + string(h.OnDelete) + "." + h.Digest
	case h.Path != "":
		return h.Root + ":" + h.Path
	default:
		return h.Root
	}
}

// Token returns a deterministic idempotency token for a name: 64 hexadecimal
// digits, the longest that EC2's ClientToken takes. The same parts give the same token.
func Token(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}
