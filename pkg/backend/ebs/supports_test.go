package ebs_test

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestSupports(t *testing.T) {
	t.Parallel()
	b := instant(t).backend()
	for _, tc := range []struct {
		name string
		c    volume.Capability
		want string // part of the error; empty: supported
	}{
		{name: "a mounted file system", c: writer},
		{name: "a raw device", c: volume.Capability{Mode: volume.SingleNodeWriter, Block: true}},
		{name: "reading on one node", c: volume.Capability{Mode: volume.SingleNodeReaderOnly, FSType: "xfs"}},
		{name: "a flag of xfs without a file system: the node's default decides", c: volume.Capability{Mode: volume.SingleNodeWriter, MountFlags: []string{"logbsize=64k"}}},
		{name: "one pod", c: volume.Capability{Mode: volume.SingleNodeSingleWriter, FSType: "ext4"}},
		{name: "several pods of one node", c: volume.Capability{Mode: volume.SingleNodeMultiWriter, FSType: "ext4"}},
		{name: "several nodes and a raw device", c: volume.Capability{Mode: volume.MultiNodeMultiWriter, Block: true}},
		{name: "reading on several nodes", c: volume.Capability{Mode: volume.MultiNodeReaderOnly, FSType: "ext4"}},
		{name: "several nodes and a file system", c: volume.Capability{Mode: volume.MultiNodeMultiWriter, FSType: "ext4"}, want: "destroyed by two writers"},
		{name: "one writer among several nodes", c: volume.Capability{Mode: volume.MultiNodeSingleWriter, FSType: "ext4"}, want: "not supported"},
		{name: "an unknown file system", c: volume.Capability{Mode: volume.SingleNodeWriter, FSType: "ntfs"}, want: `"ntfs" is not supported`},
		{name: "an option that is not on the list", c: volume.Capability{Mode: volume.SingleNodeWriter, MountFlags: []string{"suid"}}, want: "suid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := b.Supports(tc.c)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Supports = %v, want %q", err, tc.want)
			}
		})
	}
}
