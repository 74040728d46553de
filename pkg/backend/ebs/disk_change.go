package ebs

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opChangeDisk = "change disk"

// unlimited bounds a call that is to be given up in a change whose own time has no limit.
const unlimited = 2 * time.Minute

// ChangeDisk changes size, type and performance in place, all in one modification, after the tags. fault.Unsupported means
// that the disk is as it was, but for tags, and that a copy is the way; after EC2 has accepted a modification, or may
// have, it is never answered.
func (d *Disks) ChangeDisk(ctx context.Context, handle string, change volume.DiskChange) (notes []string, err error) {
	v, err := d.read(ctx, opChangeDisk, handle)
	if err != nil {
		return nil, err
	}
	if who := heldByKubernetes(v.Tags); who != "" {
		return nil, fault.New(fault.InUse, opChangeDisk, v.ID, "the disk is %s", who)
	}
	want, err := d.wanted(v, change)
	var set map[string]string
	if err == nil && change.Parameters != nil {
		set, notes, err = d.diskTags(change.Tags)
	}
	if err != nil {
		return nil, &fault.Error{Op: opChangeDisk, Subject: v.ID, Kind: fault.Unsupported, Message: "not in place", Err: err}
	}
	maps.DeleteFunc(set, func(k, value string) bool { is, has := v.Tags[k]; return has && is == value })
	if len(set) > 0 {
		if err := d.retagDisk(ctx, v.ID, set); err != nil {
			return notes, err
		}
	}
	if want == (ec2.Change{}) {
		return notes, nil
	}
	return notes, d.modify(ctx, v, want)
}

// budgeted bounds a call that EC2 may refuse for now, so that time is left to find out what became of it.
func budgeted(ctx context.Context) (context.Context, context.CancelFunc) {
	within := unlimited
	if deadline, ok := ctx.Deadline(); ok {
		within = time.Until(deadline) / 2
	}
	return context.WithTimeout(ctx, within)
}

// retagDisk sets tags. What EC2 refuses, a copy may have.
func (d *Disks) retagDisk(ctx context.Context, id string, set map[string]string) error {
	budget, cancel := budgeted(ctx)
	defer cancel()
	err := d.setTags(budget, opChangeDisk, id, set)
	if err == nil || fault.Is(err, fault.NotFound) || fault.Is(err, fault.UnknownOutcome) {
		return err
	}
	return &fault.Error{Op: opChangeDisk, Subject: id, Kind: fault.Unsupported, Message: "EC2 refused the tags", Err: err}
}

// wanted is what of the new shape the volume does not have yet; the error says why it cannot be had in place.
func (d *Disks) wanted(v ec2.Volume, change volume.DiskChange) (ec2.Change, error) {
	size := volume.CeilGiB(change.Bytes)
	if size < v.SizeGiB {
		return ec2.Change{}, fmt.Errorf("%d GiB are less than the disk has (%d GiB), and disks never shrink", size, v.SizeGiB)
	}
	var want ec2.Change
	kind := v.Type
	if change.Parameters != nil {
		values, err := DiskParameters().Decode(change.Parameters)
		if err != nil {
			return want, err
		}
		if err := d.sameEncryption(v, values); err != nil {
			return want, err
		}
		if zone := values[keyZone]; zone != "" && zone != v.Zone {
			return want, fmt.Errorf("the disk is in zone %s, not %s", v.Zone, zone)
		}
		kind = values[keyType]
		if want, err = newShape(v, values, size); err != nil {
			return want, err
		}
	}
	if l := typeLimits[kind]; size < l.minGiB || l.maxGiB > 0 && size > l.maxGiB {
		return want, fmt.Errorf("type %s has %d to %d GiB, not %d", kind, l.minGiB, l.maxGiB, size)
	}
	if size > v.SizeGiB {
		want.SizeGiB = size
	}
	return want, nil
}

// newShape is the type and the performance that a new disk with the values would have, where they differ. What a new disk
// could not have is an error.
func newShape(v ec2.Volume, values backend.Values, size int64) (want ec2.Change, err error) {
	kind := values[keyType]
	l := typeLimits[kind]
	want.Throughput = int32(values.Int(keyThroughput)) //nolint:gosec // Decode bounds it
	if want.Throughput > 0 && !l.throughput {
		return want, fmt.Errorf("type %s takes no parameter %s", kind, keyThroughput)
	}
	if want.IOPS, err = iops(opChangeDisk, v.ID, values, size); err != nil {
		return want, err
	}
	if kind == "gp3" && want.IOPS == 0 {
		want.IOPS = int32(l.minIOPS) //nolint:gosec // 3000
	}
	if kind == "gp3" && want.Throughput == 0 {
		want.Throughput = 125 // https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
	}
	if kind != v.Type {
		want.Type = kind
		return want, nil
	}
	if want.IOPS == v.IOPS {
		want.IOPS = 0
	}
	if want.Throughput == v.Throughput {
		want.Throughput = 0
	}
	return want, nil
}

