package ebs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const opCreateDisk = "create disk"

// CreateDisk makes a disk. Without a name nothing that the caller sends makes two calls the same, so the token is
// random; a disk that could not be finished is deleted. If this process dies, the disk keeps its tag unconfirmed.
func (d *Disks) CreateDisk(ctx context.Context, req volume.DiskRequest) (volume.Disk, error) {
	spec, notes, err := d.diskSpec(ctx, req)
	if err != nil {
		return volume.Disk{}, err
	}
	key := rand.Text()
	if req.Name != "" {
		v, found, err := d.namedDisk(ctx, req.Name, spec)
		if err != nil || found {
			return volume.Disk{Handle: v.ID, Notes: notes}, err
		}
		// With its settings in the token, EC2 never takes a new disk for a deleted one of other settings.
		key = volume.Token("disk", d.holder(), req.Name, fmt.Sprintf("%+v", spec))
	}
	spec.Tags[TagUnconfirmed] = "true"
	v, err := d.makeDisk(ctx, key, req.Name != "", spec)
	if err != nil {
		return volume.Disk{}, d.undo(ctx, v, req.Name, err)
	}
	if err := d.confirm(ctx, opCreateDisk, v.ID); err != nil {
		notes = append(notes, fmt.Sprintf("disk %s is made; its tag %s stays until it is attached: %v", v.ID, TagUnconfirmed, err))
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
	for _, step := range []func() error{
		func() error { return d.performance(req.Name, values, origin{}, &spec) },
		func() (err error) { spec.Encrypted, spec.KMSKey, err = d.encryption(values); return err },
		func() (err error) { spec.Tags, err = d.diskTags(req.Tags); return err },
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
	return spec, notes, err
}

// diskTags joins the operator's tags and the request's, which win.
func (d *Disks) diskTags(asked map[string]string) (map[string]string, error) {
	tags := map[string]string{}
	maps.Copy(tags, d.opts.Owner.Tags)
	maps.Copy(tags, asked)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if why := reserved(key); why != "" {
			return nil, fmt.Errorf("tag %q is reserved: %s; choose another key", key, why)
		}
		if cut(key, 128) != key || cut(tags[key], 256) != tags[key] {
			return nil, fmt.Errorf("tag %.128q: a key has at most 128 characters, a value 256", key)
		}
	}
	return tags, nil
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

// namedDisk finds the disk of this Director that has the name.
func (d *Disks) namedDisk(ctx context.Context, name string, spec ec2.VolumeSpec) (ec2.Volume, bool, error) {
	list, err := d.api.VolumesTagged(ctx, TagDiskName, name)
	if err != nil {
		return ec2.Volume{}, false, fault.Wrap(opCreateDisk, name, err)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(v ec2.Volume) bool {
		return v.Tags[TagHolder] != d.holder() || v.State == ec2.StateDeleting
	})
	if len(list) == 0 {
		return ec2.Volume{}, false, nil
	}
	if list, err = d.stillThere(ctx, name, list); err != nil || len(list) == 0 {
		return ec2.Volume{}, false, err
	}
	v, err := d.available(ctx, opCreateDisk, list[0])
	if err == nil && (len(list) > 1 || v.SizeGiB != spec.SizeGiB || v.Zone != spec.Zone || v.Type != spec.Type) {
		err = fault.New(fault.Conflict, opCreateDisk, name, "disk %s has this name already, with %d GiB of %s in zone %s; delete it, or choose another name", v.ID, v.SizeGiB, v.Type, v.Zone)
	}
	if err == nil && v.Tags[TagUnconfirmed] != "" {
		err = d.confirm(ctx, opCreateDisk, v.ID)
	}
	return v, err == nil, err
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

// makeDisk asks again, with the same token, while answers are lost. A volume that is returned beside an error exists.
// Where the disk of a name was deleted a moment ago, EC2 answers its token with that dead disk, which looks as if its key
// could not be used: another token tells.
func (d *Disks) makeDisk(ctx context.Context, key string, named bool, spec ec2.VolumeSpec) (ec2.Volume, error) {
	for dead := 0; ; {
		v, err := d.make(ctx, fmt.Sprintf("%s/%d", key, dead), spec)
		if errors.Is(err, errVanished) && named && dead == 0 {
			dead++
			continue
		}
		if !fault.Is(err, fault.UnknownOutcome) || v.ID != "" {
			return v, err
		}
		if batch.Pause(ctx, time.Second) != nil {
			return v, fault.New(fault.UnknownOutcome, opCreateDisk, "", "EC2's answers were lost (%v): it may have made a disk, which `diskbridge orphans` then lists", err)
		}
	}
}

// cleanUp bounds what is done after a failure, when the call's own time may be over.
const cleanUp = 30 * time.Second

// undo deletes a disk that could not be finished, unless its name finds it again, and returns the error with what became
// of the disk.
func (d *Disks) undo(ctx context.Context, v ec2.Volume, name string, failed error) error {
	if v.ID == "" || name != "" || errors.Is(failed, errVanished) || errors.Is(failed, errDeleted) {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
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
