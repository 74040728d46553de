package efs

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// nfsPort is where mount targets serve.
const nfsPort = 2049

// checkNetwork checks subnets and security groups before anything is made.
func (b *Backend) checkNetwork(ctx context.Context, o *order) error {
	vpc := ""
	if len(o.subnets) > 0 {
		list, err := b.network.Subnets(ctx, o.subnets)
		if err != nil {
			return fault.Wrap(opCreate, o.name, err)
		}
		if vpc, err = checkSubnets(o, list); err != nil {
			return err
		}
	}
	if len(o.groups) == 0 {
		return nil
	}
	groups, err := b.network.SecurityGroups(ctx, o.groups)
	if err != nil {
		return fault.Wrap(opCreate, o.name, err)
	}
	for _, id := range o.groups {
		i := slices.IndexFunc(groups, func(g ec2.SecurityGroup) bool { return g.ID == id })
		switch {
		case i < 0:
			return fault.New(fault.Invalid, opCreate, o.name, "parameter %s: security group %s does not exist in this region", keyGroups, id)
		case vpc != "" && groups[i].VPC != vpc:
			return fault.New(fault.Invalid, opCreate, o.name, "parameter %s: security group %s is in %s, the subnets are in %s", keyGroups, id, groups[i].VPC, vpc)
		}
	}
	if !slices.ContainsFunc(groups, func(g ec2.SecurityGroup) bool { return slices.ContainsFunc(g.Rules, opens) }) {
		return fault.New(fault.Invalid, opCreate, o.name,
			"parameter %s: none of %s lets TCP %d in, so that no node could mount; add an inbound rule for NFS", keyGroups, strings.Join(o.groups, ", "), nfsPort)
	}
	return nil
}

// checkSubnets wants subnets that exist, of one VPC, at most one in a zone.
func checkSubnets(o *order, list []ec2.Subnet) (vpc string, err error) {
	zones := map[string]string{}
	for _, id := range o.subnets {
		i := slices.IndexFunc(list, func(s ec2.Subnet) bool { return s.ID == id })
		if i < 0 {
			return "", fault.New(fault.Invalid, opCreate, o.name, "parameter %s: subnet %s does not exist in this region", keySubnets, id)
		}
		s := list[i]
		switch other := zones[s.Zone]; {
		case other != "":
			return "", fault.New(fault.Invalid, opCreate, o.name, "parameter %s: %s and %s are both in zone %s, where a file system has one mount target; name one of them", keySubnets, other, id, s.Zone)
		case vpc != "" && s.VPC != vpc:
			return "", fault.New(fault.Invalid, opCreate, o.name, "parameter %s: %s is in %s and others are in %s; a file system has mount targets in one VPC", keySubnets, id, s.VPC, vpc)
		}
		zones[s.Zone], vpc = id, s.VPC
	}
	if _, ok := zones[o.spec.Zone]; o.spec.Zone != "" && (!ok || len(zones) > 1) {
		return "", fault.New(fault.Invalid, opCreate, o.name, "parameter %s: a One Zone file system in %s has one mount target, there; name one subnet of that zone", keySubnets, o.spec.Zone)
	}
	return vpc, nil
}

// opens reports whether a rule lets NFS in from anywhere.
func opens(r ec2.Rule) bool {
	if !slices.Contains([]string{"-1", "tcp", "6"}, r.Protocol) {
		return false
	}
	return r.Protocol == "-1" || r.From <= nfsPort && nfsPort <= r.To
}

// admits reports whether groups let NFS in from a node. A rule that names what is not
// looked into counts as one that does.
func admits(groups []ec2.SecurityGroup, node ec2.Instance) bool {
	ip, err := netip.ParseAddr(node.IP)
	for _, g := range groups {
		for _, r := range g.Rules {
			switch {
			case !opens(r):
			case r.Opaque, slices.ContainsFunc(r.Groups, func(id string) bool { return slices.Contains(node.Groups, id) }):
				return true
			case slices.ContainsFunc(r.CIDRs, func(c string) bool {
				prefix, bad := netip.ParsePrefix(c)
				return bad == nil && err == nil && prefix.Contains(ip)
			}):
				return true
			}
		}
	}
	return false
}

// groupsFor chooses the security groups of a new mount target: those that were asked
// for, else the node's own, else the VPC's default one, whichever let the node in.
func (b *Backend) groupsFor(ctx context.Context, asked []string, node ec2.Instance) ([]string, error) {
	if len(asked) > 0 {
		groups, err := b.network.SecurityGroups(ctx, asked)
		if err == nil && !admits(groups, node) {
			err = closed("the mount target", asked, node)
		}
		return asked, err
	}
	own := node.Groups[:min(len(node.Groups), maxGroups)]
	groups, err := b.network.SecurityGroups(ctx, own)
	if err != nil || admits(groups, node) {
		return own, err
	}
	groups, err = b.network.DefaultSecurityGroup(ctx, node.VPC)
	if err != nil {
		return nil, err
	}
	tried := slices.Clone(own)
	for _, g := range groups {
		if admits(groups, node) {
			return []string{g.ID}, nil
		}
		tried = append(tried, g.ID)
	}
	return nil, closed("a mount target", tried, node)
}

// closed says that no security group lets a node in.
func closed(what string, groups []string, node ec2.Instance) error {
	return fault.New(fault.InUse, opPublish, node.ID,
		"no security group of %s (%s) lets TCP %d in from this node (address %s, groups %s); add an inbound rule for NFS, or name other groups in %s",
		what, strings.Join(groups, ", "), nfsPort, node.IP, strings.Join(node.Groups, ", "), keyGroups)
}
