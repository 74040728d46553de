package volume_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestParseFormatOptions(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fsType string
		given  map[string]string
		want   volume.Format
	}{
		{"nothing", volume.Btrfs, map[string]string{"type": "gp3"}, volume.Format{}},
		{"all of ext4", volume.Ext4, map[string]string{
			"blockSize": "1k", "inodeSize": "512", "bytesPerInode": "8192", "numberOfInodes": "100000",
			"ext4BigAlloc": "true", "ext4ClusterSize": "16k", "ext4EncryptionSupport": "true",
		}, volume.Format{BlockBytes: 1024, InodeBytes: 512, BytesPerInode: 8192, Inodes: 100000, ClusterBytes: 16384, BigAlloc: true, Encryption: true}},
		{"all of xfs, in lower case", volume.XFS, map[string]string{"blocksize": "1024", "inodesize": "512"}, volume.Format{BlockBytes: 1024, InodeBytes: 512}},
		{"a flag that says no", volume.Ext4, map[string]string{"ext4bigalloc": "false"}, volume.Format{}},
		{"the largest of each", volume.Ext4, map[string]string{"blockSize": "64k", "inodeSize": "64k", "bytesPerInode": "64m", "numberOfInodes": "4294967295", "ext4bigalloc": "1", "ext4clustersize": "512m"},
			volume.Format{BlockBytes: 65536, InodeBytes: 65536, BytesPerInode: 64 << 20, Inodes: 1<<32 - 1, BigAlloc: true, ClusterBytes: 512 << 20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := volume.ParseFormatOptions(tc.fsType, tc.given)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseFormatOptions_Refused(t *testing.T) {
	for _, tc := range []struct {
		fsType string
		given  map[string]string
		says   []string
	}{
		{volume.Ext4, map[string]string{"blockSize": "3000"}, []string{`"blockSize" for ext4`, `"3000"`, "power of two from 1024 to 65536"}},
		{volume.Ext4, map[string]string{"blockSize": "512"}, []string{"1024"}},
		{volume.Ext4, map[string]string{"blockSize": "131072"}, []string{"65536"}},
		{volume.Ext4, map[string]string{"blockSize": ""}, []string{`"blockSize"`}},
		{volume.Ext4, map[string]string{"blockSize": "4K"}, []string{`"4K"`}},
		{volume.Ext4, map[string]string{"blockSize": "-4096"}, []string{`"-4096"`}},
		{volume.Ext4, map[string]string{"inodeSize": "8192"}, []string{"inodeSize 8192", "block of 4096"}},
		{volume.Ext4, map[string]string{"bytesPerInode": "512"}, []string{"from 1024 to 67108864"}},
		{volume.Ext4, map[string]string{"numberOfInodes": "4294967296"}, []string{"numberOfInodes"}},
		{volume.Ext4, map[string]string{"ext4BigAlloc": "maybe"}, []string{`"maybe" is not true or false`}},
		{volume.Ext4, map[string]string{"ext4ClusterSize": "64k"}, []string{"ext4BigAlloc=true"}},
		{volume.Ext4, map[string]string{"ext4ClusterSize": "2048", "ext4BigAlloc": "true"}, []string{"block of 4096"}},
		{volume.Ext4, map[string]string{"blockSize": "4096", "blocksize": "4096"}, []string{`"blockSize" and "blocksize" mean the same`}},
		{volume.XFS, map[string]string{"inodeSize": "256"}, []string{"from 512 to 2048"}},
		{volume.XFS, map[string]string{"blockSize": "1024", "inodeSize": "1024"}, []string{"half a block of 1024"}},
		{volume.XFS, map[string]string{"bytesPerInode": "4096"}, []string{"file system xfs, only ext4", "leave it out"}},
		{volume.Btrfs, map[string]string{"blockSize": "4096"}, []string{"file system btrfs, only ext4 and xfs"}},
	} {
		got, err := volume.ParseFormatOptions(tc.fsType, tc.given)
		if err == nil || got != (volume.Format{}) {
			t.Errorf("%s %v gives %+v, %v", tc.fsType, tc.given, got, err)
			continue
		}
		for _, part := range tc.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %v: %q does not say %q", tc.fsType, tc.given, err, part)
			}
		}
	}
}

func TestFormatContext(t *testing.T) {
	mounted := func(fsType string) []volume.Capability { return []volume.Capability{{FSType: fsType}} }
	given := map[string]string{"type": "gp3", "blockSize": "4k", "ext4BigAlloc": "true", "ext4EncryptionSupport": "false"}
	want := map[string]string{"blocksize": "4096", "ext4bigalloc": "true"}
	for _, fsType := range []string{"ext4", "EXT4", ""} { // "": the node's default decides
		got, err := volume.FormatContext(mounted(fsType), given)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", fsType, err, diff)
		}
		again, err := volume.ParseFormatOptions(volume.Ext4, got) // on the node
		if err != nil || again != (volume.Format{BlockBytes: 4096, BigAlloc: true}) {
			t.Errorf("the node reads %+v, %v", again, err)
		}
	}
	if got, err := volume.FormatContext(mounted("xfs"), map[string]string{"type": "gp3"}); got != nil || err != nil {
		t.Errorf("no options give %v, %v", got, err)
	}
	for says, capabilities := range map[string][]volume.Capability{
		"file system xfs, only ext4": append(mounted("ext4"), mounted("xfs")...),
		"raw block volume":           {{Block: true}},
	} {
		if got, err := volume.FormatContext(capabilities, given); got != nil || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v gives %v, %v; want an error with %q", capabilities, got, err, says)
		}
	}
}
