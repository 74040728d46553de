package mount

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	mountutils "k8s.io/mount-utils"
	utilio "k8s.io/utils/io"
)

// devno is the number of a block device.
type devno struct{ major, minor uint32 }

func number(dev uint64) devno { return devno{unix.Major(dev), unix.Minor(dev)} }

// String returns the number as sysfs and mountinfo write it.
func (d devno) String() string { return fmt.Sprintf("%d:%d", d.major, d.minor) }

func parseDevno(s string) (devno, error) {
	major, minor, ok := strings.Cut(s, ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	if !ok || errA != nil || errB != nil {
		return devno{}, fmt.Errorf("%q is not a device number", s)
	}
	return devno{uint32(a), uint32(b)}, nil
}

// entry is one line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type entry struct {
	id      int
	number  devno // anonymous (major 0) for btrfs and for file systems without a device
	root    string
	point   string
	options []string // of this mount
	fsType  string
	source  string
	super   []string // of the file system
}

func (e entry) readOnly() bool {
	return slices.Contains(e.options, "ro") || slices.Contains(e.super, "ro")
}

// device returns the number of the block device below the mount. Btrfs shows an anonymous number, so its source's
// node must say it.
func (e entry) device() (devno, bool) {
	if e.number.major != 0 {
		return e.number, true
	}
	var st unix.Stat_t
	if e.fsType != "btrfs" || unix.Stat(e.source, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return devno{}, false
	}
	return number(st.Rdev), true
}

// table is the mount table in the kernel's order: of several mounts on one point the last one is seen.
type table []entry

func readTable() (table, error) {
	// Kernels before 5.8 can miss entries while the table changes: read until two readings agree.
	content, err := utilio.ConsistentRead("/proc/self/mountinfo", 10)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return parseTable(content)
}

// parseTable reads mountinfo. Unlike the parser of mount-utils it undoes the kernel's escapes and only splits at blanks,
// so that no directory name in somebody else's mount can break it.
func parseTable(content []byte) (table, error) {
	var out table
	for line := range bytes.Lines(content) {
		e, err := parseEntry(strings.TrimSuffix(string(line), "\n"))
		if err != nil {
			return nil, fmt.Errorf("read the mount table: line %q: %w", line, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func parseEntry(line string) (entry, error) {
	fields := strings.Split(line, " ")
	separator := slices.Index(fields, "-")
	if separator < 6 || len(fields) < separator+4 {
		return entry{}, fmt.Errorf("%d fields with the separator at %d", len(fields), separator)
	}
	n, err := parseDevno(fields[2])
	if err != nil {
		return entry{}, err
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return entry{}, err
	}
	return entry{
		id: id, number: n, root: unescape(fields[3]), point: unescape(fields[4]), options: strings.Split(fields[5], ","),
		fsType: fields[separator+1], source: unescape(fields[separator+2]), super: strings.Split(fields[separator+3], ","),
	}, nil
}

// unescape undoes \040 and the like; anything else stays as it is.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// at returns what is seen at the path.
func (t table) at(point string) (entry, bool) {
	for _, e := range slices.Backward(t) {
		if e.point == point {
			return e, true
		}
	}
	return entry{}, false
}

// of returns all mounts of the device's file system.
func (t table) of(n devno) []entry {
	var out []entry
	for _, e := range t {
		if d, ok := e.device(); ok && d == n {
			out = append(out, e)
		}
	}
	return out
}

// corrupted reports whether err is what a dead mount answers, and not a missing file or permission.
func corrupted(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) && errno != unix.EACCES && mountutils.IsCorruptedMnt(errno)
}
