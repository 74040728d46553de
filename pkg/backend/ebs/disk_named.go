package ebs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// namedDisk returns the disk that an earlier call of the same request made, and whose answer was lost; an empty one where
// there is none. A name alone proves nothing: a disk type may have one, and then all its instances send it. used is the id
// of a disk that has the name and is not answered.
func (d *Disks) namedDisk(ctx context.Context, name string, spec ec2.VolumeSpec) (v ec2.Volume, used string, err error) {
	list, err := d.api.VolumesTagged(ctx, TagDiskName, name)
	if err != nil {
		return v, "", fault.Wrap(opCreateDisk, name, err)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(v ec2.Volume) bool {
		return v.Tags[TagHolder] != d.holder() || v.State == ec2.StateDeleting
	})
	if len(list) == 0 {
		return v, "", nil
	}
	if list, err = d.stillThere(ctx, name, list); err != nil {
		return v, "", err
	}
	slices.SortFunc(list, func(a, b ec2.Volume) int { return a.Created.Compare(b.Created) })
	i := slices.IndexFunc(list, func(v ec2.Volume) bool { return untouched(v, spec) })
	switch {
	case i < 0 && len(list) > 0:
		return v, list[0].ID, nil
	case i < 0:
		return v, "", nil
	}
	v, err = d.available(ctx, opCreateDisk, list[i])
	if err == nil && isUnconfirmed(v.Tags) {
		err = d.confirm(ctx, opCreateDisk, d.aVolume(v.ID))
	}
	return v, "", err
}

// untouched reports whether a disk is as the request made it: attached to nothing, of the same size and type, and with no
// other tags. A Director that has learned of a disk tags it, and so does every CPI that attaches one.
func untouched(v ec2.Volume, spec ec2.VolumeSpec) bool {
	return len(v.Attachments) == 0 && v.State != ec2.StateInUse && v.SizeGiB == spec.SizeGiB && v.Type == spec.Type &&
		maps.Equal(lastingTags(v.Tags), lastingTags(spec.Tags))
}

// lastingTags are a disk's tags without those that AWS sets itself and the one that is taken away.
func lastingTags(tags map[string]string) map[string]string {
	out := maps.Clone(tags)
	maps.DeleteFunc(out, func(key, _ string) bool { return key == TagUnconfirmed || strings.HasPrefix(key, "aws:") })
	return out
}

// stillThere leaves out what another process deleted a moment ago, and EC2 still showed.
func (d *Disks) stillThere(ctx context.Context, name string, list []ec2.Volume) (left []ec2.Volume, err error) {
	if batch.Pause(ctx, d.api.AbsenceInterval()) != nil {
		return nil, notVisibleYet(opCreateDisk, name)
	}
	for _, v := range list {
		now, err := d.read(ctx, opCreateDisk, v.ID)
		switch {
		case err == nil:
			left = append(left, now)
		case !fault.Is(err, fault.NotFound):
			return nil, err
		}
	}
	return left, nil
}

// makeNamed makes the disk of a name. EC2 answers a token with the disk that it made for it first, also where that was used
// since, or deleted, which looks as if its key could not be used: then the next token makes another.
func (d *Disks) makeNamed(ctx context.Context, key string, spec ec2.VolumeSpec) (v ec2.Volume, err error) {
	vanished := false
	for next := range maxGenerations {
		v, err = d.makeDisk(ctx, fmt.Sprintf("%s/%d", key, next), spec)
		if errors.Is(err, errVanished) && !vanished {
			vanished = true
			continue
		}
		if err != nil {
			return v, err
		}
		now, err := d.read(ctx, opCreateDisk, v.ID)
		if err == nil && untouched(now, spec) {
			return now, nil
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			return v, err
		}
	}
	return ec2.Volume{}, fault.New(fault.Conflict, opCreateDisk, spec.Tags[TagDiskName], "EC2 answers with disks that were made under this name before; choose another name")
}

// makeDisk repeats the request, with the same token, while answers are lost. A volume that is returned beside an error
// exists.
func (d *Disks) makeDisk(ctx context.Context, key string, spec ec2.VolumeSpec) (ec2.Volume, error) {
	for {
		v, err := d.make(ctx, key, spec)
		if !fault.Is(err, fault.UnknownOutcome) || v.ID != "" {
			return v, err
		}
		if batch.Pause(ctx, time.Second) != nil {
			return v, fault.New(fault.UnknownOutcome, opCreateDisk, "", "EC2's answers were lost (%v): it may have made a disk, which `diskbridge orphans` then lists", err)
		}
	}
}
