package ebs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Limits of EC2 for tags: how many a resource takes, AWS's own not counted, and the characters of keys and values, as the
// AWS CPI has them (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions).
const (
	maxTags     = 50
	maxTagKey   = 127
	maxTagValue = 255
)

// cut shortens a text to as many characters.
func cut(s string, most int) string {
	r := []rune(strings.ToValidUTF8(s, "?"))
	return string(r[:min(len(r), most)])
}

// fitted cuts tags to what EC2 takes; the notes say what was cut.
func fitted(tags map[string]string) (out map[string]string, notes []string) {
	out = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		k, v := cut(key, maxTagKey), cut(tags[key], maxTagValue)
		if k != key || v != tags[key] {
			notes = append(notes, fmt.Sprintf("tag %s is cut: EC2 takes %d characters of a key and %d of a value", k, maxTagKey, maxTagValue))
		}
		out[k] = v
	}
	return out, notes
}

// reserved says why a tag is not a user's to set, or "".
func reserved(key string) string {
	switch {
	case key == "":
		return "its key is empty"
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return "AWS keeps such keys for itself"
	case strings.HasPrefix(key, "diskbridge.io/"), key == TagSnapshotName, isCSITag(key):
		return "it says who holds a disk and what it carries"
	}
	return ""
}

// diskTags joins the operator's tags and the request's, which win.
func (d *Disks) diskTags(asked map[string]string) (tags map[string]string, notes []string, err error) {
	tags = map[string]string{}
	maps.Copy(tags, d.opts.Owner.Tags)
	maps.Copy(tags, asked)
	tags, notes = fitted(tags)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if why := reserved(key); why != "" {
			return nil, nil, fmt.Errorf("tag %q is reserved: %s; choose another key", key, why)
		}
	}
	return tags, notes, nil
}

// metadata are the tags that a Director's metadata becomes. What would change what is known about the disk is left out
// and noted.
func metadata(tags map[string]string) (set map[string]string, notes []string) {
	set, notes = fitted(tags)
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if why := reserved(key); why != "" {
			notes = append(notes, "tag "+key+" is left out: "+why)
			delete(set, key)
		}
	}
	return set, notes
}

const opTagDisk = "tag disk"

// TagDisk sets tags. What EC2 does not take, and what would change what we know about the disk, is left out and noted.
func (d *Disks) TagDisk(ctx context.Context, handle string, tags map[string]string) (notes []string, err error) {
	id, err := diskID(opTagDisk, handle)
	if err != nil {
		return nil, err
	}
	set, notes := metadata(tags)
	if len(set) == 0 {
		return notes, nil
	}
	if err = d.setTags(ctx, opTagDisk, id, set); !unfitTags(err) {
		return notes, err
	}
	for _, key := range byUse(set) { // the others may fit
		switch err := d.setTags(ctx, opTagDisk, id, map[string]string{key: set[key]}); {
		case unfitTags(err):
			notes = append(notes, "tag "+key+" is left out: "+err.Error())
		case err != nil:
			return notes, err
		}
	}
	return notes, nil
}

// unfitTags reports whether EC2 refused tags for what they are or how many there are: all of a request for any of them.
func unfitTags(err error) bool {
	return slices.Contains([]string{"TagLimitExceeded", "TagPolicyViolation", "InvalidParameterValue"}, fault.CodeOf(err))
}

// byUse sorts keys: those first by which it is known later that BOSH used the disk.
func byUse(tags map[string]string) []string {
	rank := func(key string) int {
		if isUseTag(key) {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(maps.Keys(tags), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
}

// isUseTag recognises what every Director writes onto a disk that it has attached.
func isUseTag(key string) bool { return key == "attached_at" || key == "instance_id" }

// usedByBosh reports whether a Director attached the disk, by whichever CPI.
func usedByBosh(v ec2.Volume) bool { return v.Tags["attached_at"] != "" && v.Tags["instance_id"] != "" }

// tagCount is how many of the tags count towards EC2's limit.
func tagCount(tags map[string]string) int {
	n := 0
	for key := range tags {
		if !strings.HasPrefix(key, "aws:") {
			n++
		}
	}
	return n
}

// mark says on a disk that BOSH uses it, before it is attached. A holder is never changed. Where only one tag has room, it
// is the layout: without it, the other side would not know what the disk carries.
func (d *Disks) mark(ctx context.Context, v ec2.Volume) (notes []string, err error) {
	layout, set := map[string]string{}, map[string]string{}
	if v.Tags[TagLayout] != string(volume.LayoutBosh) {
		layout[TagLayout] = string(volume.LayoutBosh)
	}
	maps.Copy(set, layout)
	if v.Tags[TagHolder] == "" {
		set[TagHolder] = d.holder()
	}
	if len(set) > 0 {
		err = d.setTags(ctx, opAttachDisk, v.ID, set)
	}
	if fault.CodeOf(err) == "TagLimitExceeded" {
		notes = []string{fmt.Sprintf("disk %s has no room for the tag %s=%s: EC2 takes %d", v.ID, TagHolder, d.holder(), maxTags)}
		if err = nil; len(layout) > 0 {
			err = d.setTags(ctx, opAttachDisk, v.ID, layout)
		}
	}
	if fault.CodeOf(err) == "TagLimitExceeded" {
		return nil, fullOfTags(v, err)
	}
	if err == nil && v.Tags[TagUnconfirmed] != "" {
		err = d.confirm(ctx, opAttachDisk, d.aVolume(v.ID))
	}
	return notes, err
}

// fullOfTags says which tag could make room for the one that a disk must have.
func fullOfTags(v ec2.Volume, err error) error {
	var own []string
	for _, key := range slices.Sorted(maps.Keys(v.Tags)) {
		if reserved(key) == "" && !isUseTag(key) {
			own = append(own, key)
		}
	}
	example := "KEY"
	if len(own) > 0 {
		example = own[0]
	}
	return &fault.Error{Op: opAttachDisk, Subject: v.ID, Kind: fault.Limit, Err: err, Message: fmt.Sprintf(
		"the disk has %d tags, the most that EC2 takes, and needs room for %s=%s; nothing was attached. Remove a tag that is not needed, such as: aws ec2 delete-tags --resources %s --tags 'Key=%s'",
		tagCount(v.Tags), TagLayout, volume.LayoutBosh, v.ID, example)}
}

// isUnconfirmed reports whether the caller that a disk or snapshot was made for may not have been told of it.
func isUnconfirmed(tags map[string]string) bool { return tags[TagUnconfirmed] == "true" }

// confirm takes the tag from a disk or snapshot that says that its caller was not told of it. Where EC2 does not delete
// the tag, it gets another value, so that no list of orphans has what is in use.
func (d *Disks) confirm(ctx context.Context, op string, of thing) error {
	err := end(ctx, op, of, func(ctx context.Context, id string) error { return d.api.DeleteTags(ctx, id, []string{TagUnconfirmed}) })
	if err == nil {
		return nil
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	again := end(ctx, op, of, func(ctx context.Context, id string) error {
		return d.api.CreateTags(ctx, id, map[string]string{TagUnconfirmed: "false"})
	})
	if again == nil {
		return nil
	}
	return fault.Wrap(op, of.id, fmt.Errorf("its tag %s cannot be taken away: %w; nor changed: %w", TagUnconfirmed, err, again))
}
