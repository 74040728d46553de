package store

import (
	"maps"
	"slices"
	"time"
)

// States of volumes, attachments, modifications, snapshots and instances, as AWS spells them.
const (
	Creating  = "creating"
	Available = "available"
	InUse     = "in-use"
	Deleting  = "deleting"

	Attaching = "attaching"
	Attached  = "attached"
	Detaching = "detaching"
	Busy      = "busy"

	Modifying  = "modifying"
	Optimizing = "optimizing"
	Completed  = "completed"
	Failed     = "failed"

	Pending = "pending"
	Error   = "error"

	Running      = "running"
	Stopping     = "stopping"
	Stopped      = "stopped"
	ShuttingDown = "shutting-down"
	Terminated   = "terminated"

	// Gone is nobody's answer: the resource is no more. A volume that is gone is kept while its client token lives.
	Gone = "gone"
)

// GiB is what EBS counts sizes in, in bytes.
const GiB = int64(1) << 30

// Change is the next state of something and when it comes; the zero Change never comes.
type Change struct {
	To string    `json:",omitzero"`
	At time.Time `json:",omitzero"`
}

func (c Change) due(now time.Time) bool { return c.To != "" && !c.At.After(now) }

// Shape is what ModifyVolume can change.
type Shape struct {
	Type           string
	SizeGiB        int
	IOPS           int  `json:",omitzero"`
	ThroughputMiBs int  `json:",omitzero"`
	MultiAttach    bool `json:",omitzero"`
}

// Volume is an EBS volume. A Volume that was read from the store must not be changed.
type Volume struct {
	ID, Zone string
	Shape
	State          string
	Change         Change `json:",omitzero"`
	Prepared       bool   // its bytes exist
	Fails          bool   `json:",omitzero"` // it ends in error instead of becoming available
	Doomed         bool   `json:",omitzero"` // its key is unusable: it will vanish instead of becoming available
	Created        time.Time
	Encrypted      bool              `json:",omitzero"`
	KMSKey         string            `json:",omitzero"` // ARN
	Snapshot       string            `json:",omitzero"`
	Source         string            `json:",omitzero"` // the volume it is a copy of
	InitRateMiBs   int               `json:",omitzero"`
	FastRestored   bool              `json:",omitzero"`
	Token          string            `json:",omitzero"` // action and client token
	TokenRequest   string            `json:",omitzero"` // hash of the request that used it first
	Tags           map[string]string `json:",omitzero"`
	Attachments    []Attachment      `json:",omitzero"`
	Modifications  []Modification    `json:",omitzero"` // oldest first; the last one is the current
	DeleteDetached bool              `json:",omitzero"` // delete it once nothing is attached
}

// Attachment ties a volume to an instance.
type Attachment struct {
	Instance, Device, State string
	Since                   time.Time
	Change                  Change `json:",omitzero"`
	Force                   bool   `json:",omitzero"`
	DeleteOnTermination     bool   `json:",omitzero"`
}

// Modification is one ModifyVolume.
type Modification struct {
	State            string
	Change           Change `json:",omitzero"`
	Started          time.Time
	Optimizes        time.Time
	Completes        time.Time
	Original, Target Shape
}

// Current is the latest modification, nil if there never was one.
func (v *Volume) Current() *Modification {
	if len(v.Modifications) == 0 {
		return nil
	}
	return &v.Modifications[len(v.Modifications)-1]
}

// Attachment is the volume's attachment to that instance, nil if there is none.
func (v *Volume) Attachment(instance string) *Attachment {
	for i := range v.Attachments {
		if v.Attachments[i].Instance == instance {
			return &v.Attachments[i]
		}
	}
	return nil
}

// Status is the state that AWS shows: an available volume with an attachment is in use.
func (v *Volume) Status() string {
	if v.State == Available && len(v.Attachments) > 0 {
		return InUse
	}
	return v.State
}

// Due names what is to change by now: the volume, one of its attachments, or its modification.
// At most one of the results is set; all are zero when nothing is due.
func (v *Volume) Due(now time.Time) (self bool, a *Attachment, m *Modification) {
	if v.Change.due(now) {
		return true, nil, nil
	}
	for i := range v.Attachments {
		if v.Attachments[i].Change.due(now) {
			return false, &v.Attachments[i], nil
		}
	}
	if m := v.Current(); m != nil && m.Change.due(now) {
		return false, nil, m
	}
	return false, nil, nil
}

func (v *Volume) key() string { return v.ID }

