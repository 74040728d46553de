package volume_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestParseMountOptions_Allowed(t *testing.T) {
	for _, tc := range []struct {
		name, fsType string
		flags, want  []string
	}{
		{"nothing is fine", volume.Ext4, nil, nil},
		{"generic flags", volume.XFS, []string{"ro", "noatime", "nosuid"}, []string{"ro", "noatime", "nosuid"}},
		{"several in one element", volume.Ext4, []string{"noatime,discard", "nodev"}, []string{"noatime", "discard", "nodev"}},
		{"words that say nothing are dropped", volume.Ext4, []string{"defaults", "rw"}, nil},
		{"ext4 values", volume.Ext4, []string{"data=journal", "commit=30", "errors=remount-ro"}, []string{"data=journal", "commit=30", "errors=remount-ro"}},
		{"xfs values", volume.XFS, []string{"nouuid", "logbsize=256k", "allocsize=1g"}, []string{"nouuid", "logbsize=256k", "allocsize=1g"}},
		{"btrfs values", volume.Btrfs, []string{"compress=zstd:3", "discard=async", "autodefrag"}, []string{"compress=zstd:3", "discard=async", "autodefrag"}},
		{"an SELinux context as kubelet passes it", volume.Ext4, []string{`context="system_u:object_r:container_file_t:s0:c1,c2"`},
			[]string{`context="system_u:object_r:container_file_t:s0:c1,c2"`}},
		{"skipping the journal needs ro", volume.XFS, []string{"ro", "norecovery"}, []string{"ro", "norecovery"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := volume.ParseMountOptions(tc.fsType, tc.flags)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestParseMountOptions_Refused(t *testing.T) {
	for _, tc := range []struct{ name, fsType, flag, want string }{
		{"a typing error gets the nearest name", volume.Ext4, "noatme", `"noatime"`},
		{"another file system's option", volume.Ext4, "nouuid", `"nouuid" is not allowed for ext4`},
		{"systemd", volume.Ext4, "x-systemd.requires=evil.service", "systemd"},
		{"systemd in capitals", volume.Ext4, "X-mount.mkdir", "systemd"},
		{"a helper program", volume.XFS, "helper=/tmp/x", "start a program"},
		{"suid", volume.Ext4, "suid", "nosuid"},
		{"dev", volume.Ext4, "dev", "nodev"},
		{"a bind mount", volume.Ext4, "rbind", "bind mounts"},
		{"propagation", volume.Ext4, "rshared", "propagation"},
		{"another device", volume.XFS, "logdev=/dev/sda", "another device"},
		{"no barriers", volume.Ext4, "nobarrier", "loses data"},
		{"no barriers, as a number", volume.Ext4, "barrier=0", "loses data"},
		{"panic on error", volume.Ext4, "errors=panic", "remount-ro"},
		{"a number out of range", volume.Ext4, "commit=100000", "from 1 to 900"},
		{"a number with a sign", volume.Ext4, "commit=+5", "from 1 to 900"},
		{"a missing value", volume.Ext4, "data", "needs a value"},
		{"a value too many", volume.Ext4, "noatime=1", "takes no value"},
		{"ro and rw", volume.Ext4, "ro,rw", "contradicts"},
		{"an option and its opposite", volume.Ext4, "discard,nodiscard", "contradicts"},
		{"twice", volume.Ext4, "commit=5,commit=6", "given before"},
		{"no journal replay without ro", volume.Ext4, "noload", "need ro"},
		{"stripes", volume.XFS, "sunit=8,swidth=8", "no stripes"},
		{"the old free space cache", volume.Btrfs, "space_cache=v1", "expected v2"},
		{"a read-ahead that is no power of two", volume.Ext4, "inode_readahead_blks=3", "power of two"},
		{"journaled data allocated late", volume.Ext4, "delalloc,data=journal", "leave them out"},
		{"journaled data read without locks", volume.Ext4, "data=journal,dioread_nolock", "leave them out"},
		{"blanks", volume.Ext4, "no atime", "without blanks"},
		{"a newline", volume.Ext4, "noatime\nsuid", "without blanks"},
		{"an empty option", volume.Ext4, "noatime,", "not allowed"},
		{"a long option", volume.Ext4, "context=" + strings.Repeat("a:", 200), "at most 256"},
		{"an open quote", volume.Ext4, `context="a:b:c`, "SELinux"},
		{"a quote that hides an option", volume.Ext4, `context="a:b:c",suid`, "nosuid"},
		{"an unknown file system", "ntfs", "ro", "ext4, xfs, btrfs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := volume.ParseMountOptions(tc.fsType, []string{tc.flag})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, %v; want an error with %q", got, err, tc.want)
			}
		})
	}
}

func FuzzParseMountOptions(f *testing.F) {
	for _, seed := range []string{"", "ro,noatime", `context="a:b:c:d,e"`, "x-systemd.device-timeout=1", "commit=5,,", "compress=zstd:3", `"`, "suid"} {
		f.Add(uint8(0), seed)
		f.Add(uint8(2), seed)
	}
	f.Fuzz(func(t *testing.T, which uint8, flags string) {
		fsType := volume.FSTypes()[int(which)%len(volume.FSTypes())]
		options, err := volume.ParseMountOptions(fsType, []string{flags})
		if err != nil {
			return
		}
		for _, o := range options {
			name, _, _ := strings.Cut(o, "=")
			if strings.ContainsAny(o, " \t\n\\") || name == "suid" || name == "dev" || strings.HasPrefix(name, "x-") || name == "helper" {
				t.Errorf("%q let %q pass", flags, o)
			}
		}
		again, err := volume.ParseMountOptions(fsType, []string{strings.Join(options, ",")})
		if len(options) > 0 && (err != nil || !slices.Equal(again, options)) {
			t.Errorf("what was allowed once is %q, %v the second time", again, err)
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"encrypted", "iops", "iopsPerGB", "type"}
	for word, want := range map[string]string{"encripted": "encrypted", "iop": "iops", "tpye": "", "zone": "", "": ""} {
		if got := volume.Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
