package ebs

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Tags by which diskbridge finds its own. Truth about ownership, holder and layout
// is nowhere else.
const (
	TagCluster = "diskbridge.io/cluster" // the cluster id that may delete
	TagHolder  = "diskbridge.io/holder"  // bosh:<director uuid> or kubernetes:<cluster>/<pv>
	TagLayout  = "diskbridge.io/layout"  // blank, bosh, raw or unknown
	TagAdopted = "diskbridge.io/adopted" // "external": used by us, never deleted by us
	// TagVolumeName and TagSnapshotName carry the CSI name, under the EBS CSI driver's
	// own keys, so that volumes can move to it and back.
	TagVolumeName   = "CSIVolumeName"
	TagSnapshotName = "CSIVolumeSnapshotName"
)

// Layouts: what stands on a disk.
const (
	layoutBlank   = "blank"
	layoutRaw     = "raw"
	layoutUnknown = "unknown"
)

// createdFor maps what Kubernetes' provisioner tells (--extra-create-metadata) to
// the tags that the EBS CSI driver writes for it.
var createdFor = map[string]string{
	"csi.storage.k8s.io/pvc/name":                       "kubernetes.io/created-for/pvc/name",
	"csi.storage.k8s.io/pvc/namespace":                  "kubernetes.io/created-for/pvc/namespace",
	"csi.storage.k8s.io/pv/name":                        "kubernetes.io/created-for/pv/name",
	"csi.storage.k8s.io/volumesnapshot/name":            "kubernetes.io/created-for/volumesnapshot/name",
	"csi.storage.k8s.io/volumesnapshot/namespace":       "kubernetes.io/created-for/volumesnapshot/namespace",
	"csi.storage.k8s.io/volumesnapshotcontent/name":     "kubernetes.io/created-for/volumesnapshotcontent/name",
	"csi.storage.k8s.io/volumegroupsnapshot/name":       "kubernetes.io/created-for/volumegroupsnapshot/name",
	"csi.storage.k8s.io/volumegroupsnapshotcontent":     "kubernetes.io/created-for/volumegroupsnapshotcontent",
	"csi.storage.k8s.io/volumegroupsnapshotclass/class": "kubernetes.io/created-for/volumegroupsnapshotclass",
}

// tags returns what a new resource is tagged with: the operator's tags, over them
// the StorageClass's, over them our own.
func (b *Backend) tags(values backend.Values, nameKey, name, layout string) (map[string]string, error) {
	tags := maps.Clone(b.opts.Owner.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	asked, err := b.userTags(values)
	if err != nil {
		return nil, err
	}
	maps.Copy(tags, asked)
	maps.Copy(tags, b.ratioTags(values))
	for key, to := range createdFor {
		if values[key] != "" {
			tags[to] = values[key]
		}
	}
	tags[nameKey] = name
	tags[TagCluster] = b.opts.Owner.Cluster
	tags[TagLayout] = layout
	if b.standsIn() {
		tags[b.opts.Owner.Driver+"/cluster"] = "true"
	}
	return tags, nil
}

// setTags tags a volume, also one that EC2 does not know everywhere yet.
func (b *Backend) setTags(ctx context.Context, op, id string, tags map[string]string) error {
	_, err := untilKnown(ctx, op, func(ctx context.Context) error { return b.api.CreateTags(ctx, id, tags) }, b.aVolume(id))
	return fault.Wrap(op, id, err)
}

// userTags are those of tagSpecification parameters, placeholders filled in.
func (b *Backend) userTags(values backend.Values) (map[string]string, error) {
	tags := map[string]string{}
	for key, value := range values {
		if !strings.HasPrefix(key, keyTag) {
			continue
		}
		k, text, ok := strings.Cut(value, "=")
		if !ok {
			return nil, fmt.Errorf("parameter %q: %q is not of the form key=value", key, value)
		}
		v, err := expand(text, values)
		if err == nil {
			err = CheckTag(k, v, b.opts.Owner.Driver)
		}
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", key, err)
		}
		tags[k] = v
	}
	return tags, nil
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

// CheckTag refuses tags that EC2 does not take and those that mean something to us
// or to Kubernetes. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
func CheckTag(key, value, driver string) error {
	switch {
	case key == "" || utf8.RuneCountInString(key) > 128:
		return fmt.Errorf("a tag key has 1 to 128 characters, %q has %d", key, utf8.RuneCountInString(key))
	case utf8.RuneCountInString(value) > 256:
		return fmt.Errorf("the value of tag %q has more than 256 characters", key)
	case !utf8.ValidString(key) || !utf8.ValidString(value):
		return fmt.Errorf("tag %q is not valid UTF-8", key)
	case key == TagVolumeName || key == TagSnapshotName,
		strings.HasPrefix(strings.ToLower(key), "aws:"),
		strings.HasPrefix(key, "kubernetes.io"),
		strings.HasPrefix(key, "diskbridge.io/"),
		strings.HasPrefix(key, driver+"/"):
		return fmt.Errorf("tag %q is reserved; choose another key", key)
	}
	return nil
}

// verdict says what Delete may do with a resource.
type verdict struct {
	delete bool
	keep   string // why it is kept although Delete succeeds
	refuse string // why Delete fails
}

// judge decides by tags whether a resource may be deleted by us. We delete only
// what we made or took over, and nobody deletes what the other world holds.
func (b *Backend) judge(nameKey string, tags map[string]string) verdict {
	holder := tags[TagHolder]
	switch {
	case strings.HasPrefix(holder, "bosh:"):
		return verdict{keep: "it is held by " + holder}
	case holder != "" && !strings.HasPrefix(holder, "kubernetes:"+b.opts.Owner.Cluster+"/"):
		return verdict{refuse: "it is held by " + holder + "; release it there first"}
	case tags[TagAdopted] == "external":
		return verdict{keep: "it was adopted as external and stays"}
	case tags[TagCluster] == b.opts.Owner.Cluster:
		return verdict{delete: true}
	case tags[TagCluster] != "":
		return verdict{refuse: fmt.Sprintf("it belongs to cluster %q, we are %q", tags[TagCluster], b.opts.Owner.Cluster)}
	case b.standsIn() && tags[nameKey] != "" && tags[b.opts.Owner.Driver+"/cluster"] == "true":
		return verdict{delete: true}
	default:
		return verdict{refuse: "it carries no tag that says that we made it"}
	}
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
