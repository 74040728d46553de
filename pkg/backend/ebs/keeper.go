package ebs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Keeper does for an operator what neither Kubernetes nor BOSH does by itself: it tells who holds a disk, and moves it.
type Keeper struct{ *Backend }

// NewKeeper makes a Keeper.
func NewKeeper(api API) Keeper { return Keeper{New(api, Options{})} }

// Record is a disk or a snapshot as an operator wants to see it.
type Record struct {
	ID, State, Zone, Type string
	GiB                   int64
	Holder, Layout        string
	On                    string // the instances that it is attached to
	Created               time.Time
	Why                   string // why it is listed
}

func record(v ec2.Volume, why string) Record {
	who := v.Tags[TagHolder]
	if who == "" && heldByKubernetes(v.Tags) != "" {
		who = "kubernetes (" + v.Tags[TagVolumeName] + ")"
	}
	return Record{
		ID: v.ID, State: v.State, Zone: v.Zone, Type: v.Type, GiB: v.SizeGiB, Holder: who, Layout: v.Tags[TagLayout],
		On: describeAttachments(v.Attachments), Created: v.Created, Why: why,
	}
}

// lacksRoom says which tag of ours a disk has no room for, or "".
func lacksRoom(v ec2.Volume) string {
	for _, key := range []string{TagLayout, TagHolder} {
		if n := tagCount(v.Tags); v.Tags[key] == "" && n >= maxTags && heldByKubernetes(v.Tags) == "" {
			return fmt.Sprintf("%d tags: no room for %s", n, key)
		}
	}
	return ""
}

// Volumes lists the disks that somebody holds, whose layout is known, or that have no room for either tag; all lists every
// one of the region.
func (k Keeper) Volumes(ctx context.Context, all bool) ([]Record, error) {
	var list []Record
	for token := ""; ; {
		page, next, err := k.api.VolumePage(ctx, token)
		if err != nil {
			return nil, fault.Wrap("list volumes", "", err)
		}
		for _, v := range page {
			if r := record(v, lacksRoom(v)); all || r.Holder != "" || r.Layout != "" || r.Why != "" {
				list = append(list, r)
			}
		}
		if next == "" {
			slices.SortFunc(list, func(a, b Record) int { return cmp.Or(cmp.Compare(a.Holder, b.Holder), cmp.Compare(a.ID, b.ID)) })
			return list, nil
		}
		token = next
	}
}

