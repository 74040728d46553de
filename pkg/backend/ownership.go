package backend

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tags by which diskbridge finds its own. Truth about who made and who uses a resource
// is nowhere else.
const (
	TagCluster = "diskbridge.io/cluster" // the cluster id that may delete
	TagHolder  = "diskbridge.io/holder"  // bosh:<director uuid> or kubernetes:<cluster>/<pv>
	TagAdopted = "diskbridge.io/adopted" // "external": used by us, never deleted by us
	// TagVolumeName carries the CSI name, under the EBS CSI driver's own key, so that
	// volumes can move to it and back.
	TagVolumeName = "CSIVolumeName"
	// TagSnapshotName is the same for snapshots.
	TagSnapshotName = "CSIVolumeSnapshotName"
)

// TagParameter is the prefix of the parameters that tag what is made.
const TagParameter = "tagSpecification"

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

// NewTags are what a new resource is tagged with: the operator's tags, over them the
// StorageClass's, over them our own. nameKey is the tag of its name; standsIn says that
// the driver serves under another driver's name.
func (o Owner) NewTags(values Values, nameKey, name string, standsIn bool) (map[string]string, error) {
	tags := maps.Clone(o.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	asked, err := o.UserTags(values)
	if err != nil {
		return nil, err
	}
	maps.Copy(tags, asked)
	for key, to := range createdFor {
		if values[key] != "" {
			tags[to] = values[key]
		}
	}
	tags[nameKey] = name
	tags[TagCluster] = o.Cluster
	if standsIn {
		tags[o.Driver+"/cluster"] = "true"
	}
	return tags, nil
}

// UserTags are those of tagSpecification parameters, placeholders filled in.
func (o Owner) UserTags(values Values) (map[string]string, error) {
	tags, from := map[string]string{}, map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		if !strings.HasPrefix(key, TagParameter) {
			continue
		}
		k, text, ok := strings.Cut(value, "=")
		if !ok {
			return nil, fmt.Errorf("parameter %q: %q is not of the form key=value", key, value)
		}
		v, err := values.Expand(text)
		if err == nil {
			err = o.CheckTag(k, v)
		}
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", key, err)
		}
		if other, twice := from[k]; twice {
			return nil, fmt.Errorf("parameters %q and %q both set the tag %q; give one", other, key, k)
		}
		tags[k], from[k] = v, key
	}
	return tags, nil
}

// CheckTag refuses tags that AWS does not take and those that mean something to us
// or to Kubernetes. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
func (o Owner) CheckTag(key, value string) error {
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
		strings.HasPrefix(key, o.Driver+"/"):
		return fmt.Errorf("tag %q is reserved; choose another key", key)
	}
	return nil
}

// Verdict says what Delete may do with a resource: one of its fields is set.
type Verdict struct {
	Delete bool
	Keep   string // why it is kept although Delete succeeds
	Refuse string // why Delete fails
}

// Judge decides by tags whether a resource may be deleted by us. We delete only
// what we made or took over, and nobody deletes what the other world holds.
func (o Owner) Judge(nameKey string, tags map[string]string, standsIn bool) Verdict {
	holder := tags[TagHolder]
	switch {
	case strings.HasPrefix(holder, "bosh:"):
		return Verdict{Keep: "it is held by " + holder}
	case holder != "" && !strings.HasPrefix(holder, "kubernetes:"+o.Cluster+"/"):
		return Verdict{Refuse: "it is held by " + holder + "; release it there first"}
	case tags[TagAdopted] == "external":
		return Verdict{Keep: "it was adopted as external and stays"}
	case tags[TagCluster] == o.Cluster:
		return Verdict{Delete: true}
	case tags[TagCluster] != "":
		return Verdict{Refuse: fmt.Sprintf("it belongs to cluster %q, we are %q", tags[TagCluster], o.Cluster)}
	case standsIn && tags[nameKey] != "" && tags[o.Driver+"/cluster"] == "true":
		return Verdict{Delete: true}
	default:
		return Verdict{Refuse: "it carries no tag that says that we made it"}
	}
}
