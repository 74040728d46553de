package volume

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Format is how a new file system is made. A zero field leaves the choice to the tool. Sizes are bytes.
type Format struct {
	BlockBytes, InodeBytes int64
	BytesPerInode, Inodes  int64 // ext4; Inodes wins, as with mke2fs
	ClusterBytes           int64 // ext4 with BigAlloc
	BigAlloc, Encryption   bool  // features of ext4
}

// FormatOption declares one key of a StorageClass that shapes a new file system. The names are the EBS CSI driver's; in
// the volume context they are in lower case, as it writes them. Keys are compared without case.
type FormatOption struct {
	Key  string
	Flag bool   // true or false, otherwise a number
	Help string // one sentence, with the unit

	fits map[string]span // by file system; a flag's span is empty
	set  func(*Format, int64)
}

// span is what a number may be.
type span struct {
	least, most int64
	power       bool // a power of two
}

// FormatOptions lists the declared options.
func FormatOptions() []FormatOption { return slices.Clone(formatOptions) }

// maxBlock is the largest page size of any Linux, in bytes.
const maxBlock = 64 << 10

// formatOptions is the list, made once since every call looks into it.
var formatOptions = []FormatOption{
	{
		Key: "blockSize", Help: "Bytes in a block of the file system (ext4, xfs): a power of two, at most the node's page size, such as 4096 or 4k.",
		fits: map[string]span{Ext4: {1 << 10, maxBlock, true}, XFS: {1 << 10, maxBlock, true}},
		set:  func(f *Format, n int64) { f.BlockBytes = n },
	}, {
		Key: "inodeSize", Help: "Bytes in an inode (ext4, xfs): a power of two, at most a block (ext4) or half a block (xfs).",
		fits: map[string]span{Ext4: {128, maxBlock, true}, XFS: {512, 2048, true}},
		set:  func(f *Format, n int64) { f.InodeBytes = n },
	}, {
		Key: "bytesPerInode", Help: "One inode for so many bytes of disk (ext4).",
		fits: map[string]span{Ext4: {1 << 10, 64 << 20, false}},
		set:  func(f *Format, n int64) { f.BytesPerInode = n },
	}, {
		Key: "numberOfInodes", Help: "Number of inodes (ext4); wins over bytesPerInode.",
		fits: map[string]span{Ext4: {16, 1<<32 - 1, false}},
		set:  func(f *Format, n int64) { f.Inodes = n },
	}, {
		Key: "ext4BigAlloc", Flag: true, Help: "Allocate clusters of several blocks (ext4 bigalloc).",
		fits: map[string]span{Ext4: {}},
		set:  func(f *Format, n int64) { f.BigAlloc = n == 1 },
	}, {
		Key: "ext4ClusterSize", Help: "Bytes in a cluster (ext4 with ext4BigAlloc): a power of two, at least a block.",
		fits: map[string]span{Ext4: {1 << 10, 512 << 20, true}},
		set:  func(f *Format, n int64) { f.ClusterBytes = n },
	}, {
		Key: "ext4EncryptionSupport", Flag: true, Help: "Let directories be encrypted by the kernel (ext4 encrypt, fscrypt).",
		fits: map[string]span{Ext4: {}},
		set:  func(f *Format, n int64) { f.Encryption = n == 1 },
	},
}

// ParseFormatOptions reads the declared options among m, whose other keys it ignores, for a new file system of that
// type. The error names the key, what is wrong with it, and the file system that it does not fit.
func ParseFormatOptions(fsType string, m map[string]string) (Format, error) {
	var f Format
	given, err := formatKeys(m)
	if err != nil {
		return f, err
	}
	for _, o := range formatOptions {
		key, ok := given[o.Key]
		if !ok {
			continue
		}
		s, fits := o.fits[fsType]
		if !fits {
			return Format{}, fmt.Errorf("%q does not fit file system %s, only %s; leave it out", key, fsType, strings.Join(slices.Sorted(maps.Keys(o.fits)), " and "))
		}
		n, err := o.parse(s, m[key])
		if err != nil {
			return Format{}, fmt.Errorf("%q for %s: %w", key, fsType, err)
		}
		o.set(&f, n)
	}
	if err := f.check(fsType); err != nil {
		return Format{}, err
	}
	return f, nil
}

