package ec2

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// rootDevice is where every instance's root volume is. The volume itself is shown nowhere.
const rootDevice = "/dev/xvda"

// InstanceType is what a type of instance can do:
// https://docs.aws.amazon.com/ebs/latest/userguide/volume_limits.html
type InstanceType struct {
	Name        string
	VCPUs       int
	MemoryMiB   int
	Nitro       bool
	Attachments int  // of volumes; of a shared limit, of volumes and network interfaces together
	Shared      bool // network interfaces count against Attachments
	Interfaces  int  // network interfaces at most
}

// InstanceTypes are the types that the emulator has.
func InstanceTypes() []InstanceType {
	return []InstanceType{
		{"c5.large", 2, 4096, true, 28, true, 3},
		{"m5.large", 2, 8192, true, 28, true, 3},
		{"m5.xlarge", 4, 16384, true, 28, true, 4},
		{"m7i.48xlarge", 192, 786432, true, 128, false, 15},
		{"m7i.large", 2, 8192, true, 32, false, 3},
		{"r5.large", 2, 16384, true, 28, true, 3},
		{"t2.micro", 1, 1024, false, 39, false, 2},
		{"t3.micro", 2, 1024, true, 28, true, 2},
	}
}

// FindInstanceType is the type with that name.
func FindInstanceType(name string) (InstanceType, bool) {
	for _, t := range InstanceTypes() {
		if t.Name == name {
			return t, true
		}
	}
	return InstanceType{}, false
}

// volumeLimit is how many volumes the instance takes beside its root volume.
func (t InstanceType) volumeLimit(i *store.Instance) int {
	if i.AttachLimit > 0 {
		return i.AttachLimit
	}
	limit := t.Attachments - 1
	if t.Shared {
		limit -= i.Interfaces
	}
	return limit
}

// typeItem is an instance type in an answer.
type typeItem struct {
	Name              string   `xml:"instanceType"`
	CurrentGeneration bool     `xml:"currentGeneration"`
	BareMetal         bool     `xml:"bareMetal"`
	Hypervisor        string   `xml:"hypervisor"`
	Architectures     []string `xml:"processorInfo>supportedArchitectures>item"`
	VCPUs             int      `xml:"vCpuInfo>defaultVCpus"`
	MemoryMiB         int      `xml:"memoryInfo>sizeInMiB"`
	InstanceStorage   bool     `xml:"instanceStorageSupported"`
	EBS               ebsItem  `xml:"ebsInfo"`
	Interfaces        int      `xml:"networkInfo>maximumNetworkInterfaces"`
	Cards             int      `xml:"networkInfo>maximumNetworkCards"`
	ENA               string   `xml:"networkInfo>enaSupport"`
	RootDeviceTypes   []string `xml:"supportedRootDeviceTypes>item"`
	Virtualization    []string `xml:"supportedVirtualizationTypes>item"`
}

type ebsItem struct {
	Optimized   string `xml:"ebsOptimizedSupport"`
	Encryption  string `xml:"encryptionSupport"`
	NVMe        string `xml:"nvmeSupport"`
	Attachments int    `xml:"maximumEbsAttachments"`
	LimitType   string `xml:"attachmentLimitType"`
	Cards       int    `xml:"maximumEbsCards"`
}

func newTypeItem(t InstanceType) typeItem {
	item := typeItem{
		Name: t.Name, CurrentGeneration: true, Hypervisor: "nitro", Architectures: one("x86_64"),
		VCPUs: t.VCPUs, MemoryMiB: t.MemoryMiB, Interfaces: t.Interfaces, Cards: 1, ENA: "required",
		RootDeviceTypes: one("ebs"), Virtualization: one("hvm"),
		EBS: ebsItem{Optimized: "default", Encryption: "supported", NVMe: "required", Attachments: t.Attachments, LimitType: "dedicated", Cards: 1},
	}
	if t.Shared {
		item.EBS.LimitType = "shared"
	}
	if !t.Nitro {
		item.Hypervisor, item.ENA, item.EBS.NVMe, item.EBS.Optimized = "xen", "unsupported", "unsupported", "unsupported"
		item.Architectures = []string{"i386", "x86_64"}
	}
	return item
}

func (s *Service) describeInstanceTypes(_ context.Context, p *wire.Params) (any, error) {
	all := InstanceTypes()
	if names := p.List("InstanceType"); len(names) > 0 {
		var missing []string
		for _, n := range names {
			if _, ok := FindInstanceType(n); !ok {
				missing = append(missing, n)
			}
		}
		if len(missing) > 0 {
			return nil, wire.Errorf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(missing, ", "))
		}
		all = slices.DeleteFunc(all, func(t InstanceType) bool { return !slices.Contains(names, t.Name) })
	}
	slices.SortFunc(all, func(a, b InstanceType) int { return cmp.Compare(a.Name, b.Name) })
	page, next, err := listing[InstanceType]{
		key: func(t InstanceType) string { return t.Name }, minResults: 5,
		fields: map[string]func(InstanceType) []string{
			"bare-metal":                       func(InstanceType) []string { return truth(false) },
			"current-generation":               func(InstanceType) []string { return truth(true) },
			"hypervisor":                       func(t InstanceType) []string { return one(newTypeItem(t).Hypervisor) },
			"instance-type":                    func(t InstanceType) []string { return one(t.Name) },
			"ebs-info.nvme-support":            func(t InstanceType) []string { return one(newTypeItem(t).EBS.NVMe) },
			"ebs-info.attachment-limit-type":   func(t InstanceType) []string { return one(newTypeItem(t).EBS.LimitType) },
			"ebs-info.maximum-ebs-attachments": func(t InstanceType) []string { return num(t.Attachments) },
		},
	}.pick(p, all)
	if err != nil {
		return nil, err
	}
	var items []typeItem
	for _, t := range page {
		items = append(items, newTypeItem(t))
	}
	return struct {
		Items []typeItem `xml:"instanceTypeSet>item"`
		Next  string     `xml:"nextToken,omitempty"`
	}{items, next}, nil
}