func (v *Volume) next() time.Time {
	at := earliest(time.Time{}, v.Change)
	for _, a := range v.Attachments {
		at = earliest(at, a.Change)
	}
	if m := v.Current(); m != nil {
		at = earliest(at, m.Change)
	}
	return at
}

func (v *Volume) clone() *Volume {
	c := *v
	c.Tags = maps.Clone(v.Tags)
	c.Attachments = slices.Clone(v.Attachments)
	c.Modifications = slices.Clone(v.Modifications)
	return &c
}

// Snapshot is an EBS snapshot.
type Snapshot struct {
	ID, Volume, Owner, OwnerAlias, Description string
	SizeGiB                                    int
	State                                      string
	Change                                     Change `json:",omitzero"`
	Prepared                                   bool
	Fails                                      bool `json:",omitzero"` // ends in error
	Started                                    time.Time
	Completed                                  time.Time              `json:",omitzero"`
	Encrypted                                  bool                   `json:",omitzero"`
	KMSKey                                     string                 `json:",omitzero"`
	Public                                     bool                   `json:",omitzero"`
	Tags                                       map[string]string      `json:",omitzero"`
	FastRestore                                map[string]FastRestore `json:",omitzero"` // by zone
	Lock                                       *Lock                  `json:",omitzero"`
}

// FastRestore is one snapshot's fast restore in one zone; the times fix its state.
type FastRestore struct {
	Enabling, Optimizing, Enabled time.Time
	Disabling, Disabled           time.Time `json:",omitzero"`
}

// Lock is a snapshot lock.
type Lock struct {
	Mode             string
	Created, CoolOff time.Time
	DurationDays     int
	Expires          time.Time
}

func (s *Snapshot) key() string     { return s.ID }
func (s *Snapshot) next() time.Time { return earliest(time.Time{}, s.Change) }

// Due says whether the snapshot is to change by now.
func (s *Snapshot) Due(now time.Time) bool { return s.Change.due(now) }

func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.Tags, c.FastRestore = maps.Clone(s.Tags), maps.Clone(s.FastRestore)
	if s.Lock != nil {
		l := *s.Lock
		c.Lock = &l
	}
	return &c
}

// Instance is an EC2 instance.
type Instance struct {
	ID, Zone, Type, Image string
	State                 string
	Change                Change `json:",omitzero"`
	Launched              time.Time
	Number                int               // counts all instances from 0; addresses are made from it
	HiddenDevices         []string          `json:",omitzero"` // taken by the AMI, shown nowhere
	InvalidDevices        []string          `json:",omitzero"` // refused by the AMI
	AttachLimit           int               `json:",omitzero"` // overrides the type's own
	Interfaces            int               // network interfaces
	IMDS                  string            `json:",omitzero"` // address of its metadata service
	Token, TokenRequest   string            `json:",omitzero"`
	Tags                  map[string]string `json:",omitzero"`
}

func (i *Instance) key() string     { return i.ID }
func (i *Instance) next() time.Time { return earliest(time.Time{}, i.Change) }

// Due says whether the instance is to change by now.
func (i *Instance) Due(now time.Time) bool { return i.Change.due(now) }

func (i *Instance) clone() *Instance {
	c := *i
	c.Tags, c.HiddenDevices, c.InvalidDevices = maps.Clone(i.Tags), slices.Clone(i.HiddenDevices), slices.Clone(i.InvalidDevices)
	return &c
}

// Key is a KMS key.
type Key struct {
	ID, ARN, Description, State string
	AWSManaged                  bool `json:",omitzero"`
	Created                     time.Time
	Deletion                    time.Time `json:",omitzero"`
	Denied                      bool      `json:",omitzero"` // its policy refuses EC2's use of it
	Aliases                     []string  `json:",omitzero"`
}

func (k *Key) key() string     { return k.ID }
func (k *Key) next() time.Time { return time.Time{} }

func (k *Key) clone() *Key {
	c := *k
	c.Aliases = slices.Clone(k.Aliases)
	return &c
}

func earliest(at time.Time, c Change) time.Time {
	if c.To == "" || !at.IsZero() && at.Before(c.At) {
		return at
	}
	return c.At
}

// Bucket is what the S3 server behind the emulator does not keep of a bucket.
// The configurations are the XML that was put.
type Bucket struct {
	Name    string
	Owner   string // account id; another's is a bucket of which only the name is known
	Created time.Time

	Encryption   string `json:",omitzero"`
	PublicAccess string `json:",omitzero"`
	Lifecycle    string `json:",omitzero"`
}

func (b *Bucket) key() string     { return b.Name }
func (b *Bucket) next() time.Time { return time.Time{} }
func (b *Bucket) clone() *Bucket  { c := *b; return &c }
