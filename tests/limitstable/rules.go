package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The rules are AWS's: https://docs.aws.amazon.com/ebs/latest/userguide/volume_limits.html. Numbers count the root volume
// and stand for an instance with one network interface.
const (
	nitroAttachments = 28 // of volumes, interfaces, instance store disks and accelerators, where they are shared
	xenVolumes       = 40 // of all kinds, instance store included: more can keep a Linux instance from booting
	metalVolumes     = 31 // of most bare metal instances with a shared limit
)

const (
	shared    = "shared"
	dedicated = "dedicated"
)

// instanceType is what the rules need of an answer of DescribeInstanceTypes.
type instanceType struct {
	name         string
	xen, metal   bool
	disks        int // of the instance store
	accelerators int // GPUs and inference, media and training chips
}

// row is what the table says about one size of a family; "*" is every size that has no row.
type row struct {
	family, size string
	volumes      int
	kind, source string
}

// dedicatedFamilies are those that AWS lists with a limit that nothing else counts against.
func dedicatedFamilies() []string {
	return strings.Fields(`c7a c7i c7i-flex c8a c8g c8gb c8gd c8gn c8i c8i-flex c8id f2 g6 g6e g6f g7e gr6 gr6f hpc7a hpc8a
		i7i i7ie i8g i8ge m7a m7i m7i-flex m8a m8azn m8g m8gb m8gd m8gn m8i m8i-flex m8id p4d p4de p5 p5e p5en p6-b200 p6-b300
		p6e-gb200 r7a r7i r7iz r8a r8g r8gb r8gd r8gn r8i r8i-flex r8id trn2 trn2u u7i-12tb u7i-6tb u7i-8tb u7in-16tb u7in-24tb
		u7in-32tb u7inh-32tb x8aedz x8g x8i`)
}

// exceptions are types for which AWS says another number than its rules give: "documented" in the page above, in this
// or an earlier revision; "api" as MaximumEbsAttachments of DescribeInstanceTypes.
func exceptions() map[string]row {
	out := map[string]row{}
	for _, e := range []row{
		// The API says 28 of these five, which no rule explains; one is left for the network interface.
		{size: "dl1.24xlarge", volumes: 27, kind: shared, source: "api"},
		{size: "inf2.24xlarge", volumes: 27, kind: shared, source: "api"},
		{size: "inf2.48xlarge", volumes: 27, kind: shared, source: "api"},
		{size: "trn1.32xlarge", volumes: 27, kind: shared, source: "api"},
		{size: "trn1n.32xlarge", volumes: 27, kind: shared, source: "api"},
		{size: "g5.48xlarge", volumes: 9, kind: shared, source: "documented"},
		{size: "i3.metal", volumes: 27, kind: shared, source: "api"},
		{size: "mac1.metal", volumes: 16, kind: shared, source: "documented"},
		{size: "mac2.metal", volumes: 10, kind: shared, source: "documented"},
		{size: "mac2-m1ultra.metal", volumes: 10, kind: shared, source: "documented"},
		{size: "mac2-m2.metal", volumes: 10, kind: shared, source: "documented"},
		{size: "mac2-m2pro.metal", volumes: 10, kind: shared, source: "documented"},
		{size: "p4d.24xlarge", volumes: 28, kind: dedicated, source: "api"},
		{size: "p4de.24xlarge", volumes: 28, kind: dedicated, source: "api"},
		{size: "p5.48xlarge", volumes: 64, kind: dedicated, source: "api"},
		{size: "p5e.48xlarge", volumes: 64, kind: dedicated, source: "api"},
		{size: "p5en.48xlarge", volumes: 64, kind: dedicated, source: "api"},
		{size: "trn2.48xlarge", volumes: 64, kind: dedicated, source: "api"},
		{size: "hpc7a.12xlarge", volumes: 27, kind: dedicated, source: "api"},
		{size: "hpc7a.24xlarge", volumes: 27, kind: dedicated, source: "api"},
		{size: "hpc7a.48xlarge", volumes: 27, kind: dedicated, source: "api"},
		{size: "hpc7a.96xlarge", volumes: 27, kind: dedicated, source: "api"},
		{size: "vt1.24xlarge", volumes: 27, kind: shared, source: "api"},
	} {
		name := e.size
		e.family, e.size, _ = strings.Cut(name, ".")
		e.source = "exception: " + e.source
		out[name] = e
	}
	return out
}

// rule is the row of a type that the dump has.
func rule(t instanceType) row {
	if r, ok := exceptions()[t.name]; ok {
		return r
	}
	family, size, _ := strings.Cut(t.name, ".")
	r := row{family: family, size: size, kind: shared}
	switch {
	case t.xen:
		r.volumes, r.kind = xenVolumes-t.disks, dedicated
		r.source = "rule: Xen, " + subtraction(xenVolumes, term{t.disks, "disk"})
	case slices.Contains(dedicatedFamilies(), family):
		r.volumes, r.kind, r.source = dedicatedLimit(size), dedicated, "rule: dedicated limit of this size"
	case t.metal:
		r.volumes, r.source = metalVolumes, "rule: bare metal"
	default:
		slots := t.accelerators
		if family == "vt1" {
			slots *= 2 // each of its accelerators takes two attachments
		}
		r.volumes = nitroAttachments - 1 - t.disks - slots
		r.source = "rule: " + subtraction(nitroAttachments, term{1, "interface"}, term{t.disks, "disk"}, term{slots, "accelerator"})
	}
	return r
}

type term struct {
	n    int
	what string
}

func subtraction(total int, terms ...term) string {
	out := strconv.Itoa(total)
	for _, t := range terms {
		if t.n > 0 {
			out += fmt.Sprintf(" - %d %s", t.n, t.what)
			if t.n > 1 {
				out += "s"
			}
		}
	}
	return out
}

// dedicatedLimit is AWS's table of sizes; a size between two has the lower one's limit.
func dedicatedLimit(size string) int {
	if metal, ok := strings.CutPrefix(size, "metal-"); ok {
		if n, err := strconv.Atoi(strings.TrimSuffix(metal, "xl")); err == nil && n >= 32 {
			return 79
		}
		return 39
	}
	n, _ := strconv.Atoi(strings.TrimSuffix(size, "xlarge")) // 0 of xlarge and all below
	switch {
	case n >= 48:
		return 128
	case n >= 32:
		return 88
	case n >= 24:
		return 64
	case n >= 16:
		return 48
	}
	return 32
}

// unseen are the rows of a family that AWS lists as dedicated and the dump lacks: it came later. Its sizes and their
// exceptions are not known, so each row is the least that a comparable family has.
func unseen(family string) []row {
	const source = "family: listed as dedicated, the least of comparable types"
	if strings.HasPrefix(family, "hpc") {
		return []row{{family, "*", 27, dedicated, source}}
	}
	rows := []row{{family, "*", 32, dedicated, source}}
	for _, size := range []string{"16xlarge", "18xlarge"} {
		rows = append(rows, row{family, size, 48, dedicated, source})
	}
	for _, size := range []string{"24xlarge", "32xlarge", "48xlarge", "64xlarge", "96xlarge"} {
		rows = append(rows, row{family, size, 64, dedicated, source})
	}
	return rows
}
