package ec2

import (
	"context"
	"strconv"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// AWS's limit of modifications of one volume:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html
const (
	maxModifications   = 4
	modificationWindow = 24 * time.Hour
)

func (s *Service) modifyVolume(ctx context.Context, p *wire.Params) (any, error) {
	id := p.Required("VolumeId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkVolumeIDs("volumeId", id); err != nil {
		return nil, err
	}
	var m store.Modification
	err := s.Store.Update(func() error {
		v, err := s.volume(id)
		if err != nil {
			return err
		}
		if v.State != store.Available {
			return wire.Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", id, v.State)
		}
		target, err := modified(v, p)
		if err != nil {
			return err
		}
		if err := s.mayModify(v); err != nil {
			return err
		}
		if err := allowed(p); err != nil {
			return err
		}
		v, _ = s.Store.Volumes.Edit(id)
		m = s.newModification(v, target, FailsLater(ctx))
		v.Modifications = append(v.Modifications, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Life.Step(context.WithoutCancel(ctx), store.Volumes, id)
	return struct {
		Modification modificationItem `xml:"volumeModification"`
	}{s.modificationItem(id, m)}, nil
}

// modified is the shape that the request asks for: what it does not name stays, or is the new type's default.
func modified(v *store.Volume, p *wire.Params) (store.Shape, error) {
	w := v.Shape
	if p.Has("VolumeType") {
		w.Type = p.String("VolumeType")
	}
	if w.Type != v.Type {
		w.IOPS, w.ThroughputMiBs = 0, 0
		if t := volumeTypes()[w.Type]; t.iopsRequired {
			w.IOPS = 3000
		}
	} else if t := volumeTypes()[w.Type]; !t.iopsAllowed {
		w.IOPS = 0 // follows the size
	}
	if p.Has("Size") {
		w.SizeGiB = p.Int("Size")
	}
	if p.Has("Iops") {
		w.IOPS = p.Int("Iops")
	}
	if p.Has("Throughput") {
		w.ThroughputMiBs = p.Int("Throughput")
	}
	if p.Has("MultiAttachEnabled") {
		w.MultiAttach = p.Bool("MultiAttachEnabled")
	}
	if err := p.Err(); err != nil {
		return w, err
	}
	if w.SizeGiB < v.SizeGiB {
		return w, wire.Errorf("InvalidParameterValue", "New size cannot be smaller than existing size")
	}
	return checkShape(w)
}

func (s *Service) mayModify(v *store.Volume) error {
	if m := v.Current(); m != nil && m.State != store.Completed && m.State != store.Failed {
		return wire.Errorf("IncorrectModificationState",
			"Cannot modify volume %s: its last modification is in the '%s' state. Wait until it is completed.", v.ID, m.State)
	}
	since := s.Clock.Now().Add(-modificationWindow)
	var recent []store.Modification
	for _, m := range v.Modifications {
		if m.Started.After(since) {
			recent = append(recent, m)
		}
	}
	if len(recent) >= maxModifications {
		again := recent[len(recent)-maxModifications].Started.Add(modificationWindow)
		return wire.Errorf("VolumeModificationRateExceeded",
			"You've reached the maximum modification rate per volume limit: %d modifications within a rolling 24-hour period. You can modify volume %s again after %s.",
			maxModifications, v.ID, wire.NewTime(again))
	}
	return nil
}

// newModification is one that is accepted. If it fails the volume stays as it is, and may be modified again:
// https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-modifications.html
func (s *Service) newModification(v *store.Volume, target store.Shape, fails bool) store.Modification {
	number := strconv.Itoa(len(v.Modifications))
	took := s.Life.Times().Modify
	optimizing := s.Life.After(took, store.Optimizing, "modification "+number, v.ID)
	completed := s.Life.After(took, store.Completed, "optimization "+number, v.ID)
	if fails {
		optimizing.To = store.Failed
	}
	now := s.Clock.Now()
	return store.Modification{
		State: store.Modifying, Change: optimizing, Started: now, Optimizes: optimizing.At,
		Completes: optimizing.At.Add(completed.At.Sub(now)), Original: v.Shape, Target: target,
	}
}

func (s *Service) describeVolumesModifications(_ context.Context, p *wire.Params) (any, error) {
	type volume = *store.Volume
	var all []volume
	known := map[string]bool{}
	s.Store.Read(func() {
		for _, v := range s.visibleVolumes(viewModifications) {
			known[v.ID] = true
			if v.Current() != nil {
				all = append(all, v)
			}
		}
	})
	number := func(f func(*store.Modification) int) func(volume) []string {
		return func(v volume) []string { return num(f(v.Current())) }
	}
	l := listing[volume]{
		idParameter: "VolumeId",
		key:         func(v volume) string { return v.ID },
		checkIDs:    func(ids ...string) error { return checkVolumeIDs("volumeId", ids...) },
		missing: func(ids ...string) error {
			for _, id := range ids {
				if !known[id] {
					return noVolumes(id)
				}
			}
			return wire.Errorf("InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", ids[0])
		},
		fields: map[string]func(volume) []string{
			"modification-state":   func(v volume) []string { return one(v.Current().State) },
			"original-iops":        number(func(m *store.Modification) int { return m.Original.IOPS }),
			"original-size":        number(func(m *store.Modification) int { return m.Original.SizeGiB }),
			"original-volume-type": func(v volume) []string { return one(v.Current().Original.Type) },
			"start-time":           func(v volume) []string { return at(v.Current().Started) },
			"target-iops":          number(func(m *store.Modification) int { return m.Target.IOPS }),
			"target-size":          number(func(m *store.Modification) int { return m.Target.SizeGiB }),
			"target-volume-type":   func(v volume) []string { return one(v.Current().Target.Type) },
			"volume-id":            func(v volume) []string { return one(v.ID) },
		},
	}
	page, next, err := l.pick(p, all)
	if err != nil {
		return nil, err
	}
	var items []modificationItem
	for _, v := range page {
		items = append(items, s.modificationItem(v.ID, *v.Current()))
	}
	return struct {
		Items []modificationItem `xml:"volumeModificationSet>item"`
		Next  string             `xml:"nextToken,omitempty"`
	}{items, next}, nil
}