// sameEncryption is nil where the disk is encrypted as it should be. What nobody asks for may be anything: accounts
// encrypt by default.
func (d *Disks) sameEncryption(v ec2.Volume, values backend.Values) error {
	encrypted, key, err := d.encryption(values)
	said := values[keyEncrypted] != "" || encrypted
	switch {
	case err != nil:
		return err
	case said && encrypted && !v.Encrypted:
		return fmt.Errorf("the disk is not encrypted, and encryption needs a new one")
	case said && !encrypted && v.Encrypted:
		return fmt.Errorf("the disk is encrypted, and that cannot be taken away")
	case encrypted && key != "" && key != v.KMSKey && !strings.HasSuffix(v.KMSKey, ":key/"+key):
		return fmt.Errorf("the disk is encrypted with %s, and another key (%s) needs a new one", v.KMSKey, key)
	}
	return nil
}

// modify asks EC2 for the change and waits until it is effective.
func (d *Disks) modify(ctx context.Context, v ec2.Volume, want ec2.Change) error {
	asked, unknown := time.Now(), false
	for {
		budget, cancel := budgeted(ctx)
		gone, err := untilKnown(budget, opChangeDisk, func(ctx context.Context) error { return d.api.ModifyVolume(ctx, v.ID, want) }, d.aVolume(v.ID))
		cancel()
		switch {
		case err == nil:
			return d.awaitModified(ctx, v.ID, want)
		case fault.Is(err, fault.UnknownOutcome):
			unknown = true
		case gone != "":
			return fault.Wrap(opChangeDisk, v.ID, err)
		default:
			visible := time.Now()
			if code := fault.CodeOf(err); unknown || code == "IncorrectModificationState" || code == "VolumeModificationRateExceeded" {
				visible = asked.Add(2 * d.api.AbsenceInterval())
			}
			if over, err := d.refused(ctx, v.ID, want, err, visible); over {
				return err
			}
			unknown = true
		}
		if batch.Pause(ctx, 500*time.Millisecond) != nil {
			return fault.New(fault.UnknownOutcome, opChangeDisk, v.ID, "EC2's answer was lost: %v; ask again", err)
		}
	}
}

// refused finds out what a refusal means: perhaps an earlier call of the same change was accepted, of this process or of
// one that died. Until visible EC2 may still show the time before. over is false where it cannot be told.
func (d *Disks) refused(ctx context.Context, id string, want ec2.Change, refusal error, visible time.Time) (over bool, err error) {
	for {
		done, under, err := d.underWay(ctx, id, want)
		switch {
		case err != nil && !fault.Is(err, fault.Denied):
			return false, nil
		case err == nil && done:
			return true, nil
		case err == nil && under:
			return true, d.awaitModified(ctx, id, want)
		case time.Now().After(visible):
			return true, &fault.Error{Op: opChangeDisk, Subject: id, Kind: fault.Unsupported, Message: "EC2 refused, and nothing was changed", Err: refusal}
		case batch.Pause(ctx, 500*time.Millisecond) != nil:
			return false, nil //nolint:nilerr // the call is over, and its caller says so
		}
	}
}

// underWay looks whether the change was made by an earlier call, or is being made.
func (d *Disks) underWay(ctx context.Context, id string, want ec2.Change) (done, under bool, err error) {
	m, found, err := d.api.Modification(ctx, id)
	if err != nil {
		return false, false, err
	}
	v, err := d.volume(ctx, opChangeDisk, id)
	if err != nil {
		return false, false, err
	}
	return covers(shapeOf(v), want), found && m.State != "failed" && covers(m.Target, want), nil
}

// awaitModified waits for a change that EC2 has accepted. If EC2 fails it, nothing was changed.
func (d *Disks) awaitModified(ctx context.Context, id string, want ec2.Change) error {
	_, err := d.awaitChange(ctx, opChangeDisk, id, want)
	if !fault.Is(err, fault.Internal) {
		return err
	}
	return &fault.Error{Op: opChangeDisk, Subject: id, Kind: fault.Unsupported, Message: "EC2 gave the modification up, and nothing was changed", Err: err}
}
