// Command limitstable writes the table of attach limits from an answer of DescribeInstanceTypes. It knows AWS's rules for
// what the answer leaves open; it must not know who reads the table.
package main

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

const header = `# How many EBS volumes an instance type takes, its root volume included, beside one network interface.
# Made by "make limits-table" from a dump of DescribeInstanceTypes; do not edit.
# Rules and exceptions: https://docs.aws.amazon.com/ebs/latest/userguide/volume_limits.html and tests/limitstable/rules.go.
# family<tab>sizes<tab>volumes<tab>limit shared with interfaces, or dedicated to volumes<tab>source
`

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: limitstable DUMP.json.gz TABLE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "limitstable:", err)
		os.Exit(1)
	}
}

func run(dump, path string) error {
	f, err := os.Open(dump)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", dump, err)
	}
	types, err := read(unpacked)
	if err != nil {
		return fmt.Errorf("%s: %w", dump, err)
	}
	return os.WriteFile(path, []byte(write(table(types))), 0o644)
}

// described is one type in the dump, under the names of EC2's API. Each kind of accelerator has its own list.
type described struct {
	Name       string `json:"InstanceType"`
	Hypervisor string
	BareMetal  bool
	Store      struct{ Disks []counted }         `json:"InstanceStorageInfo"`
	GPU        struct{ Gpus []counted }          `json:"GpuInfo"`
	Inference  struct{ Accelerators []counted }  `json:"InferenceAcceleratorInfo"`
	Neuron     struct{ NeuronDevices []counted } `json:"NeuronInfo"`
	Media      struct{ Accelerators []counted }  `json:"MediaAcceleratorInfo"`
}

type counted struct{ Count int }

func sum(list []counted) (n int) {
	for _, c := range list {
		n += c.Count
	}
	return n
}

func read(r io.Reader) ([]instanceType, error) {
	var dump map[string]described
	if err := json.NewDecoder(r).Decode(&dump); err != nil {
		return nil, err
	}
	var types []instanceType
	for name, d := range dump {
		if name != d.Name || strings.Count(name, ".") != 1 {
			return nil, fmt.Errorf("%q is not an instance type", name)
		}
		types = append(types, instanceType{
			name: name, xen: d.Hypervisor == "xen", metal: d.BareMetal, disks: sum(d.Store.Disks),
			// Neuron and inference describe the same chips.
			accelerators: sum(d.GPU.Gpus) + max(sum(d.Inference.Accelerators), sum(d.Neuron.NeuronDevices)) + sum(d.Media.Accelerators),
		})
	}
	return types, nil
}

// table has a row for every type, sorted by family and number.
func table(types []instanceType) []row {
	seen, rows := map[string]bool{}, []row(nil)
	for _, t := range types {
		r := rule(t)
		seen[r.family] = true
		rows = append(rows, r)
	}
	for _, family := range dedicatedFamilies() {
		if !seen[family] {
			rows = append(rows, unseen(family)...)
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.volumes, b.volumes), cmp.Compare(a.kind, b.kind),
			cmp.Compare(a.source, b.source), cmp.Compare(len(a.size), len(b.size)), cmp.Compare(a.size, b.size))
	})
	return rows
}

// write puts sizes that have all in common on one line.
func write(rows []row) string {
	var out strings.Builder
	out.WriteString(header)
	for i := 0; i < len(rows); {
		first, sizes := rows[i], []string(nil)
		for ; i < len(rows); i++ {
			same := rows[i]
			if same.size = first.size; same != first {
				break
			}
			sizes = append(sizes, rows[i].size)
		}
		fmt.Fprintf(&out, "%s\t%s\t%d\t%s\t%s\n", first.family, strings.Join(sizes, ","), first.volumes, first.kind, first.source)
	}
	return out.String()
}
