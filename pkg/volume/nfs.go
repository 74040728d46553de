package volume

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
)

// Volume context keys of EFS volumes. The names without a domain are the EFS CSI
// driver's and are understood in hand-written volumes too.
const (
	ContextTLS     = "encryptInTransit"      // "true": through a TLS tunnel
	ContextAddress = "mounttargetip"         // of a hand-written volume: which mount target to use
	ContextUID     = "diskbridge.io/uid"     // owner of the directory, or of a new file system's root
	ContextGID     = "diskbridge.io/gid"     // its group
	ContextPerms   = "diskbridge.io/perms"   // its mode, in octal
	ContextCluster = "diskbridge.io/cluster" // who made the directory
	ContextName    = "diskbridge.io/pv-name" // for which volume
)

// PublishAddress is the publish context key of the IP address of the mount target in the node's zone.
const PublishAddress = "diskbridge.io/mount-target-ip"

// NFSPort is where every mount target serves NFS.
const NFSPort = 2049

// NFSPlan is what a node does to mount an EFS file system, or a directory of one. It
// is a pure function of handle, volume context, publish context and capability.
type NFSPlan struct {
	Handle      string
	FileSystem  string // fs-…
	Directory   string // what is mounted: "/" or "/dir"
	AccessPoint string // fsap-…: only through mount.efs, which needs TLS
	Address     string // IP address, or the DNS name where nobody told one
	Port        uint16
	Options     MountOptions // all of them: EFS's recommended ones with the user's over them
	TLS         bool
	ReadOnly    bool
	OneTarget   bool // published at one path at a time (SINGLE_NODE_SINGLE_WRITER)
	// Root is whose the root of a file system becomes that was made for this volume,
	// as long as it is as EFS makes it: empty, root:root 0755. Otherwise nil.
	Root *Owner
	// Create is the directory to make before it is mounted, with its marker;
	// nil where it must be there already.
	Create *Directory
}

// Plan is what a node does with a volume: a BlockPlan, an NFSPlan or an ObjectPlan.
type Plan interface{ handle() string }

func (p BlockPlan) handle() string { return p.Handle }
func (p NFSPlan) handle() string   { return p.Handle }

var (
	_ Plan = BlockPlan{}
	_ Plan = NFSPlan{}
)

// PlanRequest is what a plan is made of. Context is the volume context, Publish the
// publish context, FSType the file system where the capability names none, Region
// the AWS region, for DNS names.
type PlanRequest struct {
	Handle     string
	Context    map[string]string
	Publish    map[string]string
	Capability Capability
	FSType     string
	Region     string
}

// NewPlan makes the plan for a handle of any kind. The error names the field that is wrong.
func NewPlan(r PlanRequest) (Plan, error) {
	h, err := ParseHandle(r.Handle)
	if err != nil {
		return nil, err
	}
	switch h.Kind {
	case EBS:
		return NewBlockPlan(r.Handle, withSource(r.Context, r.Publish), r.Capability, r.FSType)
	case EFS:
		return NewNFSPlan(r)
	default:
		return NewObjectPlan(r)
	}
}

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// NewNFSPlan makes the plan for an EFS handle. A handle of a directory that was made
// for a claim is only taken with the volume context that belongs to it.
func NewNFSPlan(r PlanRequest) (NFSPlan, error) {
	h, err := ParseHandle(r.Handle)
	if err != nil {
		return NFSPlan{}, err
	}
	if h.Kind != EFS {
		return NFSPlan{}, fmt.Errorf("handle %q names an %s volume; this driver serves EFS file systems (fs-…)", r.Handle, h.Kind)
	}
	c := r.Capability
	if c.Block {
		return NFSPlan{}, fmt.Errorf("an EFS file system is no raw block device; use volumeMode: Filesystem")
	}
	if c.FSType != "" && !slices.Contains([]string{NFS4, "nfs", "efs"}, c.FSType) {
		return NFSPlan{}, fmt.Errorf("file system %q does not fit EFS, which is always nfs4; leave it out", c.FSType)
	}
	p := NFSPlan{
		Handle: h.String(), FileSystem: h.Root, Directory: h.Path, AccessPoint: h.AccessPoint, Port: NFSPort,
		OneTarget: c.Mode == SingleNodeSingleWriter,
	}
	if p.Directory == "" {
		p.Directory = "/"
	}
	if InReserved(p.Directory) {
		return NFSPlan{}, fmt.Errorf("handle %q: %s is where diskbridge keeps its markers; no volume lies there", r.Handle, Reserved)
	}
	if r.Context, err = ReadContext(EFS, r.Context); err != nil {
		return NFSPlan{}, err
	}
	if p.Address, err = address(h.Root, r); err != nil {
		return NFSPlan{}, err
	}
	return p.complete(h, r)
}

