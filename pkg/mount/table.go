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
	parent  int
	peers   int   // the peer group (shared:N) of a mount that propagates, else 0
	master  int   // the peer group that it receives from (master:N), else 0
	number  devno // anonymous (major 0) for btrfs and for file systems without a device
	root    string
	point   string
	options []string // of this mount
	fsType  string
	source  string
	super   []string // of the file system
}

// readOnly reports whether nothing can be written through the mount, also where the kernel made the file system so after an
// error (emergency_ro, since Linux 6.15).
func (e entry) readOnly() bool {
	return slices.Contains(e.options, "ro") || slices.Contains(e.super, "ro") || slices.Contains(e.super, "emergency_ro")
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

// table is the mount table.
type table []entry

func readTable() (table, error) { return readTableOf("/proc/self/mountinfo") }

func readTableOf(path string) (table, error) {
	// Kernels before 5.8 can miss entries while the table changes: read until two readings agree.
	content, err := utilio.ConsistentRead(path, 10)
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
	id, errID := strconv.Atoi(fields[0])
	parent, errParent := strconv.Atoi(fields[1])
	peers, errPeers := group(fields[6:separator], "shared:")
	master, errMaster := group(fields[6:separator], "master:")
	if err := errors.Join(errID, errParent, errPeers, errMaster); err != nil {
		return entry{}, err
	}
	return entry{
		id: id, parent: parent, peers: peers, master: master, number: n, root: unescape(fields[3]), point: unescape(fields[4]), options: strings.Split(fields[5], ","),
		fsType: fields[separator+1], source: unescape(fields[separator+2]), super: strings.Split(fields[separator+3], ","),
	}, nil
}

// group returns the number of a peer group among the optional fields, 0 if it is in none.
func group(fields []string, tag string) (int, error) {
	for _, f := range fields {
		if n, ok := strings.CutPrefix(f, tag); ok {
			return strconv.Atoi(n)
		}
	}
	return 0, nil
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

// at returns what is seen at the path. Several mounts can have one point: stacked, or hidden below a directory that is
// mounted on itself. Their order says nothing (since Linux 6.8 it is that of their ids), so this walks down from the root
// as the kernel does.
func (t table) at(point string) (entry, bool) {
	current, ok := t.root()
	if !ok { // the process sees no root, as in a chroot
		i := slices.IndexFunc(t, func(e entry) bool { return e.point == point && !t.covered(e) })
		if i < 0 {
			return entry{}, false
		}
		return t[i], true
	}
	for range t {
		next, found := entry{}, false
		for _, e := range t {
			if e.parent == current.id && e.id != current.id && within(point, e.point) && (!found || len(e.point) <= len(next.point)) {
				next, found = e, true
			}
		}
		if !found {
			break
		}
		current = next
	}
	return current, current.point == point
}

// root returns the mount whose parent is none of this table.
func (t table) root() (entry, bool) {
	for _, e := range t {
		if _, known := t.byID(e.parent); e.point == "/" && (!known || e.parent == e.id) {
			return e, true
		}
	}
	return entry{}, false
}

func (t table) byID(id int) (entry, bool) {
	i := slices.IndexFunc(t, func(e entry) bool { return e.id == id })
	if i < 0 {
		return entry{}, false
	}
	return t[i], true
}

// covered reports whether another mount lies on this one.
func (t table) covered(e entry) bool {
	return slices.ContainsFunc(t, func(f entry) bool { return f.parent == e.id && f.id != e.id && f.point == e.point })
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
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

// like returns all mounts of the same file system.
func (t table) like(e entry) []entry {
	return slices.DeleteFunc(slices.Clone(t), func(f entry) bool { return f.number != e.number })
}

// corrupted reports whether err is what a dead mount answers, and not a missing file or permission.
func corrupted(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) && errno != unix.EACCES && mountutils.IsCorruptedMnt(errno)
}
