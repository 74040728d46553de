package objectmount

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Program mounts buckets: s3fs, or another that speaks FUSE and stays in the foreground.
type Program interface {
	// Name is what the mount table shows of its mounts: fuse.NAME.
	Name() string
	// Check says why a plan cannot be mounted here. Kinds: Unsupported (the program is not installed), Invalid (it does
	// not know an option).
	Check(ctx context.Context, plan volume.ObjectPlan) error
	// Command says how to mount a bucket that Check accepts. No secret is in arguments or environment.
	Command(b Bucket) (Command, error)
	// Explain says why the program ended, or did not mount, from what it wrote last.
	Explain(output string) error
}

// Bucket is what a Program is to mount, and where.
type Bucket struct {
	Plan   volume.ObjectPlan
	Access Access
	Point  string // where it is mounted
	Source string // what the mount table shall show
	Dir    string // the mount's private folder, on tmpfs
	Cache  string // folder for what is being read and written; it is empty
	// Reserve is what the disk below Cache must keep free, in MiB.
	Reserve int64
}

// Access is how a bucket is reached.
type Access struct {
	URL       string `json:"url"`
	Region    string `json:"region"`
	PathStyle bool   `json:"pathStyle"`       // the bucket is in the path, not in the name of the host
	Owner     string `json:"owner,omitempty"` // account that the bucket must belong to; "": it is not known

	AccessKeyID     string `json:"accessKeyID"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// Command is a process to start.
type Command struct {
	Path  string
	Args  []string
	Env   []string
	Files map[string]string // to write into Bucket.Dir first, by name, for the owner only
}

// Gate knows where buckets are and what requests are signed with. Its methods are idempotent.
type Gate interface {
	// Open opens the way to a plan's bucket for a mount. own are the credentials of a secret, nil stands for the mounter's.
	// last is what was answered before, for a program that still runs: it must find what it knows, and nobody need be asked
	// for it after a crash. A way that is open is only changed for what the bucket accepts. Else it is nil.
	Open(ctx context.Context, mount string, plan volume.ObjectPlan, own *volume.ObjectCredentials, last *Access) (Access, error)
	// Why is why the mount's requests fail, as far as the gate knows; nil if they do not.
	Why(mount string) error
	// Close ends it.
	Close(mount string) error
}