// Orphans lists what a process that was killed may have left, and disks that BOSH never attached.
func (k Keeper) Orphans(ctx context.Context) ([]Record, error) {
	const op = "list orphans"
	unconfirmed, err := k.api.VolumesTagged(ctx, TagUnconfirmed, "true")
	if err != nil {
		return nil, fault.Wrap(op, "", err)
	}
	blank, err := k.api.VolumesTagged(ctx, TagLayout, layoutBlank)
	if err != nil {
		return nil, fault.Wrap(op, "", err)
	}
	snapshots, err := k.api.SnapshotsTagged(ctx, TagUnconfirmed, "true")
	if err != nil {
		return nil, fault.Wrap(op, "", err)
	}
	var list []Record
	for _, v := range unconfirmed {
		if v.State != ec2.StateDeleting {
			list = append(list, record(v, "unconfirmed: create_disk did not answer"))
		}
	}
	for _, v := range blank {
		if !isUnconfirmed(v.Tags) && v.State == ec2.StateAvailable && strings.HasPrefix(v.Tags[TagHolder], HolderBosh) {
			list = append(list, record(v, "never attached"))
		}
	}
	for _, s := range snapshots {
		list = append(list, Record{ID: s.ID, State: s.State, GiB: s.SizeGiB, Layout: s.Tags[TagLayout], Created: s.Started, Why: "unconfirmed: snapshot_disk did not answer"})
	}
	slices.SortFunc(list, func(a, b Record) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// KubernetesOrphans lists the volumes that were made for claims of a cluster before an instant, and that no PersistentVolume
// names: a claim was deleted while the answer to its CreateVolume was lost, or its volume was retained. named returns the
// handles of all PersistentVolumes; it is called after EC2 was read, so that a volume that gets one meanwhile is not listed.
func (k Keeper) KubernetesOrphans(ctx context.Context, cluster string, before time.Time, named func(context.Context) ([]string, error)) ([]Record, error) {
	const op = "list orphans"
	if cluster == "" {
		return nil, fault.New(fault.Invalid, op, "", "the cluster's id must be given")
	}
	made, err := k.api.VolumesTagged(ctx, TagCluster, cluster)
	if err != nil {
		return nil, fault.Wrap(op, "", err)
	}
	handles, err := named(ctx)
	if err != nil {
		return nil, fault.Wrap(op, "", err)
	}
	known := map[string]bool{}
	for _, handle := range handles {
		known[path.Base(handle)] = true // also of aws://ZONE/VOLUME, of the time before CSI
	}
	var list []Record
	for _, v := range made {
		forClaim := slices.ContainsFunc(slices.Collect(maps.Keys(v.Tags)), isCSITag)
		if !forClaim || known[v.ID] || v.Tags[TagAdopted] != "" || v.State == ec2.StateDeleting || !v.Created.Before(before) || v.Tags[TagCluster] != cluster {
			continue
		}
		claim := strings.Trim(v.Tags[tagClaimNamespace]+"/"+v.Tags[tagClaim], "/")
		list = append(list, record(v, "no PersistentVolume has it; made for claim "+cmp.Or(claim, v.Tags[TagVolumeName])))
	}
	slices.SortFunc(list, func(a, b Record) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// Tags that name the claim that a volume was made for.
const (
	tagClaim          = "kubernetes.io/created-for/pvc/name"
	tagClaimNamespace = "kubernetes.io/created-for/pvc/namespace"
)

var holderForm = regexp.MustCompile(`^(bosh:[A-Za-z0-9._-]+|kubernetes:[A-Za-z0-9._-]+/[A-Za-z0-9._-]+)$`)

// maxHolder is the longest holder in bytes: EC2's limit for the value of a tag.
const maxHolder = 256

const (
	opAdoptDisk = "adopt disk"
	opRelease   = "release disk"
	opConvert   = "convert disk"
)

// Adopt gives a disk to a holder. What the other world holds is released there first.
func (k Keeper) Adopt(ctx context.Context, id, holder string) error {
	if len(holder) > maxHolder || !holderForm.MatchString(holder) {
		return fault.New(fault.Invalid, opAdoptDisk, id, "holder %q is neither bosh:DIRECTOR-UUID nor kubernetes:CLUSTER/PV", holder)
	}
	v, err := k.free(ctx, opAdoptDisk, id)
	if err != nil {
		return err
	}
	toBosh := strings.HasPrefix(holder, HolderBosh)
	if who := heldByKubernetes(v.Tags); toBosh && who != "" || !toBosh && strings.HasPrefix(v.Tags[TagHolder], HolderBosh) {
		return fault.New(fault.InUse, opAdoptDisk, id, "the disk is %s; release it first: diskbridge release %s", cmp.Or(who, "held by "+v.Tags[TagHolder]), id)
	}
	return k.setTags(ctx, opAdoptDisk, v.ID, map[string]string{TagHolder: holder})
}

// Release takes a disk from its holder, so that the other world may use it. What it carries does not change.
func (k Keeper) Release(ctx context.Context, id string) error {
	v, err := k.free(ctx, opRelease, id)
	if err != nil {
		return err
	}
	var gone []string
	for _, key := range slices.Sorted(maps.Keys(v.Tags)) {
		if key == TagHolder || key == TagCluster || key == TagAdopted || isCSITag(key) {
			gone = append(gone, key)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return fault.Wrap(opRelease, v.ID, k.api.DeleteTags(ctx, v.ID, gone))
}

// Convert records that a disk has BOSH's layout, where nobody knew what it carries. It writes nothing to the disk.
func (k Keeper) Convert(ctx context.Context, id, layout string) error {
	v, err := k.free(ctx, opConvert, id)
	if err != nil {
		return err
	}
	is := v.Tags[TagLayout]
	switch {
	case layout != string(volume.LayoutBosh):
		return fault.New(fault.Invalid, opConvert, id, "layout %q cannot be set; only %s", layout, volume.LayoutBosh)
	case is == layoutRaw || is == layoutBlank:
		return fault.New(fault.InUse, opConvert, id, "the disk is known as %s, which a tag does not change. Copy its files onto a claim whose StorageClass says layout: bosh", is)
	}
	return k.setTags(ctx, opConvert, v.ID, map[string]string{TagLayout: layout})
}

// free reads a disk that is attached nowhere.
func (k Keeper) free(ctx context.Context, op, id string) (ec2.Volume, error) {
	v, err := k.volume(ctx, op, id)
	if err == nil && len(v.Attachments) > 0 {
		err = fault.New(fault.InUse, op, id, "the disk is attached to %s; detach it first", describeAttachments(v.Attachments))
	}
	return v, err
}

// String is the record in one line.
func (r Record) String() string {
	dash := func(s string) string { return cmp.Or(s, "-") }
	last := cmp.Or(r.On, r.Why)
	if r.On != "" && r.Why != "" {
		last = r.On + "; " + r.Why
	}
	return fmt.Sprintf("%-22s %-10s %6d GiB  %-8s %-7s  %-28s %s", r.ID, r.State, r.GiB, dash(r.Type), dash(r.Layout), dash(r.Holder), dash(last))
}
