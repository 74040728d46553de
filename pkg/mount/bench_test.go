package mount

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkParseTable reads the mount table of a node with 500 mounts.
func BenchmarkParseTable(b *testing.B) {
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "%d 29 259:%d / /var/lib/kubelet/pods/%d/volumes/kubernetes.io~csi/pvc/mount rw,relatime shared:%d - ext4 /dev/nvme%dn1 rw\n", i+30, i, i, i, i)
	}
	content := []byte(text.String())
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := parseTable(content); err != nil {
			b.Fatal(err)
		}
	}
}