// formatKeys finds the declared options among m: from declared to given key.
func formatKeys(m map[string]string) (map[string]string, error) {
	given := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		for _, o := range formatOptions {
			if !strings.EqualFold(key, o.Key) {
				continue
			}
			if other, twice := given[o.Key]; twice {
				return nil, fmt.Errorf("%q and %q mean the same; give one", other, key)
			}
			given[o.Key] = key
		}
	}
	return given, nil
}

// parse reads a flag as 0 or 1, and a number with an optional k or m for 1024 and 1024².
func (o FormatOption) parse(s span, text string) (int64, error) {
	if o.Flag {
		set, err := strconv.ParseBool(text)
		if err != nil {
			return 0, fmt.Errorf("%.40q is not true or false", text)
		}
		return map[bool]int64{true: 1}[set], nil
	}
	digits, unit := text, int64(1)
	switch {
	case strings.HasSuffix(text, "k"):
		digits, unit = text[:len(text)-1], 1<<10
	case strings.HasSuffix(text, "m"):
		digits, unit = text[:len(text)-1], 1<<20
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if size := int64(n) * unit; err == nil && size >= s.least && size <= s.most && (!s.power || size&(size-1) == 0) {
		return size, nil
	}
	what := "a number"
	if s.power {
		what = "a power of two"
	}
	return 0, fmt.Errorf("%.40q is not %s from %d to %d", text, what, s.least, s.most)
}

// check compares options with each other.
func (f Format) check(fsType string) error {
	block := cmp.Or(f.BlockBytes, 4096) // the tools' default on any disk of a GiB
	switch {
	case fsType == Ext4 && f.InodeBytes > block:
		return fmt.Errorf("inodeSize %d for ext4 is more than a block of %d bytes; make inodeSize smaller or blockSize larger", f.InodeBytes, block)
	case fsType == XFS && f.InodeBytes > block/2:
		return fmt.Errorf("inodeSize %d for xfs is more than half a block of %d bytes; make inodeSize smaller or blockSize larger", f.InodeBytes, block)
	case f.ClusterBytes > 0 && !f.BigAlloc:
		return fmt.Errorf("ext4ClusterSize needs ext4BigAlloc=true")
	case f.ClusterBytes > 0 && f.ClusterBytes < block:
		return fmt.Errorf("ext4ClusterSize %d is less than a block of %d bytes; make it at least as large", f.ClusterBytes, block)
	}
	return nil
}

// context returns the options in the form of the volume context; nil if there are none.
func (f Format) context() map[string]string {
	var out map[string]string
	put := func(key, value string) {
		if out == nil {
			out = map[string]string{}
		}
		out[strings.ToLower(key)] = value
	}
	for key, n := range map[string]int64{
		"blockSize": f.BlockBytes, "inodeSize": f.InodeBytes, "bytesPerInode": f.BytesPerInode,
		"numberOfInodes": f.Inodes, "ext4ClusterSize": f.ClusterBytes,
	} {
		if n > 0 {
			put(key, strconv.FormatInt(n, 10))
		}
	}
	for key, set := range map[string]bool{"ext4BigAlloc": f.BigAlloc, "ext4EncryptionSupport": f.Encryption} {
		if set {
			put(key, "true")
		}
	}
	return out
}

// FormatContext checks the format options among the parameters of a new volume against every way in which it is going
// to be used, and returns what the volume context must say for the node; nil if there are none. Where a capability names
// no file system, one that takes the options must exist: the node's default decides later.
func FormatContext(capabilities []Capability, parameters map[string]string) (map[string]string, error) {
	given, err := formatKeys(parameters)
	if err != nil || len(given) == 0 {
		return nil, err
	}
	if len(capabilities) == 0 {
		capabilities = []Capability{{}}
	}
	var f Format
	for _, c := range capabilities {
		if c.Block {
			key := slices.Sorted(maps.Values(given))[0]
			return nil, fmt.Errorf("%q shapes a file system, and a raw block volume has none; leave it out, or use volumeMode: Filesystem", key)
		}
		if f, err = formatOfAny(c.FSType, parameters); err != nil {
			return nil, err
		}
	}
	return f.context(), nil
}

func formatOfAny(fsType string, parameters map[string]string) (f Format, err error) {
	candidates := FSTypes()
	if fsType != "" {
		candidates = []string{strings.ToLower(fsType)}
	}
	var first error
	for _, candidate := range candidates {
		if f, err = ParseFormatOptions(candidate, parameters); err == nil {
			return f, nil
		}
		if first == nil {
			first = err
		}
	}
	return Format{}, first
}
