package store

import (
	"maps"
	"slices"
	"time"
)

// Updating is a state that only EFS has.
const Updating = "updating"

// FileSystem is an EFS file system.
type FileSystem struct {
	ID, Token        string
	State            string
	Change           Change `json:",omitzero"`
	Created          time.Time
	PerformanceMode  string
	ThroughputMode   string
	ProvisionedMiBs  float64           `json:",omitzero"`
	ThroughputSlowed time.Time         `json:",omitzero"` // when the mode changed or the provisioned throughput fell
	Encrypted        bool              `json:",omitzero"`
	KMSKey           string            `json:",omitzero"` // ARN
	Zone             string            `json:",omitzero"` // of a One Zone file system
	Backup           string            `json:",omitzero"` // empty: no policy was ever put
	Lifecycle        []Transition      `json:",omitzero"`
	Tags             map[string]string `json:",omitzero"`
}

// Transition is one lifecycle policy; one of its fields is set.
type Transition struct {
	IA      string `json:"TransitionToIA,omitempty"`
	Primary string `json:"TransitionToPrimaryStorageClass,omitempty"`
	Archive string `json:"TransitionToArchive,omitempty"`
}

func (f *FileSystem) key() string     { return f.ID }
func (f *FileSystem) next() time.Time { return earliest(time.Time{}, f.Change) }

func (f *FileSystem) clone() *FileSystem {
	c := *f
	c.Tags, c.Lifecycle = maps.Clone(f.Tags), slices.Clone(f.Lifecycle)
	return &c
}

// MountTarget is an EFS mount target with its network interface.
type MountTarget struct {
	ID, FileSystem       string
	State                string
	Change               Change `json:",omitzero"`
	Subnet, Zone, VPC    string
	IP, NetworkInterface string
	SecurityGroups       []string
	Created              time.Time
}

func (m *MountTarget) key() string     { return m.ID }
func (m *MountTarget) next() time.Time { return earliest(time.Time{}, m.Change) }

func (m *MountTarget) clone() *MountTarget {
	c := *m
	c.SecurityGroups = slices.Clone(m.SecurityGroups)
	return &c
}

// AccessPoint is an EFS access point.
type AccessPoint struct {
	ID, FileSystem, Token string
	State                 string
	Change                Change     `json:",omitzero"`
	User                  *PosixUser `json:",omitzero"`
	Root                  RootDirectory
	Tags                  map[string]string `json:",omitzero"`
}

// PosixUser is as whom an access point's clients act.
type PosixUser struct {
	UID           int64   `json:"Uid"`
	GID           int64   `json:"Gid"`
	SecondaryGIDs []int64 `json:"SecondaryGids,omitempty"`
}

// RootDirectory is what an access point's clients see as the root.
type RootDirectory struct {
	Path         string        `json:"Path"`
	CreationInfo *CreationInfo `json:"CreationInfo,omitempty"`
}

// CreationInfo is whose a root directory becomes that does not exist.
type CreationInfo struct {
	OwnerUID    int64  `json:"OwnerUid"`
	OwnerGID    int64  `json:"OwnerGid"`
	Permissions string `json:"Permissions"`
}

func (a *AccessPoint) key() string     { return a.ID }
func (a *AccessPoint) next() time.Time { return earliest(time.Time{}, a.Change) }

func (a *AccessPoint) clone() *AccessPoint {
	c := *a
	c.Tags = maps.Clone(a.Tags)
	return &c
}

// Subnet is a subnet of a VPC.
type Subnet struct {
	ID, VPC, Zone, CIDR string
	Default             bool              `json:",omitzero"`
	Tags                map[string]string `json:",omitzero"`
}

func (s *Subnet) key() string     { return s.ID }
func (s *Subnet) next() time.Time { return time.Time{} }

func (s *Subnet) clone() *Subnet {
	c := *s
	c.Tags = maps.Clone(s.Tags)
	return &c
}

// SecurityGroup is a security group of a VPC.
type SecurityGroup struct {
	ID, VPC, Name, Description string
	Rules                      []Rule            `json:",omitzero"` // what it lets in
	Tags                       map[string]string `json:",omitzero"`
}

// Rule lets something in.
type Rule struct {
	Protocol string // tcp, udp, icmp or -1 for all
	From, To int
	CIDRs    []string `json:",omitzero"`
	Groups   []string `json:",omitzero"`
}

func (g *SecurityGroup) key() string     { return g.ID }
func (g *SecurityGroup) next() time.Time { return time.Time{} }

func (g *SecurityGroup) clone() *SecurityGroup {
	c := *g
	c.Rules, c.Tags = slices.Clone(g.Rules), maps.Clone(g.Tags)
	return &c
}
