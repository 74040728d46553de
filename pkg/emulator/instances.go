package emulator

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator/imds"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// image is what the first instances run.
const image = "ami-00000000000000001"

// credentialsLife is how long an instance role's credentials are good.
const credentialsLife = 6 * time.Hour

// Instance is where a node can run.
type Instance struct {
	ID         string `json:"id"`
	Zone       string `json:"zone"`
	IMDS       string `json:"imds"`        // URL of its metadata service
	DeviceRoot string `json:"device_root"` // what it should take for /dev; empty without devices
	SysfsRoot  string `json:"sysfs_root"`  // what it should take for /sys; empty without devices
}

// Instances are all instances in the order in which they were made.
func (s *Server) Instances() []Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Instance
	for _, i := range s.allInstances() {
		device, sysfs := s.life.Roots(i.ID)
		out = append(out, Instance{ID: i.ID, Zone: i.Zone, IMDS: s.imds[i.ID], DeviceRoot: device, SysfsRoot: sysfs})
	}
	return out
}

func (s *Server) allInstances() (all []*store.Instance) {
	s.store.Read(func() { all = s.store.Instances.All(store.Truth) })
	slices.SortFunc(all, func(a, b *store.Instance) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// ensureInstances brings up those of an earlier run and adds what is missing.
func (s *Server) ensureInstances(ctx context.Context) error {
	all := s.allInstances()
	for _, i := range all {
		if err := s.serveMetadata(ctx, i.ID, i.IMDS); err != nil {
			return err
		}
	}
	for n := len(all); n < s.options.Instances; n++ {
		i := &store.Instance{
			Type: s.options.InstanceType, Image: image, Zone: s.options.Zones[n%len(s.options.Zones)], State: store.Running,
		}
		if err := s.addInstance(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// addInstance numbers and keeps an instance, and gives it its trees and its metadata service.
func (s *Server) addInstance(ctx context.Context, i *store.Instance) error {
	i.Launched, i.HiddenDevices, i.InvalidDevices = s.options.Clock.Now(), s.options.HiddenDevices, s.options.InvalidDevices
	i.AttachLimit, i.Interfaces = s.options.AttachLimit, 1
	err := s.store.Update(func() error {
		for _, other := range s.store.Instances.All(store.Truth) {
			i.Number = max(i.Number, other.Number+1)
		}
		i.ID = s.store.NewID("i")
		s.store.Instances.Put(i)
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.life.AddInstance(ctx, i.ID); err != nil {
		return err
	}
	return s.serveMetadata(context.WithoutCancel(ctx), i.ID, "")
}

// serveMetadata gives the instance a metadata service, at the address that it had before if that is free.
func (s *Server) serveMetadata(ctx context.Context, id, before string) error {
	handler := imds.New(metadata{s, id}, time.Now)
	address, err := "", error(nil)
	if before != "" {
		address, err = s.serve(ctx, before, handler)
	}
	if before == "" || err != nil {
		if address, err = s.serve(ctx, "127.0.0.1:0", handler); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.imds[id] = "http://" + address
	s.mu.Unlock()
	return s.store.Update(func() error {
		if i, ok := s.store.Instances.Edit(id); ok {
			i.IMDS = address
		}
		return nil
	})
}

// metadata tells one instance about itself.
type metadata struct {
	*Server
	id string
}

var (
	_ imds.Source  = metadata{}
	_ http.Handler = (*imds.Handler)(nil)
)

// Info is the instance; false unless it runs or is about to.
func (m metadata) Info() (imds.Info, bool) {
	var i *store.Instance
	var ok bool
	m.store.Read(func() { i, ok = m.store.Instances.Get(m.id) })
	if !ok || i.State != store.Running && i.State != store.Pending {
		return imds.Info{}, false
	}
	n := ec2.Network{Number: i.Number}
	info := imds.Info{
		ID: i.ID, Type: i.Type, Image: i.Image, Zone: i.Zone, Region: m.options.Region, Account: m.options.AccountID,
		PrivateIP: n.IP(0), Hostname: n.Hostname(), Launched: i.Launched, RootDevice: "/dev/xvda",
		ZoneID: ec2.ZoneID(m.options.Region, slices.Index(m.options.regionZones(), i.Zone)),
	}
	for k := range i.Interfaces {
		info.MACs = append(info.MACs, n.MAC(k))
	}
	return info, true
}

// Credentials are those of the instance's role.
func (m metadata) Credentials(role string) imds.Credentials {
	c := m.signatures.Issue(wire.Identity{
		ARN:    "arn:aws:sts::" + m.options.AccountID + ":assumed-role/" + role + "/" + m.id,
		UserID: "AROA00000000000000000:" + m.id, Expires: time.Now().Add(credentialsLife),
	}, m.requestID())
	return imds.Credentials{AccessKeyID: c.AccessKeyID, Secret: c.Secret, SessionToken: c.SessionToken, Expires: c.Expires}
}
