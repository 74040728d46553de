package limits

import (
	"strings"
	"testing"
)

func TestLimit_OfATypeAndItsAttachments(t *testing.T) {
	for _, tc := range []struct {
		name, instance string
		facts          Facts
		want           int64
		why            string
	}{
		{"AWS's example with one interface, less the root", "m5.xlarge", Facts{Interfaces: 1, Foreign: 1}, 26, "28 - 1 interface"},
		{"AWS's example with three interfaces", "m5.xlarge", Facts{Interfaces: 3, Foreign: 1}, 24, "interfaces beyond the first: 2"},
		{"AWS's example with an instance store disk", "m5d.xlarge", Facts{Interfaces: 3, Foreign: 1}, 23, "1 disk"},
		{"accelerators take attachments", "g4dn.12xlarge", Facts{Interfaces: 1, Foreign: 1}, 21, "4 accelerators"},
		{"a documented exception", "g5.48xlarge", Facts{Interfaces: 1, Foreign: 1}, 8, "exception: documented"},
		{"eight interfaces of a large accelerated type", "trn1.32xlarge", Facts{Interfaces: 8, Foreign: 1}, 19, "exception: api"},
		{"hardly anything is left", "d3.8xlarge", Facts{Interfaces: 1, Foreign: 1}, 2, "24 disks"},
		{"a dedicated limit ignores interfaces", "m7i.large", Facts{Interfaces: 3, Foreign: 1}, 31, "dedicated"},
		{"a large dedicated limit", "m7i.48xlarge", Facts{Interfaces: 15, Foreign: 1}, 127, "dedicated"},
		{"bare metal with a dedicated limit", "m7i.metal-24xl", Facts{Interfaces: 1, Foreign: 1}, 38, "dedicated"},
		{"bare metal with a shared limit", "m5.metal", Facts{Interfaces: 2, Foreign: 1}, 29, "bare metal"},
		{"Xen", "t2.micro", Facts{Interfaces: 2, Foreign: 1}, 39, "Xen, 40"},
		{"the family that came later", "m8i.large", Facts{Interfaces: 1, Foreign: 1}, 31, "listed as dedicated"},
		{"a size of the family that came later", "m8i.48xlarge", Facts{Interfaces: 1, Foreign: 1}, 63, "listed as dedicated"},
		{"volumes of others", "m5.large", Facts{Interfaces: 1, Foreign: 5}, 22, "with the root volume: 5"},
		{"a root volume that is not seen", "m5.large", Facts{Interfaces: 1}, 26, "with the root volume: 1"},
		{"interfaces that cannot be counted", "m5.large", Facts{Foreign: 1, NoInterfaces: "no IMDS"}, 26, "1 network interface is assumed (no IMDS)"},
		{"never 0, which means no limit", "d3.8xlarge", Facts{Interfaces: 4, Foreign: 9}, 1, "nothing is left"},
		{"an unknown type", "z9.large", Facts{Interfaces: 2, Foreign: 1, StoreDisks: 4}, 21, "default: 27"},
		{"no type at all", "", Facts{Interfaces: 1, Foreign: 1}, 26, "unknown instance type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Limit(tc.instance, tc.facts)
			if got.Volumes != tc.want || !strings.Contains(got.Why, tc.why) {
				t.Errorf("%d because of %q, want %d and %q", got.Volumes, got.Why, tc.want, tc.why)
			}
			if unknown := tc.instance == "" || tc.instance == "z9.large"; got.Known == unknown {
				t.Errorf("Known is %t", got.Known)
			}
		})
	}
}

func TestLimit_UnknownTypes(t *testing.T) {
	for _, name := range []string{"", "m5", "m5.", ".large", "m5.huge", "m8i.*", "#.x", "m5.large,xlarge"} {
		if got := Limit(name, Facts{}); got.Known {
			t.Errorf("%q is known: %s", name, got.Why)
		}
	}
}

// TestTable_HasNoLineThatIsNotRead proves that every line has five columns, a number that can be, and one row for each size.
func TestTable_HasNoLineThatIsNotRead(t *testing.T) {
	types := map[string]bool{}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(strings.TrimSpace(line), "\t")
		if len(columns) != 5 || columns[3] != "shared" && columns[3] != "dedicated" {
			t.Fatalf("line %q", line)
		}
		for size := range strings.SplitSeq(columns[1], ",") {
			name := columns[0] + "." + size
			if types[name] {
				t.Errorf("%s has two rows", name)
			}
			types[name] = true
			if size == "*" {
				continue
			}
			if e, ok := find(name); !ok || e.volumes < 3 || e.volumes > 128 {
				t.Errorf("%s: %+v, %t", name, e, ok)
			}
		}
	}
	if len(types) < 900 {
		t.Errorf("only %d types", len(types))
	}
}
