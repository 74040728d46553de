package ec2

import (
	"context"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// stateItem is an instance's state with AWS's number for it:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html
type stateItem struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

func newStateItem(state string) stateItem {
	codes := map[string]int{
		store.Pending: 0, store.Running: 16, store.ShuttingDown: 32, store.Terminated: 48, store.Stopping: 64, store.Stopped: 80,
	}
	return stateItem{codes[state], state}
}

type reservationItem struct {
	ID        string         `xml:"reservationId"`
	Owner     string         `xml:"ownerId"`
	Instances []instanceItem `xml:"instancesSet>item"`
}

type instanceItem struct {
	ID           string          `xml:"instanceId"`
	Image        string          `xml:"imageId"`
	State        stateItem       `xml:"instanceState"`
	PrivateDNS   string          `xml:"privateDnsName"`
	PrivateIP    string          `xml:"privateIpAddress"`
	Type         string          `xml:"instanceType"`
	LaunchTime   wire.Time       `xml:"launchTime"`
	Zone         string          `xml:"placement>availabilityZone"`
	ZoneID       string          `xml:"placement>availabilityZoneId"`
	Tenancy      string          `xml:"placement>tenancy"`
	SubnetID     string          `xml:"subnetId"`
	VPCID        string          `xml:"vpcId"`
	Groups       []groupName     `xml:"groupSet>item"`
	Architecture string          `xml:"architecture"`
	RootType     string          `xml:"rootDeviceType"`
	RootName     string          `xml:"rootDeviceName"`
	Devices      []deviceItem    `xml:"blockDeviceMapping>item"`
	Hypervisor   string          `xml:"hypervisor"`
	Tags         []tag           `xml:"tagSet>item"`
	Interfaces   []interfaceItem `xml:"networkInterfaceSet>item"`
	EBSOptimized bool            `xml:"ebsOptimized"` // what RunInstances asked for, not what the type is by itself
}

type deviceItem struct {
	Device              string    `xml:"deviceName"`
	VolumeID            string    `xml:"ebs>volumeId"`
	Status              string    `xml:"ebs>status"`
	AttachTime          wire.Time `xml:"ebs>attachTime"`
	DeleteOnTermination bool      `xml:"ebs>deleteOnTermination"`
}

type interfaceItem struct {
	ID          string `xml:"networkInterfaceId"`
	SubnetID    string `xml:"subnetId"`
	VPCID       string `xml:"vpcId"`
	MAC         string `xml:"macAddress"`
	PrivateIP   string `xml:"privateIpAddress"`
	Status      string `xml:"status"`
	DeviceIndex int    `xml:"attachment>deviceIndex"`
	CardIndex   int    `xml:"attachment>networkCardIndex"`
}

// seenInstance is an instance and its attachments as the instances' view shows them.
type seenInstance struct {
	*store.Instance
	devices []deviceItem
	subnet  string
	group   string
}

// seenInstances must be called inside Read or Update.
func (s *Service) seenInstances() []seenInstance {
	devices := map[string][]deviceItem{}
	for _, v := range s.visibleVolumes(viewInstances) {
		for _, a := range v.Attachments {
			devices[a.Instance] = append(devices[a.Instance], deviceItem{a.Device, v.ID, a.State, wire.NewTime(a.Since), a.DeleteOnTermination})
		}
	}
	var out []seenInstance
	group, subnets := DefaultGroup(s.Store, defaultVPC), map[string]string{}
	for _, zone := range s.Zones {
		subnets[zone] = s.subnetOf(zone).ID
	}
	for _, i := range s.Store.Instances.All(viewInstances) {
		if i.State == store.Terminated {
			delete(devices, i.ID)
		}
		out = append(out, seenInstance{i, devices[i.ID], subnets[i.Zone], group})
	}
	return out
}

// see must be called inside Read or Update.
func (s *Service) see(i *store.Instance, devices []deviceItem) seenInstance {
	return seenInstance{i, devices, s.subnetOf(i.Zone).ID, DefaultGroup(s.Store, defaultVPC)}
}

func (s *Service) instanceItem(i seenInstance) instanceItem {
	n := Network{Number: i.Number}
	item := instanceItem{
		ID: i.ID, Image: i.Image, State: newStateItem(i.State), PrivateDNS: n.Hostname(), PrivateIP: n.IP(0), Type: i.Type,
		LaunchTime: wire.NewTime(i.Launched), Zone: i.Zone, ZoneID: s.zoneID(i.Zone), Tenancy: "default",
		SubnetID: i.subnet, VPCID: defaultVPC, Groups: []groupName{{i.group, "default"}}, Architecture: "x86_64",
		RootType: "ebs", RootName: rootDevice, Devices: i.devices, Hypervisor: "xen", Tags: tagSet(i.Tags),
	}
	for k := range i.Interfaces {
		item.Interfaces = append(item.Interfaces, interfaceItem{
			ID: fmt.Sprintf("eni-%017x", i.Number<<8|k), SubnetID: item.SubnetID, VPCID: item.VPCID,
			MAC: n.MAC(k), PrivateIP: n.IP(k), Status: "in-use", DeviceIndex: k,
		})
	}
	return item
}

// Network makes an instance's addresses from its number.
type Network struct{ Number int }

// IP is the private address of the n-th interface.
func (n Network) IP(k int) string { return fmt.Sprintf("10.%d.%d.%d", k, n.Number/250, n.Number%250+4) }

// MAC is the hardware address of the n-th interface.
func (n Network) MAC(k int) string {
	return fmt.Sprintf("02:00:00:%02x:%02x:%02x", n.Number>>8&0xff, n.Number&0xff, k)
}

// Hostname is the instance's private name.
func (n Network) Hostname() string {
	return fmt.Sprintf("ip-10-0-%d-%d.ec2.internal", n.Number/250, n.Number%250+4)
}

func (s *Service) describeInstances(_ context.Context, p *wire.Params) (any, error) {
	type instance = seenInstance
	var all []instance
	s.Store.Read(func() { all = s.seenInstances() })
	devices := func(field func(deviceItem) string) func(instance) []string {
		return func(i instance) []string {
			var out []string
			for _, d := range i.devices {
				out = append(out, field(d))
			}
			return out
		}
	}
	page, next, err := listing[instance]{
		idParameter: "InstanceId", minResults: 5,
		key: func(i instance) string { return i.ID }, checkIDs: checkInstanceIDs, missing: noInstances,
		tags: func(i instance) map[string]string { return i.Tags },
		fields: map[string]func(instance) []string{
			"availability-zone":                func(i instance) []string { return one(i.Zone) },
			"block-device-mapping.device-name": devices(func(d deviceItem) string { return d.Device }),
			"block-device-mapping.status":      devices(func(d deviceItem) string { return d.Status }),
			"block-device-mapping.volume-id":   devices(func(d deviceItem) string { return d.VolumeID }),
			"image-id":                         func(i instance) []string { return one(i.Image) },
			"instance-id":                      func(i instance) []string { return one(i.ID) },
			"instance-state-code":              func(i instance) []string { return num(newStateItem(i.State).Code) },
			"instance-state-name":              func(i instance) []string { return one(i.State) },
			"instance-type":                    func(i instance) []string { return one(i.Type) },
			"private-dns-name":                 func(i instance) []string { return one(Network{i.Number}.Hostname()) },
			"private-ip-address":               func(i instance) []string { return one(Network{i.Number}.IP(0)) },
			"vpc-id":                           func(instance) []string { return one(defaultVPC) },
		},
	}.pick(p, all)
	if err != nil {
		return nil, err
	}
	var items []reservationItem
	for _, i := range page {
		items = append(items, reservationItem{"r" + i.ID[1:], s.Account, []instanceItem{s.instanceItem(i)}})
	}
	return struct {
		Items []reservationItem `xml:"reservationSet>item"`
		Next  string            `xml:"nextToken,omitempty"`
	}{items, next}, nil
}
