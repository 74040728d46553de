package volume

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// BlockPlan is what a node does to make a block device usable. It is a pure
// function of handle, volume context and capability, so it needs no cloud.
type BlockPlan struct {
	Handle    string
	Serial    string // NVMe serial number that the device must carry
	Raw       bool   // hand out the device itself, no file system
	FSType    string // ext4, xfs or btrfs; empty if Raw
	Layout    Layout // raw, bosh or unknown (as found, never formatted); empty if Raw
	Options   MountOptions
	Format    Format // how a new file system is made
	MayFormat bool   // an empty device may get a file system
	Source    string // snapshot or volume whose data it carries: only such a copy may get another file system id; may be empty
	ReadOnly  bool   // users write nothing: no format, no check, no growth; mounting it replays its journal
	Clean     bool   // with ReadOnly: no byte changes, so that only what has no journal to replay is mounted; several nodes read it
	OneTarget bool   // published at one path at a time (SINGLE_NODE_SINGLE_WRITER)
}

// Supported file systems of a BlockPlan.
const (
	Ext4  = "ext4"
	XFS   = "xfs"
	Btrfs = "btrfs"
)

// FSTypes lists the file systems that a BlockPlan can ask for.
func FSTypes() []string { return []string{Ext4, XFS, Btrfs} }

// NewBlockPlan makes the plan for an EBS handle. context is the volume context;
// defaultFSType is used where the capability names none. The mount option "ro"
// makes the plan read-only. The error names the field that is wrong.
func NewBlockPlan(handle string, context map[string]string, c Capability, defaultFSType string) (BlockPlan, error) {
	h, err := ParseHandle(handle)
	if err != nil {
		return BlockPlan{}, err
	}
	if h.Kind != EBS {
		return BlockPlan{}, fmt.Errorf("handle %q names an %s volume; this driver serves EBS volumes (vol-…)", handle, h.Kind)
	}
	p := BlockPlan{
		Handle:    h.Root,
		Serial:    strings.ReplaceAll(h.Root, "-", ""),
		Raw:       c.Block,
		ReadOnly:  c.Mode.ReadOnly(),
		OneTarget: c.Mode == SingleNodeSingleWriter,
	}
	if context, err = ReadContext(EBS, context); err != nil {
		return BlockPlan{}, err
	}
	if c.Block {
		if _, err := FormatContext([]Capability{c}, context); err != nil {
			return BlockPlan{}, fmt.Errorf("volume context: %w", err)
		}
		return p, nil
	}
	return p.withFileSystem(context, c, defaultFSType)
}

// withFileSystem completes the plan of a volume that is mounted.
func (p BlockPlan) withFileSystem(context map[string]string, c Capability, defaultFSType string) (_ BlockPlan, err error) {
	if c.Mode.MultiNode() && !p.ReadOnly {
		return BlockPlan{}, fmt.Errorf("access mode %s needs a raw block volume: ext4, xfs and btrfs are destroyed by a second node", c.Mode)
	}
	p.FSType = strings.ToLower(c.FSType)
	if p.FSType == "" {
		p.FSType = defaultFSType
	}
	if !slices.Contains(FSTypes(), p.FSType) {
		return BlockPlan{}, fmt.Errorf("file system %q is not supported; use one of %s", p.FSType, strings.Join(FSTypes(), ", "))
	}
	if p.Options, err = ParseMountOptions(p.FSType, c.MountFlags); err != nil {
		return BlockPlan{}, err
	}
	p.ReadOnly = p.ReadOnly || p.Options.Has("ro")
	p.Clean = p.ReadOnly && (c.Mode.MultiNode() || p.Options.Has("noload") || p.Options.Has("norecovery"))
	p.Source = context[ContextSource]
	madeEmpty := mayFormat(context)
	if p.Layout, err = layoutOf(context, madeEmpty); err != nil {
		return BlockPlan{}, err
	}
	if err := p.Layout.Supports(Capability{FSType: p.FSType}); err != nil {
		return BlockPlan{}, err
	}
	if p.Format, err = ParseFormatOptions(p.FSType, context); err != nil {
		return BlockPlan{}, fmt.Errorf("volume context: %w", err)
	}
	p.MayFormat = madeEmpty && !p.ReadOnly && p.Layout != LayoutUnknown
	return p, nil
}

// withSource is the volume context with the source that only the controller has found out.
func withSource(context, publish map[string]string) map[string]string {
	if context[ContextSource] != "" || publish[ContextSource] == "" {
		return context
	}
	out := maps.Clone(context)
	if out == nil {
		out = map[string]string{}
	}
	out[ContextSource] = publish[ContextSource]
	return out
}

// mayFormat is true for what was made empty for its claim: our own word in the
// volume context decides; without it, a volume that a provisioner made and that
// has no source counts as made empty. Hand-written volumes never do.
func mayFormat(context map[string]string) bool {
	if v, ok := context[ContextMayFormat]; ok {
		return v == "true" && context[ContextSource] == ""
	}
	return context[ContextProvisioner] != "" && context[ContextSource] == ""
}
