package s3

import "time"

// Endpoint is an S3 server other than AWS's.
type Endpoint struct {
	Name      string // in messages
	URL       string
	Region    string // that requests are signed for
	PathStyle bool   // the bucket is in the path, not in the host's name
	CA        []byte // PEM; nil: the machine's
	Owner     string // account that buckets belong to; "": the server knows none
	Lacks     map[string]bool
}

// The parts of S3 that a server may lack; see Endpoint.Lacks.
const (
	Tagging           = "tagging"
	PublicAccessBlock = "publicAccessBlock"
	OwnershipControls = "ownershipControls"
	DefaultEncryption = "encryption"
	Lifecycle         = "lifecycle"
	Versions          = "versions"
)

// Parts lists what Endpoint.Lacks can hold. Tagging cannot be lacked: ownership is in the tags.
func Parts() []string {
	return []string{PublicAccessBlock, OwnershipControls, DefaultEncryption, Lifecycle, Versions}
}

// Credentials sign requests in place of the session's own.
type Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// BucketSpec is what a new bucket shall be.
type BucketSpec struct {
	Name   string
	Region string // "": the client's own
	Tags   map[string]string
}

// BucketInfo is a bucket in a list.
type BucketInfo struct {
	Name    string
	Region  string
	Created time.Time
}

// Encryption is how a bucket encrypts by default: with KMS, or, without a key and KMS
// false, with keys of S3's own.
type Encryption struct {
	KMS       bool
	Key       string // "" is the account's AWS managed key
	BucketKey bool
}

// Version names a version of an object, or a delete marker.
type Version struct{ Key, ID string }

// VersionPage is one page of all versions.
type VersionPage struct {
	Versions        []Version
	NextKey, NextID string // where the next page begins
	More            bool
}

// Upload is an unfinished multipart upload.
type Upload struct{ Key, ID string }

// Refusal is why one version was not deleted.
type Refusal struct {
	Version
	Code, Message string
}
