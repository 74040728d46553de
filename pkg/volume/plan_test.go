package volume_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

const handle = "vol-0123456789abcdef0"

func mountCapability(mode volume.AccessMode, fsType string, flags ...string) volume.Capability {
	return volume.Capability{Mode: mode, FSType: fsType, MountFlags: flags}
}

func TestNewBlockPlan(t *testing.T) {
	fresh := map[string]string{volume.ContextMayFormat: "true"}
	for _, tc := range []struct {
		name    string
		context map[string]string
		c       volume.Capability
		want    volume.BlockPlan
	}{
		{"a fresh volume may be formatted", fresh, mountCapability(volume.SingleNodeWriter, "xfs", "noatime"),
			volume.BlockPlan{FSType: "xfs", Layout: volume.LayoutRaw, Options: volume.MountOptions{"noatime"}, MayFormat: true}},
		{"the default file system is taken where none is named", fresh, mountCapability(volume.SingleNodeWriter, ""),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutRaw, MayFormat: true}},
		{"a hand-written volume is never formatted", nil, mountCapability(volume.SingleNodeWriter, "ext4"),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutUnknown}},
		{"a volume with a source is never formatted", map[string]string{volume.ContextMayFormat: "true", volume.ContextSource: "snap-1"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutUnknown, Source: "snap-1"}},
		{"our own word beats the provisioner's key", map[string]string{volume.ContextMayFormat: "false", volume.ContextProvisioner: "x"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutUnknown}},
		{"another driver's dynamic volume was made empty", map[string]string{volume.ContextProvisioner: "x"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutRaw, MayFormat: true}},
		{"a reader never formats", fresh, mountCapability(volume.SingleNodeReaderOnly, "ext4"),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutRaw, ReadOnly: true}},
		{"the mount option ro makes a reader", fresh, mountCapability(volume.SingleNodeWriter, "ext4", "ro"),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutRaw, Options: volume.MountOptions{"ro"}, ReadOnly: true}},
		{"a reader on many nodes is a reader that replays nothing", nil, mountCapability(volume.MultiNodeReaderOnly, "xfs"),
			volume.BlockPlan{FSType: "xfs", Layout: volume.LayoutUnknown, ReadOnly: true, Clean: true}},
		{"norecovery forbids to replay anything", nil, mountCapability(volume.SingleNodeWriter, "xfs", "ro,norecovery"),
			volume.BlockPlan{FSType: "xfs", Layout: volume.LayoutUnknown, Options: volume.MountOptions{"ro", "norecovery"}, ReadOnly: true, Clean: true}},
		{"noload forbids to replay anything", nil, mountCapability(volume.SingleNodeReaderOnly, "ext4", "ro,noload"),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutUnknown, Options: volume.MountOptions{"ro", "noload"}, ReadOnly: true, Clean: true}},
		{"a fresh volume gets the layout that its claim asked for", map[string]string{volume.ContextMayFormat: "true", volume.ContextLayout: "bosh"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutBosh, MayFormat: true}},
		{"a blank disk becomes raw", map[string]string{volume.ContextMayFormat: "true", volume.ContextLayout: "blank"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutRaw, MayFormat: true}},
		{"what nobody knows is never formatted", map[string]string{volume.ContextMayFormat: "true", volume.ContextLayout: "unknown"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutUnknown}},
		{"format options of the EBS CSI driver are taken", map[string]string{volume.ContextMayFormat: "true", "blocksize": "1024", "ext4bigalloc": "true"},
			mountCapability(volume.SingleNodeWriter, "ext4"),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutRaw, MayFormat: true, Format: volume.Format{BlockBytes: 1024, BigAlloc: true}}},
		{"a single writer has one target", nil, mountCapability(volume.SingleNodeSingleWriter, "ext4"),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutUnknown, OneTarget: true}},
		{"several writers on one node may have several", nil, mountCapability(volume.SingleNodeMultiWriter, "ext4"),
			volume.BlockPlan{FSType: "ext4", Layout: volume.LayoutUnknown}},
		{"a raw device is shared by nodes", nil, volume.Capability{Mode: volume.MultiNodeMultiWriter, Block: true},
			volume.BlockPlan{Raw: true}},
		{"a raw device has no file system", fresh, volume.Capability{Mode: volume.SingleNodeWriter, Block: true, FSType: "ext4"},
			volume.BlockPlan{Raw: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Handle, tc.want.Serial = handle, "vol0123456789abcdef0"
			got, err := volume.NewBlockPlan(handle, tc.context, tc.c, volume.Ext4)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNewPlan_WhatHasASourceIsNeverFormatted, whether the volume context or the controller tells of it.
func TestNewPlan_WhatHasASourceIsNeverFormatted(t *testing.T) {
	writer := volume.Capability{Mode: volume.SingleNodeWriter}
	for name, tc := range map[string]struct {
		context, publish string
		want             bool
		source           string
	}{
		"none":                      {"", "", true, ""},
		"of the context":            {"snap-00000001", "", false, "snap-00000001"},
		"that the controller found": {"", "snap-00000002", false, "snap-00000002"},
		"of both":                   {"snap-00000001", "snap-00000002", false, "snap-00000001"},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := volume.NewPlan(volume.PlanRequest{
				Handle: "vol-0123456789abcdef0", Capability: writer, FSType: volume.Ext4,
				Context: map[string]string{volume.ContextMayFormat: "true", volume.ContextSource: tc.context},
				Publish: map[string]string{volume.ContextSource: tc.publish},
			})
			if block, ok := plan.(volume.BlockPlan); err != nil || !ok || block.MayFormat != tc.want || block.Source != tc.source {
				t.Errorf("%+v, %v; want MayFormat %t and source %q", plan, err, tc.want, tc.source)
			}
		})
	}
}

