package ec2

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// runInstances starts instances. Images, subnets and keys are taken as they come; block devices become volumes.
func (s *Service) runInstances(ctx context.Context, p *wire.Params) (any, error) {
	first, err := s.readInstance(p)
	if err != nil {
		return nil, err
	}
	count := p.Int("MaxCount")
	if count < 1 || p.Int("MinCount") < 1 || p.Int("MinCount") > count {
		return nil, wire.Errorf("InvalidParameterValue", "The parameters minCount and maxCount are required: at least 1, and minCount at most maxCount.")
	}
	disks, err := s.readMappings(p, first.Zone)
	if err != nil {
		return nil, err
	}
	if err := allowed(p); err != nil {
		return nil, err
	}
	made, err := s.priorInstances(first.Token, first.TokenRequest)
	if err != nil {
		return nil, err
	}
	for len(made) < count {
		i := first
		if err := s.NewInstance(ctx, &i); err != nil {
			return nil, err
		}
		if err := s.addMappings(ctx, &i, disks); err != nil {
			return nil, err
		}
		made = append(made, &i)
	}
	reservation := reservationItem{ID: "r" + made[0].ID[1:], Owner: s.Account}
	for _, i := range made {
		s.Store.Read(func() { reservation.Instances = append(reservation.Instances, s.instanceItem(s.see(i, nil))) })
		s.Life.Step(context.WithoutCancel(ctx), store.Instances, i.ID)
	}
	return reservation, nil
}

func (s *Service) readInstance(p *wire.Params) (store.Instance, error) {
	i := store.Instance{Type: p.String("InstanceType"), Image: p.String("ImageId"), Zone: p.String("Placement.AvailabilityZone")}
	if i.Type == "" {
		i.Type = "m5.large"
	}
	if i.Zone == "" {
		i.Zone = s.Zones[0]
	}
	if _, ok := FindInstanceType(i.Type); !ok {
		return i, wire.Errorf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", i.Type)
	}
	if _, err := s.checkZone(i.Zone, ""); err != nil {
		return i, err
	}
	for _, spec := range p.Items("TagSpecification") {
		if spec.String("ResourceType") == "instance" {
			tags, err := readTags(spec.Items("Tag"))
			if err != nil {
				return i, err
			}
			i.Tags = tags
		}
	}
	i.Token, i.TokenRequest = p.String("ClientToken"), p.Fingerprint("ClientToken", "DryRun", "Version")
	return i, p.Err()
}

