package ebs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opCreateDisk = "create disk"

// CreateDisk makes a disk. Without a name nothing that the caller sends makes two calls the same, so the token is
// random; a disk that could not be finished is deleted. With one, a repeated request gets the disk of the first, as long
// as it was never used. If this process dies, the disk keeps its tag unconfirmed.
func (d *Disks) CreateDisk(ctx context.Context, req volume.DiskRequest) (volume.Disk, error) {
	spec, notes, err := d.diskSpec(ctx, req)
	if err != nil {
		return volume.Disk{}, err
	}
	key, create := rand.Text(), d.makeDisk
	if req.Name != "" {
		create = d.makeNamed
		key = volume.Token("disk", d.holder(), req.Name, req.Node, fmt.Sprintf("%+v", spec))
		spec.Tags[tagRequest] = key
		v, used, err := d.namedDisk(ctx, req.Name, spec)
		if err != nil || v.ID != "" {
			return volume.Disk{Handle: v.ID, Notes: notes}, err
		}
		if used != "" {
			notes = append(notes, fmt.Sprintf("disk %s has the name %q, but it was used, or made for another VM or with other properties: "+
				"a new disk is made. A name finds a dynamic disk again after a lost answer; leave it out of disk types", used, req.Name))
		}
	}
	spec.Tags[TagUnconfirmed] = "true"
	v, err := create(ctx, key, spec)
	if err != nil {
		return volume.Disk{}, d.undo(ctx, v, req.Name, err)
	}
	if err := d.confirm(ctx, opCreateDisk, d.aVolume(v.ID)); err != nil {
		return volume.Disk{}, d.undo(ctx, v, req.Name, err)
	}
	return volume.Disk{Handle: v.ID, Notes: notes}, nil
}

// diskSpec turns a request into what EC2 is asked for.
func (d *Disks) diskSpec(ctx context.Context, req volume.DiskRequest) (spec ec2.VolumeSpec, notes []string, err error) {
	values, err := DiskParameters().Decode(req.Parameters)
	if err != nil {
		return spec, nil, fault.New(fault.Invalid, opCreateDisk, req.Name, "%v", err)
	}
	spec.Type = values[keyType]
	if spec.SizeGiB, err = sizeGiB(opCreateDisk, req.Name, volume.Range{RequiredBytes: req.Bytes}, spec.Type, 0); err != nil {
		return spec, nil, err
	}
	var cutTags []string
	for _, step := range []func() error{
		func() error { return d.performance(req.Name, values, origin{}, &spec) },
		func() (err error) { spec.Encrypted, spec.KMSKey, err = d.encryption(values); return err },
		func() (err error) { spec.Tags, cutTags, err = d.diskTags(req.Tags); return err },
	} {
		if err := step(); err != nil {
			return spec, nil, fault.Wrap(opCreateDisk, req.Name, asInvalid(err))
		}
	}
	spec.Tags[TagLayout], spec.Tags[TagHolder] = layoutBlank, d.holder()
	if req.Name != "" {
		spec.Tags[TagDiskName] = req.Name
	}
	spec.Zone, notes, err = d.diskZone(ctx, req, values[keyZone])
	return spec, append(cutTags, notes...), err
}

// diskZone is the zone of the VM; without a VM one is chosen, and said.
func (d *Disks) diskZone(ctx context.Context, req volume.DiskRequest, explicit string) (zone string, notes []string, err error) {
	if req.Node != "" {
		inst, err := d.node(ctx, req.Node)
		if err == nil && explicit != "" && explicit != inst.Zone {
			notes = append(notes, fmt.Sprintf("%s %s is ignored: VM %s is in zone %s", keyZone, explicit, inst.ID, inst.Zone))
		}
		return inst.Zone, notes, err
	}
	if explicit == "" {
		explicit = d.opts.Zone
	}
	if explicit != "" {
		return explicit, nil, nil
	}
	zones, err := d.availableZones(ctx)
	if err == nil && len(zones) == 0 {
		err = fault.New(fault.Invalid, opCreateDisk, req.Name, "the region shows no available zone; set availability_zone")
	}
	if err != nil {
		return "", nil, fault.Wrap(opCreateDisk, req.Name, err)
	}
	zone = zones[0].Name
	return zone, []string{fmt.Sprintf("no VM was named, so the disk is made in zone %s; it can be attached nowhere else. Set availability_zone to choose another", zone)}, nil
}

// cleanUp bounds what is done after a failure, when the call's own time may be over.
const cleanUp = 30 * time.Second

func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
}

// undo deletes a disk that could not be finished, unless its name finds it again, and returns the error with what became
// of the disk.
func (d *Disks) undo(ctx context.Context, v ec2.Volume, name string, failed error) error {
	if v.ID == "" || name != "" || errors.Is(failed, errVanished) || errors.Is(failed, errDeleted) {
		return failed
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	for {
		err := end(ctx, opCreateDisk, d.aVolume(v.ID), d.api.DeleteVolume)
		if err == nil {
			return fmt.Errorf("%w; the disk was deleted again", failed)
		}
		// EC2 deletes no volume that it still creates.
		if fault.CodeOf(err) != "IncorrectState" || batch.Pause(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("%w; disk %s may be left, see `diskbridge orphans`: %w", failed, v.ID, err)
		}
	}
}