func TestNewBlockPlan_Refused(t *testing.T) {
	for name, tc := range map[string]struct {
		handle  string
		context map[string]string
		c       volume.Capability
		want    string
	}{
		"another backend's handle":          {"fs-01234567", nil, mountCapability(volume.SingleNodeWriter, "ext4"), "EBS volumes"},
		"no handle at all":                  {"", nil, mountCapability(volume.SingleNodeWriter, "ext4"), "vol-"},
		"an unknown file system":            {handle, nil, mountCapability(volume.SingleNodeWriter, "zfs"), "ext4, xfs, btrfs"},
		"an unknown mount option":           {handle, nil, mountCapability(volume.SingleNodeWriter, "ext4", "nouid"), "nouid"},
		"a dangerous mount options":         {handle, nil, mountCapability(volume.SingleNodeWriter, "ext4", "suid"), "suid"},
		"a file system for many writers":    {handle, nil, mountCapability(volume.MultiNodeMultiWriter, "ext4"), "raw block volume"},
		"one writer among reading nodes":    {handle, nil, mountCapability(volume.MultiNodeSingleWriter, "ext4"), "raw block volume"},
		"an unknown layout":                 {handle, map[string]string{volume.ContextLayout: "mbr"}, mountCapability(volume.SingleNodeWriter, "ext4"), "blank, raw, bosh, unknown"},
		"a layout that btrfs does not have": {handle, map[string]string{volume.ContextLayout: "bosh"}, mountCapability(volume.SingleNodeWriter, "btrfs"), "ext4 and xfs"},
		"an option that is no number":       {handle, map[string]string{"blocksize": "-O ^has_journal"}, mountCapability(volume.SingleNodeWriter, "ext4"), `"blocksize" for ext4`},
		"an option of another file system":  {handle, map[string]string{"ext4bigalloc": "true"}, mountCapability(volume.SingleNodeWriter, "xfs"), "file system xfs, only ext4"},
		"an option for a raw device":        {handle, map[string]string{"blocksize": "4096"}, volume.Capability{Mode: volume.SingleNodeWriter, Block: true}, "volumeMode: Filesystem"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := volume.NewBlockPlan(tc.handle, tc.context, tc.c, volume.Ext4)
			if err == nil || !strings.Contains(err.Error(), tc.want) || got.Handle != "" {
				t.Errorf("got %+v, %v; want no plan and an error with %q", got, err, tc.want)
			}
		})
	}
}

func FuzzMountPlan(f *testing.F) {
	f.Add(handle, "true", "", "", "ext4", "noatime", false, string(volume.SingleNodeWriter), "4k")
	f.Add(handle, "", "snap-0", "unknown", "XFS", "ro", false, string(volume.SingleNodeReaderOnly), "2048")
	f.Add("vol-01234567", "true", "", "bosh", "", "", true, string(volume.MultiNodeMultiWriter), "")
	f.Add("s3://bucket", "x", "x", "mbr", "zfs", "suid", false, "", "1 -O x")
	f.Fuzz(func(t *testing.T, handle, may, source, layout, fsType, flag string, block bool, mode, size string) {
		context := map[string]string{volume.ContextMayFormat: may, volume.ContextSource: source, volume.ContextLayout: layout, "blocksize": size}
		c := volume.Capability{Mode: volume.AccessMode(mode), Block: block, FSType: fsType, MountFlags: []string{flag}}
		p, err := volume.NewBlockPlan(handle, context, c, volume.Ext4)
		switch {
		case err != nil:
			return
		case p.MayFormat && (may != "true" || source != "" || layout == "unknown" || block || p.ReadOnly || c.Mode.MultiNode() || c.Mode.ReadOnly()):
			t.Errorf("%+v may format with may-format=%q, source=%q, layout=%q", p, may, source, layout)
		case !p.Raw && (p.Layout == volume.LayoutBosh) != (layout == "bosh"):
			t.Errorf("%+v is of another layout than %q", p, layout)
		case !p.Raw && (p.Format.BlockBytes < 1024 || p.Format.BlockBytes&(p.Format.BlockBytes-1) != 0):
			t.Errorf("%+v has impossible blocks from %q", p, size)
		case p.Serial == "" || "vol-"+strings.TrimPrefix(p.Serial, "vol") != p.Handle:
			t.Errorf("serial %q does not belong to handle %q", p.Serial, p.Handle)
		case p.Raw != (p.FSType == ""):
			t.Errorf("%+v is neither raw nor has a file system", p)
		}
	})
}
