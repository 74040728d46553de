package limits

import (
	_ "embed" // the table
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Facts are what only the instance itself can tell.
type Facts struct {
	Interfaces   int    // attached network interfaces; 0 if they cannot be counted: then one is assumed
	Foreign      int    // attached EBS volumes of others, the root volume included; at least that one is assumed
	StoreDisks   int    // NVMe disks of the instance store; only used for a type that is not in the table
	NoInterfaces string // why they cannot be counted
}

// Answer is a limit and where it comes from.
type Answer struct {
	Volumes int64  // of the asking driver; at least 1, since 0 means "no limit" in CSI (NodeGetInfoResponse)
	Known   bool   // whether the table has the type
	Why     string // the arithmetic, for people
}

// Unknown is the number for a type that the table lacks, before its own disks: most Nitro types take 28 attachments, of
// which one network interface is one. https://docs.aws.amazon.com/ebs/latest/userguide/volume_limits.html
const Unknown = 27

//go:embed table.txt
var table string

// entry is what the table says about a type: volumes beside one network interface, the root volume included.
type entry struct {
	volumes int
	shared  bool
	source  string
}

// Limit answers how many volumes of one driver an instance of the type takes. An empty type is an unknown one.
func Limit(instanceType string, f Facts) Answer {
	e, known := find(instanceType)
	if !known {
		e = entry{Unknown - f.StoreDisks, true, fmt.Sprintf("default: %d less NVMe instance store disks: %d", Unknown, f.StoreDisks)}
	}
	name := instanceType
	if name == "" {
		name = "unknown instance type"
	}
	why := []string{fmt.Sprintf("%s: %d (%s)", name, e.volumes, e.source)}
	volumes := e.volumes
	if e.shared {
		switch {
		case f.Interfaces == 0:
			why = append(why, "1 network interface is assumed")
			if f.NoInterfaces != "" {
				why[len(why)-1] += " (" + f.NoInterfaces + ")"
			}
		case f.Interfaces > 1:
			volumes -= f.Interfaces - 1
			why = append(why, fmt.Sprintf("less network interfaces beyond the first: %d", f.Interfaces-1))
		}
	}
	foreign := max(f.Foreign, 1)
	volumes -= foreign
	why = append(why, fmt.Sprintf("less volumes of others, with the root volume: %d", foreign))
	if volumes < 1 {
		volumes = 1
		why = append(why, "nothing is left, but 1 is the least that can be said")
	}
	return Answer{int64(volumes), known, strings.Join(why, "; ")}
}

// find looks the type up; a size of its own goes before the family's "*".
func find(instanceType string) (e entry, known bool) {
	family, size, ok := strings.Cut(instanceType, ".")
	if !ok || size == "" || size == "*" {
		return entry{}, false
	}
	for line := range strings.Lines(table) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) != 5 || columns[0] != family {
			continue
		}
		own := slices.Contains(strings.Split(columns[1], ","), size)
		volumes, err := strconv.Atoi(columns[2])
		if err != nil || !own && columns[1] != "*" {
			continue
		}
		e, known = entry{volumes, columns[3] == "shared", columns[3] + ", " + columns[4]}, true
		if own {
			return e, true
		}
	}
	return e, known
}

// Xen reports whether instances of the type show volumes under the names that were asked for. All others, and all of
// the future, have NVMe devices.
// https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-nitro-instances.html
func Xen(instanceType string) bool {
	if e, known := find(instanceType); known {
		return strings.Contains(e.source, "Xen")
	}
	family, _, _ := strings.Cut(instanceType, ".")
	return slices.Contains([]string{"cc2", "cg1", "cr1", "g2", "g3", "g3s", "hi1", "hs1", "i2", "m1", "m2", "p2"}, family)
}