// complete adds options, encryption and what the node makes.
func (p NFSPlan) complete(h Handle, r PlanRequest) (NFSPlan, error) {
	o, err := parseNFSOptions(r.Capability.MountFlags)
	if err != nil {
		return NFSPlan{}, err
	}
	p.Options = o.options
	p.ReadOnly = r.Capability.Mode.ReadOnly() || p.Options.Has("ro")
	if o.accessPoint != "" {
		if p.AccessPoint != "" && p.AccessPoint != o.accessPoint {
			return NFSPlan{}, fmt.Errorf("mount option accesspoint=%s contradicts the handle's %s", o.accessPoint, p.AccessPoint)
		}
		p.AccessPoint = o.accessPoint
	}
	p.TLS = o.tls || p.AccessPoint != ""
	if text := r.Context[ContextTLS]; text != "" {
		on, err := strconv.ParseBool(text)
		switch {
		case err != nil:
			return NFSPlan{}, fmt.Errorf("volume context %s: %.40q is not true or false", ContextTLS, text)
		case !on && p.AccessPoint != "":
			return NFSPlan{}, fmt.Errorf("volume context %s=false: an access point is only reached through TLS", ContextTLS)
		}
		p.TLS = p.TLS || on
	}
	if err := p.made(h, r.Context); err != nil {
		return NFSPlan{}, err
	}
	return p, nil
}

// made fills Root or Create from what the controller told.
func (p *NFSPlan) made(h Handle, context map[string]string) error {
	owner, told, err := ownerOf(context)
	switch {
	case err != nil:
		return err
	case h.Digest != "":
		d := Directory{Cluster: context[ContextCluster], Name: context[ContextName], Path: h.Path, OnDelete: h.OnDelete, Owner: owner}
		if d.Digest() != h.Digest {
			return fmt.Errorf("handle %q does not belong to this volume context: both are written by the controller and stay as they are; "+
				"for a directory that exists write the handle without #%s.%s", p.Handle, h.OnDelete, h.Digest)
		}
		p.Create = &d
	case told && h.Path == "" && h.AccessPoint == "":
		p.Root = &owner
	}
	return nil
}

// address chooses where to mount from.
func address(fileSystem string, r PlanRequest) (string, error) {
	for _, known := range []struct{ where, ip string }{
		{"publish context " + PublishAddress, r.Publish[PublishAddress]}, {"volume context " + ContextAddress, r.Context[ContextAddress]},
	} {
		if known.ip == "" {
			continue
		}
		if a, err := netip.ParseAddr(known.ip); err != nil || a.Zone() != "" {
			return "", fmt.Errorf("%s: %.60q is not an IP address", known.where, known.ip)
		}
		return known.ip, nil
	}
	name := EFSName(fileSystem, r.Region)
	if name == "" {
		return "", fmt.Errorf("no mount target's address was given and the region %q makes no DNS name; "+
			"let the controller publish the volume, write %s into the volume context, or set --region", r.Region, ContextAddress)
	}
	return name, nil
}

// EFSName is the DNS name of a file system, which its TLS certificate is for too; "" where region is none.
func EFSName(fileSystem, region string) string {
	if !regionName.MatchString(region) {
		return ""
	}
	return fileSystem + ".efs." + region + "." + dnsSuffix(region)
}

// Tunnel is a way to a mount target that is encrypted. ServerName is what its certificate must be for.
type Tunnel struct {
	FileSystem string `json:"fileSystem"`
	Address    string `json:"address"`
	Port       uint16 `json:"port"`
	ServerName string `json:"serverName"`
}

// dnsSuffix of a region's partition. https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-mount-cmd-dns-name.html
func dnsSuffix(region string) string {
	if len(region) > 3 && region[:3] == "cn-" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}
