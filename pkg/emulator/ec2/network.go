package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// defaultVPC is the account's default network.
const defaultVPC = "vpc-00000000000000001"

// EnsureNetwork makes the default VPC's subnets, one for each zone, and its default security group if they are missing.
func (s *Service) EnsureNetwork() error {
	return s.Store.Found(func() error {
		if DefaultGroup(s.Store, defaultVPC) == "" {
			s.addDefaultGroup(defaultVPC, "sg-00000000000000001")
		}
		for i, zone := range s.Zones {
			if s.subnetOf(zone).ID == "" {
				s.Store.Subnets.Put(&store.Subnet{
					ID: fmt.Sprintf("subnet-%017x", i+1), VPC: defaultVPC, Zone: zone, CIDR: fmt.Sprintf("172.31.%d.0/20", 16*i), Default: true,
				})
			}
		}
		return nil
	})
}

// addDefaultGroup adds the group that lets its own members in, within the running update.
func (s *Service) addDefaultGroup(vpc, id string) {
	s.Store.SecurityGroups.Put(&store.SecurityGroup{
		ID: id, VPC: vpc, Name: "default", Description: "default VPC security group",
		Rules: []store.Rule{{Protocol: "-1", Groups: []string{id}}},
	})
}

// DefaultGroup is the id of a VPC's default security group, empty if there is no such VPC. Call it inside Read or Update.
func DefaultGroup(s *store.Store, vpc string) string {
	for _, g := range s.SecurityGroups.All(store.Truth) {
		if g.VPC == vpc && g.Name == "default" {
			return g.ID
		}
	}
	return ""
}

// subnetOf is the default VPC's subnet of a zone; instances are in it.
func (s *Service) subnetOf(zone string) store.Subnet {
	for _, n := range s.Store.Subnets.All(store.Truth) {
		if n.Default && n.Zone == zone {
			return *n
		}
	}
	return store.Subnet{VPC: defaultVPC}
}

func (s *Service) createVPC(_ context.Context, p *wire.Params) (any, error) {
	cidr := p.Required("CidrBlock")
	if err := allowed(p); err != nil {
		return nil, err
	}
	var id string
	err := s.Store.Update(func() error {
		id = s.Store.NewID("vpc")
		s.addDefaultGroup(id, s.Store.NewID("sg"))
		return nil
	})
	return struct {
		ID    string `xml:"vpc>vpcId"`
		CIDR  string `xml:"vpc>cidrBlock"`
		State string `xml:"vpc>state"`
	}{id, cidr, "available"}, err
}

type subnetItem struct {
	ID      string `xml:"subnetId"`
	VPC     string `xml:"vpcId"`
	State   string `xml:"state"`
	Zone    string `xml:"availabilityZone"`
	ZoneID  string `xml:"availabilityZoneId"`
	CIDR    string `xml:"cidrBlock"`
	Default bool   `xml:"defaultForAz"`
	Free    int    `xml:"availableIpAddressCount"`
	Owner   string `xml:"ownerId"`
	Tags    []tag  `xml:"tagSet>item"`
}

// subnetItem must be called inside Read or Update.
func (s *Service) subnetItem(n *store.Subnet) subnetItem {
	free := 0
	if prefix, err := netip.ParsePrefix(n.CIDR); err == nil {
		free = 1<<(32-prefix.Bits()) - 5 // AWS keeps five
	}
	for _, m := range s.Store.MountTargets.All(store.Truth) {
		if m.Subnet == n.ID {
			free--
		}
	}
	return subnetItem{n.ID, n.VPC, "available", n.Zone, s.zoneID(n.Zone), n.CIDR, n.Default, free, s.Account, tagSet(n.Tags)}
}

func (s *Service) createSubnet(_ context.Context, p *wire.Params) (any, error) {
	zone, err := s.checkZone(p.String("AvailabilityZone"), p.String("AvailabilityZoneId"))
	if err != nil {
		return nil, err
	}
	tags, err := tagSpecifications(p, "subnet")
	if err != nil {
		return nil, err
	}
	n := &store.Subnet{VPC: p.Required("VpcId"), CIDR: p.Required("CidrBlock"), Zone: zone, Tags: tags}
	if err := allowed(p); err != nil {
		return nil, err
	}
	if prefix, err := netip.ParsePrefix(n.CIDR); err != nil || prefix.Bits() < 16 || prefix.Bits() > 28 {
		return nil, wire.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid.", n.CIDR)
	}
	var item subnetItem
	err = s.Store.Update(func() error {
		if DefaultGroup(s.Store, n.VPC) == "" {
			return wire.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", n.VPC)
		}
		n.ID = s.Store.NewID("subnet")
		s.Store.Subnets.Put(n)
		item = s.subnetItem(n)
		return nil
	})
	return struct {
		Subnet subnetItem `xml:"subnet"`
	}{item}, err
}

