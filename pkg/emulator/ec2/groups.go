package ec2

import (
	"context"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

type groupItem struct {
	ID          string           `xml:"groupId"`
	Name        string           `xml:"groupName"`
	Description string           `xml:"groupDescription"`
	VPC         string           `xml:"vpcId"`
	Owner       string           `xml:"ownerId"`
	Ingress     []permissionItem `xml:"ipPermissions>item"`
	Tags        []tag            `xml:"tagSet>item"`
}

type permissionItem struct {
	Protocol string      `xml:"ipProtocol"`
	From     *int        `xml:"fromPort"`
	To       *int        `xml:"toPort"`
	CIDRs    []cidrItem  `xml:"ipRanges>item"`
	Groups   []groupPair `xml:"groups>item"`
}

type cidrItem struct {
	CIDR string `xml:"cidrIp"`
}

type groupPair struct {
	ID    string `xml:"groupId"`
	Owner string `xml:"userId"`
}

func (s *Service) groupItem(g *store.SecurityGroup) groupItem {
	item := groupItem{ID: g.ID, Name: g.Name, Description: g.Description, VPC: g.VPC, Owner: s.Account, Tags: tagSet(g.Tags)}
	for _, r := range g.Rules {
		p := permissionItem{Protocol: r.Protocol}
		if r.Protocol != "-1" {
			p.From, p.To = &r.From, &r.To
		}
		for _, c := range r.CIDRs {
			p.CIDRs = append(p.CIDRs, cidrItem{c})
		}
		for _, id := range r.Groups {
			p.Groups = append(p.Groups, groupPair{id, s.Account})
		}
		item.Ingress = append(item.Ingress, p)
	}
	return item
}

func (s *Service) createGroup(_ context.Context, p *wire.Params) (any, error) {
	tags, err := tagSpecifications(p, "security-group")
	if err != nil {
		return nil, err
	}
	g := &store.SecurityGroup{Name: p.Required("GroupName"), Description: p.Required("GroupDescription"), VPC: p.String("VpcId"), Tags: tags}
	if g.VPC == "" {
		g.VPC = defaultVPC
	}
	if err := allowed(p); err != nil {
		return nil, err
	}
	err = s.Store.Update(func() error {
		if DefaultGroup(s.Store, g.VPC) == "" {
			return wire.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", g.VPC)
		}
		for _, other := range s.Store.SecurityGroups.All(store.Truth) {
			if other.VPC == g.VPC && other.Name == g.Name {
				return wire.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", g.Name, g.VPC)
			}
		}
		g.ID = s.Store.NewID("sg")
		s.Store.SecurityGroups.Put(g)
		return nil
	})
	return struct {
		ID     string `xml:"groupId"`
		Return bool   `xml:"return"`
	}{g.ID, true}, err
}

func (s *Service) deleteGroup(_ context.Context, p *wire.Params) (any, error) {
	id := p.Required("GroupId")
	if err := allowed(p); err != nil {
		return nil, err
	}
	return simpleResult{true}, s.Store.Update(func() error {
		if _, ok := s.Store.SecurityGroups.Get(id); !ok {
			return noGroups(id)
		}
		s.Store.SecurityGroups.Drop(id)
		return nil
	})
}

func noGroups(ids ...string) error {
	return wire.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist", strings.Join(ids, ", "))
}

func (s *Service) authorizeIngress(_ context.Context, p *wire.Params) (any, error) {
	id := p.Required("GroupId")
	var rules []store.Rule
	for _, item := range p.Items("IpPermissions") {
		r := store.Rule{Protocol: item.Required("IpProtocol"), From: item.Int("FromPort"), To: item.Int("ToPort")}
		for _, c := range item.Items("IpRanges") {
			r.CIDRs = append(r.CIDRs, c.Required("CidrIp"))
		}
		for _, g := range item.Items("Groups") {
			r.Groups = append(r.Groups, g.Required("GroupId"))
		}
		if err := item.Err(); err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	if err := allowed(p); err != nil {
		return nil, err
	}
	return simpleResult{true}, s.Store.Update(func() error {
		g, ok := s.Store.SecurityGroups.Edit(id)
		if !ok {
			return noGroups(id)
		}
		g.Rules = append(g.Rules, rules...)
		return nil
	})
}

func (s *Service) describeGroups(_ context.Context, p *wire.Params) (any, error) {
	var all []groupItem
	s.Store.Read(func() {
		for _, g := range s.Store.SecurityGroups.All(viewInstances) {
			all = append(all, s.groupItem(g))
		}
	})
	items, next, err := listing[groupItem]{
		idParameter: "GroupId", minResults: 5, key: func(g groupItem) string { return g.ID },
		checkIDs: func(...string) error { return nil }, missing: noGroups,
		tags: func(g groupItem) map[string]string { return untag(g.Tags) },
		fields: map[string]func(groupItem) []string{
			"group-id":   func(g groupItem) []string { return one(g.ID) },
			"group-name": func(g groupItem) []string { return one(g.Name) },
			"vpc-id":     func(g groupItem) []string { return one(g.VPC) },
		},
	}.pick(p, all)
	return struct {
		Items []groupItem `xml:"securityGroupInfo>item"`
		Next  string      `xml:"nextToken,omitempty"`
	}{items, next}, err
}
