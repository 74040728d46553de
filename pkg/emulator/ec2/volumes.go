package ec2

import (
	"context"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// visibleVolumes are the volumes that the view shows, by id. It must be called inside Read or Update.
func (s *Service) visibleVolumes(view store.View) []*store.Volume {
	all := s.Store.Volumes.All(view)
	kept := all[:0]
	for _, v := range all {
		if v.State != store.Gone {
			kept = append(kept, v)
		}
	}
	return kept
}

func (s *Service) volumeListing() listing[*store.Volume] {
	type volume = *store.Volume
	attachments := func(field func(store.Attachment) string) func(volume) []string {
		return func(v volume) []string {
			var out []string
			for _, a := range v.Attachments {
				out = append(out, field(a))
			}
			return out
		}
	}
	return listing[volume]{
		idParameter: "VolumeId", minResults: 5,
		key:      func(v volume) string { return v.ID },
		checkIDs: func(ids ...string) error { return checkVolumeIDs("volumes", ids...) },
		missing:  noVolumes,
		tags:     func(v volume) map[string]string { return v.Tags },
		fields: map[string]func(volume) []string{
			"attachment.attach-time": attachments(func(a store.Attachment) string { return string(wire.NewTime(a.Since)) }),
			"attachment.delete-on-termination": attachments(func(a store.Attachment) string {
				return truth(a.DeleteOnTermination)[0]
			}),
			"attachment.device":      attachments(func(a store.Attachment) string { return a.Device }),
			"attachment.instance-id": attachments(func(a store.Attachment) string { return a.Instance }),
			"attachment.status":      attachments(func(a store.Attachment) string { return a.State }),
			"availability-zone":      func(v volume) []string { return one(v.Zone) },
			"availability-zone-id":   func(v volume) []string { return one(s.zoneID(v.Zone)) },
			"create-time":            func(v volume) []string { return at(v.Created) },
			"encrypted":              func(v volume) []string { return truth(v.Encrypted) },
			"fast-restored":          func(v volume) []string { return truth(v.FastRestored) },
			"multi-attach-enabled":   func(v volume) []string { return truth(v.MultiAttach) },
			"size":                   func(v volume) []string { return num(v.SizeGiB) },
			"snapshot-id":            func(v volume) []string { return some(v.Snapshot) },
			"source-volume-id":       func(v volume) []string { return some(v.Source) },
			"status":                 func(v volume) []string { return one(v.Status()) },
			"volume-id":              func(v volume) []string { return one(v.ID) },
			"volume-type":            func(v volume) []string { return one(v.Type) },
		},
	}
}

func (s *Service) describeVolumes(_ context.Context, p *wire.Params) (any, error) {
	var all []*store.Volume
	s.Store.Read(func() { all = s.visibleVolumes(viewVolumes) })
	page, next, err := s.volumeListing().pick(p, all)
	if err != nil {
		return nil, err
	}
	items := make([]volumeItem, 0, len(page))
	for _, v := range page {
		items = append(items, s.volumeItem(v))
	}
	return struct {
		Volumes []volumeItem `xml:"volumeSet>item"`
		Next    string       `xml:"nextToken,omitempty"`
	}{items, next}, nil
}

// statusItem is one volume's health.
type statusItem struct {
	VolumeID string       `xml:"volumeId"`
	Zone     string       `xml:"availabilityZone"`
	Status   string       `xml:"volumeStatus>status"`
	Details  []statusLine `xml:"volumeStatus>details>item"`
	Filling  *filling     `xml:"initializationStatusDetails,omitempty"`
}

// filling is how far a volume holds the data of its snapshot.
// https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
type filling struct {
	Type    string `xml:"initializationType"`
	Percent int64  `xml:"progress"`
	Seconds int64  `xml:"estimatedTimeToCompleteInSeconds"`
}

// filled is known for volumes that asked for a rate; others are full at once here. As in AWS, nothing is said at first.
func (s *Service) filled(v *store.Volume) *filling {
	if v.InitRateMiBs == 0 {
		return nil
	}
	all := time.Duration(v.SizeGiB) * 1024 * time.Second / time.Duration(v.InitRateMiBs)
	age := s.Clock.Now().Sub(v.Created)
	if age < all/4 {
		return nil
	}
	left := max(0, all-age)
	return &filling{Type: "provisioned-rate", Percent: int64(100 * (all - left) / all), Seconds: int64((left + time.Second - 1) / time.Second)}
}

type statusLine struct {
	Name   string `xml:"name"`
	Status string `xml:"status"`
}

func (s *Service) describeVolumeStatus(_ context.Context, p *wire.Params) (any, error) {
	var all []*store.Volume
	s.Store.Read(func() { all = s.visibleVolumes(viewVolumes) })
	l := s.volumeListing()
	ok := func(*store.Volume) []string { return one("ok") }
	l.tags = nil
	l.fields = map[string]func(*store.Volume) []string{
		"availability-zone":    l.fields["availability-zone"],
		"availability-zone-id": l.fields["availability-zone-id"],
		"volume-id":            l.fields["volume-id"],
		"volume-status.status": ok,
	}
	page, next, err := l.pick(p, all)
	if err != nil {
		return nil, err
	}
	var items []statusItem
	for _, v := range page {
		initialized, progress := "not-applicable", s.filled(v)
		switch {
		case v.InitRateMiBs > 0 && (progress == nil || progress.Percent < 100):
			initialized = "initializing"
		case v.Snapshot != "" || v.Source != "":
			initialized = "completed"
		}
		items = append(items, statusItem{VolumeID: v.ID, Zone: v.Zone, Status: "ok", Filling: progress, Details: []statusLine{
			{"io-enabled", "passed"}, {"io-performance", "not-applicable"}, {"initialization-state", initialized},
		}})
	}
	return struct {
		Items []statusItem `xml:"volumeStatusSet>item"`
		Next  string       `xml:"nextToken,omitempty"`
	}{items, next}, nil
}

func (s *Service) deleteVolume(ctx context.Context, p *wire.Params) (any, error) {
	id := p.Required("VolumeId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkVolumeIDs("volumeId", id); err != nil {
		return nil, err
	}
	err := s.Store.Update(func() error {
		v, err := s.volume(id)
		if err != nil {
			return err
		}
		switch {
		case len(v.Attachments) > 0:
			var holders []string
			for _, a := range v.Attachments {
				holders = append(holders, a.Instance)
			}
			return wire.Errorf("VolumeInUse", "Volume %s is currently attached to %s", id, strings.Join(holders, ", "))
		case v.State == store.Deleting:
			return noVolumes(id)
		case v.State != store.Available && v.State != store.Error:
			return wire.Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", id, v.State)
		}
		if err := allowed(p); err != nil {
			return err
		}
		v, _ = s.Store.Volumes.Edit(id)
		v.State, v.Change = store.Deleting, s.Life.After(s.Life.Times().Delete, store.Gone, "delete", id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Life.Step(context.WithoutCancel(ctx), store.Volumes, id)
	return simpleResult{true}, nil
}

// percent is how far now is between two times, at most 99.
func percent(from, to, now time.Time) int {
	if whole := to.Sub(from); whole > 0 {
		return max(0, min(99, int(100*now.Sub(from)/whole)))
	}
	return 0
}
