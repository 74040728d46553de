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
			volume.BlockPlan{FSType: "xfs", Options: volume.MountOptions{"noatime"}, MayFormat: true}},
		{"the default file system is taken where none is named", fresh, mountCapability(volume.SingleNodeWriter, ""),
			volume.BlockPlan{FSType: "ext4", MayFormat: true}},
		{"a hand-written volume is never formatted", nil, mountCapability(volume.SingleNodeWriter, "ext4"),
			volume.BlockPlan{FSType: "ext4"}},
		{"a volume with a source is never formatted", map[string]string{volume.ContextMayFormat: "true", volume.ContextSource: "snap-1"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4"}},
		{"our own word beats the provisioner's key", map[string]string{volume.ContextMayFormat: "false", volume.ContextProvisioner: "x"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4"}},
		{"another driver's dynamic volume was made empty", map[string]string{volume.ContextProvisioner: "x"},
			mountCapability(volume.SingleNodeWriter, "ext4"), volume.BlockPlan{FSType: "ext4", MayFormat: true}},
		{"a reader never formats", fresh, mountCapability(volume.SingleNodeReaderOnly, "ext4"),
			volume.BlockPlan{FSType: "ext4", ReadOnly: true}},
		{"the mount option ro makes a reader", fresh, mountCapability(volume.SingleNodeWriter, "ext4", "ro"),
			volume.BlockPlan{FSType: "ext4", Options: volume.MountOptions{"ro"}, ReadOnly: true}},
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

func TestNewBlockPlan_Refused(t *testing.T) {
	for name, tc := range map[string]struct {
		handle string
		c      volume.Capability
		want   string
	}{
		"another backend's handle":  {"fs-01234567", mountCapability(volume.SingleNodeWriter, "ext4"), "EBS volumes"},
		"no handle at all":          {"", mountCapability(volume.SingleNodeWriter, "ext4"), "vol-"},
		"an unknown file system":    {handle, mountCapability(volume.SingleNodeWriter, "zfs"), "ext4, xfs, btrfs"},
		"an unknown mount option":   {handle, mountCapability(volume.SingleNodeWriter, "ext4", "nouid"), "nouid"},
		"a dangerous mount options": {handle, mountCapability(volume.SingleNodeWriter, "ext4", "suid"), "suid"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := volume.NewBlockPlan(tc.handle, nil, tc.c, volume.Ext4)
			if err == nil || !strings.Contains(err.Error(), tc.want) || got.Handle != "" {
				t.Errorf("got %+v, %v; want no plan and an error with %q", got, err, tc.want)
			}
		})
	}
}

func FuzzMountPlan(f *testing.F) {
	f.Add(handle, "true", "", "ext4", "noatime", false, string(volume.SingleNodeWriter))
	f.Add(handle, "", "snap-0", "XFS", "ro", false, string(volume.SingleNodeReaderOnly))
	f.Add("vol-01234567", "true", "", "", "", true, string(volume.MultiNodeMultiWriter))
	f.Add("s3://bucket", "x", "x", "zfs", "suid", false, "")
	f.Fuzz(func(t *testing.T, handle, may, source, fsType, flag string, block bool, mode string) {
		context := map[string]string{volume.ContextMayFormat: may, volume.ContextSource: source}
		c := volume.Capability{Mode: volume.AccessMode(mode), Block: block, FSType: fsType, MountFlags: []string{flag}}
		p, err := volume.NewBlockPlan(handle, context, c, volume.Ext4)
		switch {
		case err != nil:
			return
		case p.MayFormat && (may != "true" || source != "" || block || p.ReadOnly || c.Mode.ReadOnly()):
			t.Errorf("%+v may format with may-format=%q, source=%q", p, may, source)
		case p.Serial == "" || "vol-"+strings.TrimPrefix(p.Serial, "vol") != p.Handle:
			t.Errorf("serial %q does not belong to handle %q", p.Serial, p.Handle)
		case p.Raw != (p.FSType == ""):
			t.Errorf("%+v is neither raw nor has a file system", p)
		}
	})
}