// priorInstances are those that the token started before.
func (s *Service) priorInstances(token, request string) (found []*store.Instance, err error) {
	if token == "" {
		return nil, nil
	}
	s.Store.Read(func() {
		for _, i := range s.Store.Instances.All(store.Truth) {
			if i.Token != token {
				continue
			}
			if i.TokenRequest != request {
				err = wire.Errorf("IdempotentInstanceRequest", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
			}
			found = append(found, i)
		}
	})
	return found, err
}

// mapping is a block device that an instance starts with.
type mapping struct {
	volume              store.Volume
	device              string
	deleteOnTermination bool
}

// readMappings reads the block devices; the root device's is the image's affair.
func (s *Service) readMappings(p *wire.Params, zone string) ([]mapping, error) {
	var out []mapping
	for _, b := range p.Items("BlockDeviceMapping") {
		device := b.String("DeviceName")
		if device == rootDevice || !b.Has("Ebs.VolumeSize") {
			continue
		}
		m := mapping{device: device, deleteOnTermination: !b.Has("Ebs.DeleteOnTermination") || b.Bool("Ebs.DeleteOnTermination")}
		m.volume.Zone = zone
		m.volume.Shape = store.Shape{
			Type: b.String("Ebs.VolumeType"), SizeGiB: b.Int("Ebs.VolumeSize"), IOPS: b.Int("Ebs.Iops"), ThroughputMiBs: b.Int("Ebs.Throughput"),
		}
		if m.volume.Type == "" {
			m.volume.Type = "gp2"
		}
		var err error
		if m.volume.Shape, err = checkShape(m.volume.Shape); err != nil {
			return nil, err
		}
		if err := b.Err(); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (s *Service) addMappings(ctx context.Context, i *store.Instance, disks []mapping) error {
	for _, m := range disks {
		v := m.volume
		err := s.Store.Update(func() error {
			v.ID, v.State, v.Created = s.Store.NewID("vol"), store.Creating, s.Clock.Now()
			v.Attachments = []store.Attachment{{
				Instance: i.ID, Device: m.device, State: store.Attaching, Since: s.Clock.Now(), DeleteOnTermination: m.deleteOnTermination,
			}}
			s.Store.Volumes.Put(&v)
			return nil
		})
		if err != nil {
			return err
		}
		if err := s.Life.PrepareVolume(ctx, v.ID); err != nil {
			return err
		}
		attach := s.Life.After(s.Life.Times().Attach, store.Attached, "attach to "+i.ID, v.ID)
		err = s.Store.Update(func() error {
			e, _ := s.Store.Volumes.Edit(v.ID)
			e.State, e.Change, e.Attachments[0].Change = store.Available, store.Change{}, attach
			return nil
		})
		if err != nil {
			return err
		}
		s.Life.Step(context.WithoutCancel(ctx), store.Volumes, v.ID)
	}
	return nil
}

// changeItem is one instance's change of state.
type changeItem struct {
	ID       string    `xml:"instanceId"`
	Current  stateItem `xml:"currentState"`
	Previous stateItem `xml:"previousState"`
}

type changeResult struct {
	Items []changeItem `xml:"instancesSet>item"`
}

// move is one kind of change: from states that need it, by way of one, to one.
type move struct {
	from, refused []string
	by, to        string
}

func (s *Service) startInstances(ctx context.Context, p *wire.Params) (any, error) {
	return s.moveInstances(ctx, p, move{
		from: []string{store.Stopped}, refused: []string{store.Stopping, store.ShuttingDown, store.Terminated},
		by: store.Pending, to: store.Running,
	})
}

func (s *Service) stopInstances(ctx context.Context, p *wire.Params) (any, error) {
	return s.moveInstances(ctx, p, move{
		from: []string{store.Pending, store.Running}, refused: []string{store.ShuttingDown, store.Terminated},
		by: store.Stopping, to: store.Stopped,
	})
}

func (s *Service) terminateInstances(ctx context.Context, p *wire.Params) (any, error) {
	return s.moveInstances(ctx, p, move{
		from: []string{store.Pending, store.Running, store.Stopping, store.Stopped},
		by:   store.ShuttingDown, to: store.Terminated,
	})
}

func (s *Service) moveInstances(ctx context.Context, p *wire.Params, m move) (any, error) {
	ids := p.List("InstanceId")
	if len(ids) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter InstanceId")
	}
	if err := checkInstanceIDs(ids...); err != nil {
		return nil, err
	}
	var result changeResult
	err := s.Store.Update(func() error {
		for _, id := range ids {
			item, err := s.moveInstance(id, m)
			if err != nil {
				return err
			}
			result.Items = append(result.Items, item)
		}
		return allowed(p)
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		s.Life.Step(context.WithoutCancel(ctx), store.Instances, id)
	}
	s.Life.Settle(context.WithoutCancel(ctx)) // the volumes of what is terminated by now
	return result, nil
}

func (s *Service) moveInstance(id string, m move) (changeItem, error) {
	i, err := s.instance(id)
	if err != nil {
		return changeItem{}, err
	}
	item := changeItem{ID: id, Previous: newStateItem(i.State), Current: newStateItem(i.State)}
	for _, state := range m.refused {
		if i.State == state {
			return item, wire.Errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be moved to '%s'.", id, m.to)
		}
	}
	for _, state := range m.from {
		if i.State == state {
			i, _ = s.Store.Instances.Edit(id)
			i.State, i.Change = m.by, s.Life.After(s.Life.Times().Instance, m.to, m.to, id)
			item.Current = newStateItem(m.by)
		}
	}
	return item, nil
}
