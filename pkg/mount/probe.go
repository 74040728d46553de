package mount

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// content is what blkid found on a disk. The zero value means that the disk is proven empty.
type content struct {
	fsType    string // also a container such as LVM2_member or crypto_LUKS
	partition string // kind of partition table
	unknown   string // why the disk is not empty although nothing is recognised
}

// String says what is there, for an error message.
func (c content) String() string {
	switch {
	case c.unknown != "":
		return c.unknown
	case c.partition != "" && c.fsType != "":
		return fmt.Sprintf("a %s partition table and %s", c.partition, c.fsType)
	case c.partition != "":
		return fmt.Sprintf("a %s partition table", c.partition)
	case c.fsType != "":
		return c.fsType
	default:
		return "nothing"
	}
}

// probe looks at the disk's bytes. blkid's exit code 2 means "nothing found", but also "could not read": so an empty
// disk must in addition read as zeros where file systems keep their superblocks and backups.
func (b *Block) probe(ctx context.Context, t *task, d device) (content, error) {
	out, err := b.tools.read(ctx, t, "blkid", "-p", "-o", "export", d.node)
	switch exitCode(err) {
	case 0:
		if c, found := parseBlkid(out); found {
			return c, nil
		}
	case 8:
		return content{unknown: "signatures of several formats at once"}, nil
	case 2:
	default:
		return content{}, fault.Wrap("probe", d.node, err)
	}
	var c content
	err = t.run(ctx, "probe", d.node, func() (err error) {
		c, err = probeBlank(d.node)
		return err
	})
	if err != nil {
		return content{}, fault.Wrap("probe", d.node, err)
	}
	return c, nil
}

// parseBlkid reads what blkid found. Of a partition it also tells what the partition table says, which is no content.
func parseBlkid(out string) (c content, found bool) {
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "TYPE":
			c.fsType = value
		case "PTTYPE":
			c.partition = value
		}
		found = found || key != "" && key != "DEVNAME" && !strings.HasPrefix(key, "PART_ENTRY_")
	}
	if found && c == (content{}) {
		c.unknown = "something that blkid recognises but does not name"
	}
	return c, found
}

// probeBlank reads the first and the last MiB, and where ext4, xfs and btrfs keep copies of their superblocks: a disk
// whose beginning was overwritten by accident is not empty.
func probeBlank(node string) (content, error) {
	f, err := os.Open(node)
	if err != nil {
		return content{}, err
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return content{}, err
	}
	const mib, window = 1 << 20, 64 << 10
	spots := map[int64]int64{0: mib, size - mib: mib} // offset → length
	for _, offset := range []int64{8 * mib, 64 * mib, 128 * mib, 384 * mib, size / 4, size / 2, size / 4 * 3, 256 << 30} {
		spots[(offset-window/2)&^4095] = window
	}
	zeros := make([]byte, mib)
	buffer := make([]byte, mib)
	for offset, length := range spots {
		offset = max(offset, 0)
		length = min(length, size-offset)
		if length <= 0 {
			continue
		}
		if _, err := f.ReadAt(buffer[:length], offset); err != nil {
			return content{}, err
		}
		if !bytes.Equal(buffer[:length], zeros[:length]) {
			return content{unknown: fmt.Sprintf("data of no known format (at byte %d)", offset)}, nil
		}
	}
	return content{}, nil
}