func (s *Service) deleteSubnet(_ context.Context, p *wire.Params) (any, error) {
	id := p.Required("SubnetId")
	if err := allowed(p); err != nil {
		return nil, err
	}
	return simpleResult{true}, s.Store.Update(func() error {
		if _, ok := s.Store.Subnets.Get(id); !ok {
			return noSubnets(id)
		}
		for _, m := range s.Store.MountTargets.All(store.Truth) {
			if m.Subnet == id {
				return wire.Errorf("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted.", id)
			}
		}
		s.Store.Subnets.Drop(id)
		return nil
	})
}

func noSubnets(ids ...string) error {
	return wire.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", strings.Join(ids, ", "))
}

func (s *Service) describeSubnets(_ context.Context, p *wire.Params) (any, error) {
	var all []subnetItem
	s.Store.Read(func() {
		for _, n := range s.Store.Subnets.All(viewInstances) {
			all = append(all, s.subnetItem(n))
		}
	})
	items, next, err := listing[subnetItem]{
		idParameter: "SubnetId", minResults: 5, key: func(n subnetItem) string { return n.ID },
		checkIDs: func(...string) error { return nil }, missing: noSubnets,
		tags: func(n subnetItem) map[string]string { return untag(n.Tags) },
		fields: map[string]func(subnetItem) []string{
			"subnet-id":            func(n subnetItem) []string { return one(n.ID) },
			"vpc-id":               func(n subnetItem) []string { return one(n.VPC) },
			"availability-zone":    func(n subnetItem) []string { return one(n.Zone) },
			"availability-zone-id": func(n subnetItem) []string { return one(n.ZoneID) },
			"default-for-az":       func(n subnetItem) []string { return truth(n.Default) },
			"state":                func(n subnetItem) []string { return one(n.State) },
		},
	}.pick(p, all)
	return struct {
		Items []subnetItem `xml:"subnetSet>item"`
		Next  string       `xml:"nextToken,omitempty"`
	}{items, next}, err
}

func untag(list []tag) map[string]string {
	out := map[string]string{}
	for _, t := range list {
		out[t.Key] = t.Value
	}
	return out
}

type eniItem struct {
	ID          string      `xml:"networkInterfaceId"`
	Subnet      string      `xml:"subnetId"`
	VPC         string      `xml:"vpcId"`
	Zone        string      `xml:"availabilityZone"`
	Description string      `xml:"description"`
	Owner       string      `xml:"ownerId"`
	Requester   string      `xml:"requesterId"`
	Managed     bool        `xml:"requesterManaged"`
	Status      string      `xml:"status"`
	IP          string      `xml:"privateIpAddress"`
	Groups      []groupName `xml:"groupSet>item"`
}

type groupName struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

// describeInterfaces shows the interfaces of EFS's mount targets; those of instances are shown with them.
func (s *Service) describeInterfaces(_ context.Context, p *wire.Params) (any, error) {
	var all []eniItem
	s.Store.Read(func() {
		for _, m := range s.Store.MountTargets.All(viewInstances) {
			item := eniItem{
				ID: m.NetworkInterface, Subnet: m.Subnet, VPC: m.VPC, Zone: m.Zone, Owner: s.Account, Requester: "amazon-efs", Managed: true,
				Description: "EFS mount target for " + m.FileSystem + " (" + m.ID + ")", Status: "in-use", IP: m.IP,
			}
			for _, id := range m.SecurityGroups {
				if g, ok := s.Store.SecurityGroups.Get(id); ok {
					item.Groups = append(item.Groups, groupName{id, g.Name})
				}
			}
			all = append(all, item)
		}
	})
	items, next, err := listing[eniItem]{
		idParameter: "NetworkInterfaceId", minResults: 5, key: func(i eniItem) string { return i.ID },
		checkIDs: func(...string) error { return nil },
		missing: func(ids ...string) error {
			return wire.Errorf("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", strings.Join(ids, ", "))
		},
		fields: map[string]func(eniItem) []string{
			"network-interface-id": func(i eniItem) []string { return one(i.ID) },
			"subnet-id":            func(i eniItem) []string { return one(i.Subnet) },
			"vpc-id":               func(i eniItem) []string { return one(i.VPC) },
			"description":          func(i eniItem) []string { return one(i.Description) },
			"private-ip-address":   func(i eniItem) []string { return one(i.IP) },
			"group-id": func(i eniItem) []string {
				var ids []string
				for _, g := range i.Groups {
					ids = append(ids, g.ID)
				}
				return ids
			},
		},
	}.pick(p, all)
	return struct {
		Items []eniItem `xml:"networkInterfaceSet>item"`
		Next  string    `xml:"nextToken,omitempty"`
	}{items, next}, err
}
