package ec2

import (
	"context"

	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// zoneItem is a zone in an answer.
type zoneItem struct {
	Name        string `xml:"zoneName"`
	ID          string `xml:"zoneId"`
	State       string `xml:"zoneState"`
	Region      string `xml:"regionName"`
	OptIn       string `xml:"optInStatus"`
	Group       string `xml:"groupName"`
	BorderGroup string `xml:"networkBorderGroup"`
	Type        string `xml:"zoneType"`
}

func (s *Service) describeZones(_ context.Context, p *wire.Params) (any, error) {
	type zone = zoneItem
	var all []zone
	for _, z := range s.Zones {
		all = append(all, zone{z, s.zoneID(z), "available", s.Region, "opt-in-not-required", s.Region, s.Region, "availability-zone"})
	}
	names, ids := p.List("ZoneName"), p.List("ZoneId")
	if len(names)+len(ids) > 0 {
		var err error
		if all, err = s.namedZones(all, names, ids); err != nil {
			return nil, err
		}
	}
	page, _, err := listing[zone]{
		key: func(z zone) string { return z.Name },
		fields: map[string]func(zone) []string{
			"zone-name":     func(z zone) []string { return one(z.Name) },
			"zone-id":       func(z zone) []string { return one(z.ID) },
			"region-name":   func(z zone) []string { return one(z.Region) },
			"state":         func(z zone) []string { return one(z.State) },
			"opt-in-status": func(z zone) []string { return one(z.OptIn) },
			"group-name":    func(z zone) []string { return one(z.Group) },
			"zone-type":     func(z zone) []string { return one(z.Type) },
		},
	}.pick(p, all)
	return struct {
		Zones []zone `xml:"availabilityZoneInfo>item"`
	}{page}, err
}

func (s *Service) namedZones(all []zoneItem, names, ids []string) ([]zoneItem, error) {
	wanted := map[string]bool{}
	for _, n := range names {
		if s.zoneID(n) == "" {
			return nil, wire.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", n)
		}
		wanted[n] = true
	}
	for _, id := range ids {
		name, err := s.checkZone("", id)
		if err != nil {
			return nil, wire.Errorf("InvalidParameterValue", "Invalid availability zone-id: [%s]", id)
		}
		wanted[name] = true
	}
	var found []zoneItem
	for _, z := range all {
		if wanted[z.Name] {
			found = append(found, z)
		}
	}
	return found, nil
}
