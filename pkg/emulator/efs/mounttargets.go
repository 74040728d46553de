package efs

import (
	"net/netip"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/emulator/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

type mountTarget struct {
	MountTargetID        string `json:"MountTargetId"`
	FileSystemID         string `json:"FileSystemId"`
	SubnetID             string `json:"SubnetId"`
	VpcID                string `json:"VpcId"`
	AvailabilityZoneName string
	AvailabilityZoneID   string `json:"AvailabilityZoneId"`
	IPAddress            string `json:"IpAddress"`
	NetworkInterfaceID   string `json:"NetworkInterfaceId"`
	LifeCycleState       string
	OwnerID              string `json:"OwnerId"`
}

func (s *Service) describeTarget(m *store.MountTarget) mountTarget {
	return mountTarget{
		MountTargetID: m.ID, FileSystemID: m.FileSystem, SubnetID: m.Subnet, VpcID: m.VPC, AvailabilityZoneName: m.Zone,
		AvailabilityZoneID: s.zoneID(m.Zone), IPAddress: m.IP, NetworkInterfaceID: m.NetworkInterface, LifeCycleState: m.State, OwnerID: s.Account,
	}
}

func (s *Service) createMountTarget(_ string, _ *wire.Params, r request) (any, error) {
	var answer mountTarget
	err := s.Store.Update(func() error {
		subnet, err := s.checkTarget(r)
		if err != nil {
			return err
		}
		m := &store.MountTarget{
			FileSystem: r.FileSystemID, Subnet: subnet.ID, Zone: subnet.Zone, VPC: subnet.VPC, State: store.Creating,
			SecurityGroups: r.SecurityGroups, Created: s.Clock.Now(), IP: r.IPAddress,
		}
		if len(m.SecurityGroups) == 0 {
			m.SecurityGroups = []string{ec2.DefaultGroup(s.Store, subnet.VPC)}
		}
		if m.IP, err = s.freeAddress(subnet, r.IPAddress); err != nil {
			return err
		}
		m.ID, m.NetworkInterface = s.Store.NewID("fsmt"), s.Store.NewID("eni")
		m.Change = s.Life.After(s.Life.Times().MountTarget, r.becomes, "create", m.ID)
		s.Store.MountTargets.Put(m)
		answer = s.describeTarget(m)
		return nil
	})
	return answer, err
}

// checkTarget checks a new mount target against EFS's rules and finds its subnet.
func (s *Service) checkTarget(r request) (*store.Subnet, error) {
	f, ok := s.Store.FileSystems.Get(r.FileSystemID)
	switch {
	case !ok:
		return nil, noFileSystem(r.FileSystemID)
	case f.State != store.Available:
		return nil, wrongState(f)
	}
	subnet, ok := s.Store.Subnets.Get(r.SubnetID)
	switch {
	case !ok:
		return nil, refused("SubnetNotFound", "The subnet ID '%s' does not exist", r.SubnetID)
	case f.Zone != "" && subnet.Zone != f.Zone:
		return nil, refused("AvailabilityZonesMismatch", "The subnet's Availability Zone %s is not the file system's %s", subnet.Zone, f.Zone)
	}
	inVPC := 0
	for _, m := range s.Store.MountTargets.All(store.Truth) {
		if m.VPC == subnet.VPC {
			inVPC++
		}
		if m.FileSystem != f.ID {
			continue
		}
		if m.VPC != subnet.VPC {
			return nil, refused("MountTargetConflict", "requested subnet for new mount target is not in the same VPC as existing mount targets")
		}
		if m.Zone == subnet.Zone {
			return nil, refused("MountTargetConflict", "mount target already exists in this AZ")
		}
	}
	if inVPC >= maxMountTargets {
		return nil, refused("NetworkInterfaceLimitExceeded", "The VPC has reached its limit of %d mount targets", maxMountTargets)
	}
	return subnet, s.checkGroups(r.SecurityGroups, subnet.VPC)
}

func (s *Service) checkGroups(groups []string, vpc string) error {
	if len(groups) > maxSecurityGroups {
		return refused("SecurityGroupLimitExceeded", "A mount target has at most %d security groups", maxSecurityGroups)
	}
	for _, id := range groups {
		if g, ok := s.Store.SecurityGroups.Get(id); !ok || g.VPC != vpc {
			return refused("SecurityGroupNotFound", "The security group ID '%s' does not exist in VPC %s", id, vpc)
		}
	}
	return nil
}

// freeAddress finds an address in a subnet that no mount target has; AWS keeps the first four and the last.
func (s *Service) freeAddress(subnet *store.Subnet, wanted string) (string, error) {
	taken := map[string]bool{}
	for _, m := range s.Store.MountTargets.All(store.Truth) {
		taken[m.IP] = true
	}
	prefix, err := netip.ParsePrefix(subnet.CIDR)
	if err != nil {
		return "", err
	}
	if wanted != "" {
		a, err := netip.ParseAddr(wanted)
		switch {
		case err != nil || !prefix.Contains(a):
			return "", bad("The address %s is not in the subnet %s", wanted, subnet.ID)
		case taken[wanted]:
			return "", refused("IpAddressInUse", "The address %s is in use", wanted)
		}
		return wanted, nil
	}
	a := prefix.Masked().Addr()
	for range 4 {
		a = a.Next()
	}
	for ; prefix.Contains(a.Next()); a = a.Next() {
		if !taken[a.String()] {
			return a.String(), nil
		}
	}
	return "", refused("NoFreeAddressesInSubnet", "The subnet %s has no free addresses", subnet.ID)
}

func (s *Service) describeMountTargets(_ string, query *wire.Params, _ request) (any, error) {
	fs, id, ap := query.String("FileSystemId"), query.String("MountTargetId"), query.String("AccessPointId")
	var all []mountTarget
	known := true
	s.Store.Read(func() {
		if ap != "" {
			a, ok := s.Store.AccessPoints.Seen(view, ap)
			if known = ok; ok {
				fs = a.FileSystem
			}
		}
		if fs != "" {
			_, ok := s.Store.FileSystems.Seen(view, fs)
			known = known && ok
		}
		for _, m := range s.Store.MountTargets.All(view) {
			if fs != "" && m.FileSystem == fs || id != "" && m.ID == id {
				all = append(all, s.describeTarget(m))
			}
		}
	})
	switch {
	case fs == "" && id == "" && ap == "":
		return nil, bad("Exactly one of FileSystemId, MountTargetId and AccessPointId must be given")
	case !known && ap != "":
		return nil, noAccessPoint(ap)
	case !known:
		return nil, noFileSystem(fs)
	case id != "" && len(all) == 0:
		return nil, noMountTarget(id)
	}
	list, next, err := page(query, "MaxItems", "Marker", 100, all, func(m mountTarget) string { return m.MountTargetID })
	return struct {
		MountTargets []mountTarget
		NextMarker   string `json:",omitempty"`
	}{list, next}, err
}

func noMountTarget(id string) error {
	return refused("MountTargetNotFound", "Mount target '%s' does not exist.", id)
}

func (s *Service) deleteMountTarget(id string, _ *wire.Params, _ request) (any, error) {
	return nil, s.Store.Update(func() error {
		m, ok := s.Store.MountTargets.Get(id)
		if !ok {
			return noMountTarget(id)
		}
		if m.State == store.Deleting {
			return nil
		}
		m, _ = s.Store.MountTargets.Edit(id)
		m.State, m.Change = store.Deleting, s.Life.After(s.Life.Times().MountTarget, store.Gone, "delete", id)
		return nil
	})
}

func (s *Service) describeGroups(id string, _ *wire.Params, _ request) (any, error) {
	var m *store.MountTarget
	var ok bool
	s.Store.Read(func() { m, ok = s.Store.MountTargets.Seen(view, id) })
	switch {
	case !ok:
		return nil, noMountTarget(id)
	case m.State != store.Available:
		return nil, refused("IncorrectMountTargetState", "The mount target '%s' is in state '%s'", id, m.State)
	}
	return struct{ SecurityGroups []string }{m.SecurityGroups}, nil
}

func (s *Service) modifyGroups(id string, _ *wire.Params, r request) (any, error) {
	return nil, s.Store.Update(func() error {
		m, ok := s.Store.MountTargets.Edit(id)
		switch {
		case !ok:
			return noMountTarget(id)
		case m.State != store.Available:
			return refused("IncorrectMountTargetState", "The mount target '%s' is in state '%s'", id, m.State)
		}
		if err := s.checkGroups(r.SecurityGroups, m.VPC); err != nil {
			return err
		}
		m.SecurityGroups = r.SecurityGroups
		return nil
	})
}

// zoneID is the id that AWS gives a zone; empty for none.
func (s *Service) zoneID(zone string) string {
	if i := slices.Index(s.Zones, zone); i >= 0 {
		return ec2.ZoneID(s.Region, i)
	}
	return ""
}
