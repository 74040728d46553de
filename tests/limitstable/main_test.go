package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dump has one type for each rule.
const dump = `{
 "m5.large":       {"InstanceType": "m5.large", "Hypervisor": "nitro"},
 "m5.xlarge":      {"InstanceType": "m5.xlarge", "Hypervisor": "nitro"},
 "m5d.4xlarge":    {"InstanceType": "m5d.4xlarge", "Hypervisor": "nitro", "InstanceStorageInfo": {"Disks": [{"Count": 2}]}},
 "m5.metal":       {"InstanceType": "m5.metal", "BareMetal": true},
 "inf1.6xlarge":   {"InstanceType": "inf1.6xlarge", "Hypervisor": "nitro", "InferenceAcceleratorInfo": {"Accelerators": [{"Count": 4}]}, "NeuronInfo": {"NeuronDevices": [{"Count": 4}]}},
 "g5.12xlarge":    {"InstanceType": "g5.12xlarge", "Hypervisor": "nitro", "GpuInfo": {"Gpus": [{"Count": 4}]}, "InstanceStorageInfo": {"Disks": [{"Count": 1}]}},
 "g5.48xlarge":    {"InstanceType": "g5.48xlarge", "Hypervisor": "nitro", "GpuInfo": {"Gpus": [{"Count": 8}]}, "InstanceStorageInfo": {"Disks": [{"Count": 2}]}},
 "vt1.6xlarge":    {"InstanceType": "vt1.6xlarge", "Hypervisor": "nitro", "MediaAcceleratorInfo": {"Accelerators": [{"Count": 2}]}},
 "m7i.18xlarge":   {"InstanceType": "m7i.18xlarge", "Hypervisor": "nitro"},
 "m7i.48xlarge":   {"InstanceType": "m7i.48xlarge", "Hypervisor": "nitro"},
 "m7i.metal-24xl": {"InstanceType": "m7i.metal-24xl", "BareMetal": true},
 "c3.large":       {"InstanceType": "c3.large", "Hypervisor": "xen", "InstanceStorageInfo": {"Disks": [{"Count": 2}]}}
}`

func TestTable_HasARowForEveryRule(t *testing.T) {
	types, err := read(strings.NewReader(dump))
	if err != nil {
		t.Fatal(err)
	}
	got := write(table(types))
	for _, want := range []string{
		"m5\tlarge,xlarge\t27\tshared\trule: 28 - 1 interface\n",
		"m5d\t4xlarge\t25\tshared\trule: 28 - 1 interface - 2 disks\n",
		"m5\tmetal\t31\tshared\trule: bare metal\n",
		"inf1\t6xlarge\t23\tshared\trule: 28 - 1 interface - 4 accelerators\n",
		"g5\t12xlarge\t22\tshared\trule: 28 - 1 interface - 1 disk - 4 accelerators\n",
		"g5\t48xlarge\t9\tshared\texception: documented\n",
		"vt1\t6xlarge\t23\tshared\t",
		"m7i\t18xlarge\t48\tdedicated\t",
		"m7i\t48xlarge\t128\tdedicated\t",
		"m7i\tmetal-24xl\t39\tdedicated\t",
		"c3\tlarge\t38\tdedicated\trule: Xen, 40 - 2 disks\n",
		"m8i\t*\t32\tdedicated\tfamily: ",
		"hpc8a\t*\t27\tdedicated\tfamily: ",
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("no line begins with %q", want)
		}
	}
	if strings.Contains(got, "m7i\t*") {
		t.Error("a family of the dump got a row for types that it does not have")
	}
}

func TestRead_RefusesWhatIsNoDump(t *testing.T) {
	for _, text := range []string{"", "[]", `{"m5.large": {}}`, `{"m5": {"InstanceType": "m5"}}`} {
		if _, err := read(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken for a dump", text)
		}
	}
}

func TestRun_NeedsAPackedDump(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain.json")
	if err := os.WriteFile(plain, []byte(dump), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(plain, plain+".out"); err == nil || !strings.Contains(err.Error(), plain) {
		t.Errorf("run = %v", err)
	}
}
