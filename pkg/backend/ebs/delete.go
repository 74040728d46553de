package ebs

import (
	"context"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

const opDelete = "delete volume"

// Delete deletes a volume that is ours by its tags. What was adopted as external
// or is held by BOSH is kept with success; anything else is refused with the
// command that would claim it.
func (b *Backend) Delete(ctx context.Context, handle string) (kept string, err error) {
	v, err := b.volume(ctx, opDelete, handle)
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	switch j := b.judge(TagVolumeName, v.Tags); {
	case j.Keep != "":
		return j.Keep, b.disown(ctx, v)
	case j.Refuse != "":
		return "", fault.New(fault.InUse, opDelete, v.ID, "not deleted: %s. If it is meant: %s", j.Refuse, b.claim(v.ID))
	}
	if v.State == ec2.StateDeleting {
		return "", nil
	}
	if len(v.Attachments) > 0 {
		return "", fault.New(fault.InUse, opDelete, v.ID, "the volume is attached to node %s; unpublish it first", describeAttachments(v.Attachments))
	}
	err = end(ctx, opDelete, b.aVolume(v.ID), b.api.DeleteVolume)
	if err == nil {
		b.tokens.deletedVolume(v.Tags[TagVolumeName], v.ID, time.Now())
	}
	return "", err
}
