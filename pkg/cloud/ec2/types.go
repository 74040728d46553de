package ec2

import "time"

// Volume states of EC2.
const (
	StateCreating  = "creating"
	StateAvailable = "available"
	StateInUse     = "in-use"
	StateDeleting  = "deleting"
	StateError     = "error"
)

// Attachment states of EC2; Busy is a detachment that the instance holds up.
const (
	Attaching = "attaching"
	Attached  = "attached"
	Detaching = "detaching"
	Busy      = "busy"
)

// Volume is an EBS volume as DescribeVolumes shows it.
type Volume struct {
	ID          string
	Zone        string
	ZoneID      string
	State       string
	Type        string
	SizeGiB     int64
	IOPS        int32 // operations per second
	Throughput  int32 // MiB/s
	Encrypted   bool
	KMSKey      string
	Snapshot    string // restored from; empty if none
	Source      string // cloned from; empty if none
	MultiAttach bool
	Created     time.Time
	Tags        map[string]string
	Attachments []Attachment
}

// Attachment is one side's view of a volume on an instance.
type Attachment struct {
	Volume   string
	Instance string
	Device   string
	State    string
	Since    time.Time
	// WithInstance says that EC2 deletes the volume together with the instance; only DescribeInstances' view has it.
	WithInstance bool
}

// On returns the volume's attachment to an instance, if it has one.
func (v Volume) On(instance string) (Attachment, bool) {
	return find(v.Attachments, func(a Attachment) bool { return a.Instance == instance })
}

// Instance is an EC2 instance as DescribeInstances shows it.
type Instance struct {
	ID          string
	Zone        string
	ZoneID      string
	Type        string
	State       string // pending, running, shutting-down, terminated, stopping, stopped
	RootDevice  string // the name under which its system's volume is attached
	VPC         string
	Subnet      string
	IP          string
	Groups      []string // security groups of its first network interface
	Attachments []Attachment
}

// Has returns the instance's attachment of a volume, if it has one.
func (i Instance) Has(volume string) (Attachment, bool) {
	return find(i.Attachments, func(a Attachment) bool { return a.Volume == volume })
}

// Down reports whether nothing runs on the instance, so that nothing can write to
// its volumes.
func (i Instance) Down() bool { return i.State == "stopped" || i.State == "terminated" }

// Gone reports whether the instance can never run again.
func (i Instance) Gone() bool { return i.State == "terminated" }

func find(list []Attachment, match func(Attachment) bool) (Attachment, bool) {
	for _, a := range list {
		if match(a) {
			return a, true
		}
	}
	return Attachment{}, false
}

// VolumeSpec is what a new volume shall be. Zero numbers leave the choice to EC2.
type VolumeSpec struct {
	Token      string // idempotency token, at most 64 characters
	Zone       string // one of Zone and ZoneID
	ZoneID     string
	Type       string
	SizeGiB    int64
	IOPS       int32
	Throughput int32 // MiB/s
	Encrypted  bool
	KMSKey     string
	Snapshot   string // restore from; excludes Source
	// Source is the volume to clone. A clone is in its source's zone, and EC2 would
	// make it a gp2 volume where Type is empty.
	Source      string
	MultiAttach bool  // io1 and io2
	InitRate    int32 // MiB/s at which a restored volume is filled; 0 = EC2's own
	Tags        map[string]string
}

// Change is a new shape of a volume; zero values stay as they are.
type Change struct {
	Type       string
	SizeGiB    int64
	IOPS       int32
	Throughput int32 // MiB/s
}

// Modification is the newest change of a volume.
type Modification struct {
	Volume        string
	State         string // modifying, optimizing, completed, failed
	Target        Change
	StatusMessage string
	Started       time.Time
}

// Effective reports whether the volume already has its new shape: EC2 documents it
// usable from "optimizing" on.
func (m Modification) Effective() bool { return m.State == "optimizing" || m.State == "completed" }

// Snapshot is an EBS snapshot as DescribeSnapshots shows it.
type Snapshot struct {
	ID      string
	Volume  string
	State   string // pending, completed, error, recoverable, recovering
	SizeGiB int64
	Started time.Time
	Tags    map[string]string
}

// Zone is an availability zone.
type Zone struct {
	Name string
	ID   string
}

// Subnet is a part of a VPC in one zone.
type Subnet struct {
	ID      string
	VPC     string
	Zone    string
	Default bool // the zone's default subnet
}

// SecurityGroup is what lets traffic in.
type SecurityGroup struct {
	ID    string
	VPC   string
	Rules []Rule
}

// Rule lets something in. Opaque says that it names sources that are not looked into
// (prefix lists, IPv6 ranges).
type Rule struct {
	Protocol string // tcp, 6, … or -1 for all
	From, To int32  // ports; not looked at where Protocol is -1
	CIDRs    []string
	Groups   []string
	Opaque   bool
}
