package efs

import "time"

// Life cycle states of file systems, mount targets and access points.
const (
	StateCreating  = "creating"
	StateAvailable = "available"
	StateUpdating  = "updating"
	StateDeleting  = "deleting"
	StateDeleted   = "deleted"
	StateError     = "error"
)

// FileSystem is an EFS file system as DescribeFileSystems shows it.
type FileSystem struct {
	ID              string
	Token           string // creation token
	State           string
	Created         time.Time
	PerformanceMode string // generalPurpose or maxIO
	Throughput      Throughput
	Encrypted       bool
	KMSKey          string // ARN
	Zone            string // of a One Zone file system; empty: regional
	MountTargets    int
	Bytes           int64 // metered size
	Tags            map[string]string
}

// Throughput is how fast a file system is. MiBs is only set for mode provisioned.
type Throughput struct {
	Mode string // bursting, provisioned or elastic
	MiBs float64
}

// FileSystemSpec is what a new file system shall be; empty fields leave the choice to EFS.
type FileSystemSpec struct {
	Token           string // idempotency token, at most 64 characters
	PerformanceMode string
	Throughput      Throughput
	Encrypted       bool
	KMSKey          string
	Zone            string // makes it a One Zone file system
	Backup          *bool  // nil: EFS's own choice
	Tags            map[string]string
}

// Lifecycle says when files move between storage classes, in EFS's words
// (AFTER_30_DAYS); empty: never.
type Lifecycle struct{ ToIA, ToArchive, ToPrimary string }

// MountTarget is where a file system is reachable from one zone of one VPC.
type MountTarget struct {
	ID         string
	FileSystem string
	State      string
	Zone       string
	VPC        string
	Subnet     string
	IP         string
}

// AccessPoint is an entry into a directory of a file system, as a POSIX user.
type AccessPoint struct {
	ID         string
	FileSystem string
	Token      string
	State      string
	Path       string
	UID, GID   int64  // as whom its clients act
	Perms      string // of a root directory that it makes, in octal
	Tags       map[string]string
}
