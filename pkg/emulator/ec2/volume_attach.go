package ec2

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// maxMultiAttach is how many instances may share a volume:
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html
const maxMultiAttach = 16

// deviceName holds the names that AWS takes:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
// The last is /dev/xvddx, as the EBS CSI driver's authors found (pkg/cloud/devicemanager of that driver).
var deviceName = regexp.MustCompile(`^(/dev/)?(sd[a-z]([1-9]|1[0-5])?|hd[a-z]([1-9]|1[0-5])?|xvd([a-c]?[a-z]|d[a-x]))$`)

func (s *Service) attachVolume(ctx context.Context, p *wire.Params) (any, error) {
	id, instance, device := p.Required("VolumeId"), p.Required("InstanceId"), p.Required("Device")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkVolumeIDs("volumeId", id); err != nil {
		return nil, err
	}
	if err := checkInstanceIDs(instance); err != nil {
		return nil, err
	}
	if !deviceName.MatchString(device) {
		return nil, invalidDevice(device)
	}
	a := store.Attachment{Instance: instance, Device: device, State: store.Attaching, Since: s.Clock.Now()}
	err := s.Store.Update(func() error {
		v, err := s.volume(id)
		if err != nil {
			return err
		}
		i, err := s.instance(instance)
		if err != nil {
			return err
		}
		if err := s.checkAttach(v, i, device); err != nil {
			return err
		}
		if err := allowed(p); err != nil {
			return err
		}
		v, _ = s.Store.Volumes.Edit(id)
		a.Change = s.Life.After(s.Life.Times().Attach, store.Attached, "attach to "+instance, id)
		v.Attachments = append(v.Attachments, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Life.Step(context.WithoutCancel(ctx), store.Volumes, id)
	return newAttachmentItem(id, a), nil
}

func invalidDevice(device string) error {
	return wire.Errorf("InvalidParameterValue", "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device)
}

func (s *Service) checkAttach(v *store.Volume, i *store.Instance, device string) error {
	switch {
	case v.State != store.Available:
		return wire.Errorf("IncorrectState", "Volume '%s' is not 'available'.", v.ID)
	case i.State != store.Running && i.State != store.Stopped:
		return wire.Errorf("IncorrectState", "Instance '%s' is not 'running'.", i.ID)
	case v.Zone != i.Zone:
		return wire.Errorf("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.ID, i.ID)
	case len(v.Attachments) > 0 && !v.MultiAttach, v.Attachment(i.ID) != nil:
		return wire.Errorf("VolumeInUse", "%s is already attached to an instance", v.ID)
	case len(v.Attachments) >= maxMultiAttach:
		return wire.Errorf("AttachmentLimitExceeded", "The volume %s has reached its limit of %d attachments.", v.ID, maxMultiAttach)
	}
	if slices.Contains(i.InvalidDevices, device) {
		return invalidDevice(device)
	}
	t, _ := FindInstanceType(i.Type)
	limit, taken := t.volumeLimit(i), i.HiddenDevices
	attached := 0
	for _, other := range s.Store.Volumes.All(store.Truth) {
		if b := other.Attachment(i.ID); b != nil {
			attached++
			taken = append(slices.Clip(taken), b.Device)
		}
	}
	taken = append(slices.Clip(taken), rootDevice)
	if slices.ContainsFunc(taken, func(d string) bool { return sameDevice(d, device, t.Nitro) }) {
		return wire.Errorf("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
	}
	if attached >= limit {
		return wire.Errorf("AttachmentLimitExceeded", "You have reached the volume attachment limit of instance %s: %d volumes.", i.ID, limit)
	}
	return nil
}

// sameDevice says whether two names are one place: on Xen /dev/sdf is /dev/xvdf.
func sameDevice(a, b string, nitro bool) bool {
	a, b = strings.TrimPrefix(a, "/dev/"), strings.TrimPrefix(b, "/dev/")
	if !nitro {
		a, b = strings.TrimPrefix(a, "xvd"), strings.TrimPrefix(b, "xvd")
		a, b = strings.TrimPrefix(a, "sd"), strings.TrimPrefix(b, "sd")
	}
	return a == b
}

func (s *Service) detachVolume(ctx context.Context, p *wire.Params) (any, error) {
	id, instance, device, force := p.Required("VolumeId"), p.String("InstanceId"), p.String("Device"), p.Bool("Force")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkVolumeIDs("volumeId", id); err != nil {
		return nil, err
	}
	if instance != "" {
		if err := checkInstanceIDs(instance); err != nil {
			return nil, err
		}
	}
	var answer store.Attachment
	err := s.Store.Update(func() error {
		v, err := s.volume(id)
		if err != nil {
			return err
		}
		a, err := s.attachmentToEnd(v, instance, device)
		if err != nil {
			return err
		}
		if err := allowed(p); err != nil {
			return err
		}
		v, _ = s.Store.Volumes.Edit(id)
		edit := v.Attachment(a.Instance)
		if edit.State == store.Attaching || edit.State == store.Attached {
			edit.State = store.Detaching
			edit.Change = s.Life.After(s.Life.Times().Detach, store.Gone, "detach from "+a.Instance, id)
		}
		edit.Force = edit.Force || force
		answer = *edit
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Life.Step(context.WithoutCancel(ctx), store.Volumes, id)
	return newAttachmentItem(id, answer), nil
}

// attachmentToEnd is the attachment that DetachVolume means.
func (s *Service) attachmentToEnd(v *store.Volume, instance, device string) (*store.Attachment, error) {
	if instance != "" {
		if _, err := s.instance(instance); err != nil {
			return nil, err
		}
	}
	if len(v.Attachments) == 0 {
		return nil, wire.Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", v.ID, v.Status())
	}
	if instance == "" && len(v.Attachments) > 1 {
		return nil, wire.Errorf("InvalidParameterCombination", "The volume '%s' has several attachments: the parameter instanceId is required.", v.ID)
	}
	for i := range v.Attachments {
		a := &v.Attachments[i]
		if (instance == "" || a.Instance == instance) && (device == "" || a.Device == device) {
			return a, nil
		}
	}
	return nil, wire.Errorf("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s' as device '%s'.", v.ID, instance, device)
}
