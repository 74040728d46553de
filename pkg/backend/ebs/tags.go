package ebs

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Tags by which diskbridge finds its own; see pkg/backend. Truth about ownership,
// holder and layout is nowhere else.
const (
	TagCluster      = backend.TagCluster
	TagHolder       = backend.TagHolder
	TagLayout       = "diskbridge.io/layout" // blank, bosh, raw or unknown
	TagFormat       = "diskbridge.io/format" // the format options of the request that made it, or "default"
	TagAdopted      = backend.TagAdopted
	TagVolumeName   = backend.TagVolumeName
	TagSnapshotName = backend.TagSnapshotName
)

// Layouts: what stands on a disk.
const (
	layoutBlank   = "blank"
	layoutRaw     = "raw"
	layoutUnknown = "unknown"
)

// tags returns what a new resource is tagged with: the operator's tags, over them
// the StorageClass's, over them our own.
func (b *Backend) tags(values backend.Values, nameKey, name, layout string) (map[string]string, error) {
	tags, err := b.opts.Owner.NewTags(values, nameKey, name, b.standsIn())
	if err != nil {
		return nil, err
	}
	maps.Copy(tags, b.ratioTags(values))
	tags[TagLayout] = layout
	return tags, nil
}

// setTags tags a volume, also one that EC2 does not know everywhere yet.
func (b *Backend) setTags(ctx context.Context, op, id string, tags map[string]string) error {
	_, err := untilKnown(ctx, op, func(ctx context.Context) error { return b.api.CreateTags(ctx, id, tags) }, b.aVolume(id))
	return fault.Wrap(op, id, err)
}

// Tags below the driver's name that remember iopsPerGB for later growth; the EBS CSI
// driver's own.
const (
	tagRatio      = "/IOPSPerGb"
	tagAutoModify = "/AllowAutoIOPSIncreaseOnModify"
)

func (b *Backend) ratioTags(values backend.Values) map[string]string {
	tags := map[string]string{}
	if ratio := values[keyIOPSPerGB]; ratio != "" {
		tags[b.opts.Owner.Driver+tagRatio] = ratio
	}
	if auto := values[keyAutoModify]; auto != "" {
		tags[b.opts.Owner.Driver+tagAutoModify] = fmt.Sprint(values.Bool(keyAutoModify))
	}
	return tags
}

// rememberedRatio is the iopsPerGB that a volume keeps when it grows, 0 for none.
func (b *Backend) rememberedRatio(tags map[string]string) int64 {
	if tags[b.opts.Owner.Driver+tagAutoModify] != "true" {
		return 0
	}
	ratio, err := strconv.ParseInt(tags[b.opts.Owner.Driver+tagRatio], 10, 32)
	if err != nil {
		return 0 // a tag that someone else changed
	}
	return ratio
}

// standsIn reports whether we serve under another driver's name.
func (b *Backend) standsIn() bool { return b.opts.Owner.Driver != DefaultDriver }

// judge decides by tags whether a resource may be deleted by us.
func (b *Backend) judge(nameKey string, tags map[string]string) backend.Verdict {
	return b.opts.Owner.Judge(nameKey, tags, b.standsIn())
}

// claim is the command that would make a resource ours.
func (b *Backend) claim(id string) string {
	return fmt.Sprintf("aws ec2 create-tags --resources %s --tags Key=%s,Value=%s", id, TagCluster, b.opts.Owner.Cluster)
}

// heldByOther returns the holder of a volume that is not us, or "".
func (b *Backend) heldByOther(tags map[string]string) string {
	holder := tags[TagHolder]
	if holder == "" || strings.HasPrefix(holder, "kubernetes:"+b.opts.Owner.Cluster+"/") {
		return ""
	}
	return holder
}

// inheritedLayout is the layout of a disk whose data comes from elsewhere.
func inheritedLayout(tags map[string]string) string {
	if l := tags[TagLayout]; l != "" {
		return l
	}
	return layoutUnknown
}

// volumeContext tells the node what it may do with a new volume, and ourselves what
// to wait for before it is attached.
func volumeContext(source volume.Source, values backend.Values) map[string]string {
	context := map[string]string{volume.ContextMayFormat: "false"}
	switch {
	case source.Snapshot != "":
		context[volume.ContextSource] = source.Snapshot
	case source.Volume != "":
		context[volume.ContextSource] = source.Volume
	case values[keyExisting] == "":
		context[volume.ContextMayFormat] = "true"
	}
	if values.Bool(keyAwaitInit) {
		context[volume.ContextAwaitInitialized] = "true"
	}
	return context
}
