package volume

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// MountOptions are checked mount options, each "name" or "name=value", in the order given. "ro" is among them if the
// mount is to be read-only; "rw" and "defaults" never are.
type MountOptions []string

// Has reports whether the option is set.
func (o MountOptions) Has(name string) bool { return slices.Contains(o, name) }

// maxOption is the longest option in bytes.
const maxOption = 256

// ParseMountOptions checks user options against the allow-list of the file system. An element may hold several
// options, separated by commas. The error names the option, the reason, and the nearest known name.
func ParseMountOptions(fsType string, flags []string) (MountOptions, error) {
	if len(flags) == 0 && slices.Contains(FSTypes(), fsType) {
		return nil, nil // nearly every call; the rules are not looked up for it
	}
	rules, ok := optionRules(fsType)
	if !ok {
		return nil, fmt.Errorf("file system %q is not supported; use one of %s", fsType, strings.Join(FSTypes(), ", "))
	}
	var out MountOptions
	seen := map[string]bool{}
	for _, flag := range flags {
		for _, option := range splitOptions(flag) {
			name, err := checkOption(fsType, rules, option)
			if err != nil {
				return nil, err
			}
			group := exclusive(name)
			if seen[group] {
				return nil, fmt.Errorf("mount option %q: it was given before, or contradicts an earlier option", option)
			}
			seen[group] = true
			if name != "defaults" && name != "rw" {
				out = append(out, option)
			}
		}
	}
	if out.Has("data=journal") && (out.Has("delalloc") || out.Has("dioread_nolock")) {
		return nil, fmt.Errorf("mount options %q: ext4 writes data=journal without delalloc and dioread_nolock; leave them out", strings.Join(out, ","))
	}
	if !out.Has("ro") && (out.Has("noload") || out.Has("norecovery")) {
		return nil, fmt.Errorf("mount options %q: noload and norecovery need ro as well", strings.Join(out, ","))
	}
	return out, nil
}

// MountOptionNames lists the allowed options of a file system.
func MountOptionNames(fsType string) []string {
	rules, _ := optionRules(fsType)
	return slices.Sorted(maps.Keys(rules))
}

// splitOptions cuts at commas outside of quotes.
func splitOptions(flag string) []string {
	var out []string
	start, quoted := 0, false
	for i := range len(flag) {
		switch {
		case flag[i] == '"':
			quoted = !quoted
		case flag[i] == ',' && !quoted:
			out = append(out, flag[start:i])
			start = i + 1
		}
	}
	return append(out, flag[start:])
}

// exclusive returns the name under which an option, or its opposite, may be given once.
func exclusive(name string) string {
	switch name {
	case "ro", "rw":
		return "ro|rw"
	case "relatime", "strictatime":
		return "atime"
	case "hard", "soft":
		return "hard|soft"
	case "vers":
		return "nfsvers"
	default:
		return strings.TrimPrefix(name, "no")
	}
}

// checkOption returns the name of an allowed option.
func checkOption(fsType string, rules map[string]rule, option string) (string, error) {
	if len(option) > maxOption || strings.ContainsFunc(option, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == '\uFFFD' }) {
		return "", fmt.Errorf("mount option %.40q: at most %d bytes, without blanks, control characters and backslashes", option, maxOption)
	}
	name, value, hasValue := strings.Cut(option, "=")
	reason := refused(name)
	switch {
	case reason != "":
	case fsType == NFS4:
		reason = refusedNFS(name)
	case fsType == S3FS:
		reason = refusedS3FS(name)
	}
	if reason != "" {
		return "", fmt.Errorf("mount option %q is refused: %s", name, reason)
	}
	r, known := rules[name]
	switch {
	case !known:
		if near := Nearest(name, slices.Collect(maps.Keys(rules))); near != "" {
			return "", fmt.Errorf("mount option %q is not allowed for %s; did you mean %q?", name, fsType, near)
		}
		return "", fmt.Errorf("mount option %q is not allowed for %s; allowed are %s", name, fsType, strings.Join(slices.Sorted(maps.Keys(rules)), ", "))
	case !hasValue && r.bare:
		return name, nil
	case !hasValue:
		return "", fmt.Errorf("mount option %q needs a value: %s", name, r.help)
	case r.value == nil:
		return "", fmt.Errorf("mount option %q takes no value", name)
	case !r.value(value):
		return "", fmt.Errorf("mount option %q: value %q is not allowed; expected %s", name, value, r.help)
	}
	return name, nil
}

// refused gives the reason why an option is never passed on.
func refused(name string) string {
	switch {
	case strings.HasPrefix(strings.ToLower(name), "x-"):
		return "it is an instruction to systemd or mount(8), not to the file system"
	case name == "helper" || name == "uhelper":
		return "it would start a program"
	case name == "suid" || name == "dev" || name == "exec":
		return "it only undoes a protection; leave it out, or use no" + name
	case name == "bind" || name == "rbind" || name == "move" || name == "remount":
		return "it changes what is mounted; the driver does its own bind mounts"
	case strings.TrimPrefix(name, "r") == "shared", strings.TrimPrefix(name, "r") == "private",
		strings.TrimPrefix(name, "r") == "slave", strings.TrimPrefix(name, "r") == "unbindable":
		return "mount propagation is the container runtime's matter"
	case name == "loop" || name == "offset" || name == "sizelimit" || name == "logdev" || name == "rtdev" || name == "journal_dev" || name == "journal_path" || name == "device":
		return "it would bring in another device"
	case name == "nobarrier" || name == "barrier":
		return "without barriers a crash loses data; they are always on"
	case name == "user" || name == "users" || name == "owner" || name == "group" || name == "auto" || name == "noauto" || name == "nofail" || name == "_netdev":
		return "it only means something in /etc/fstab"
	case name == "sunit" || name == "swidth":
		return "an EBS volume has no stripes, and the kernel refuses them for an xfs that was made without"
	default:
		return ""
	}
}

// rule says in which forms an option is allowed.
type rule struct {
	bare  bool // without value
	value func(string) bool
	help  string
}

func optionRules(fsType string) (map[string]rule, bool) {
	rules := map[string]rule{"context": {value: isContext, help: `an SELinux context such as "system_u:object_r:container_file_t:s0:c1,c2"`}}
	bare(rules, "defaults ro rw noatime relatime strictatime nodiratime lazytime nosuid nodev noexec sync dirsync discard")
	switch fsType {
	case Ext4:
		bare(rules, "nodiscard acl noacl user_xattr nouser_xattr journal_checksum delalloc nodelalloc auto_da_alloc noauto_da_alloc "+
			"noload dioread_lock dioread_nolock grpid nogrpid block_validity noblock_validity noinit_itable usrquota grpquota prjquota")
		rules["data"] = oneOf("ordered", "journal", "writeback")
		rules["errors"] = oneOf("remount-ro", "continue")
		rules["commit"] = number(1, 900)
		rules["stripe"] = number(0, 1<<20)
		rules["init_itable"] = number(0, 1000)
		rules["max_batch_time"] = number(0, 1_000_000)
		rules["min_batch_time"] = number(0, 1_000_000)
		rules["inode_readahead_blks"] = powerOfTwo(1 << 20)
	case XFS:
		bare(rules, "nodiscard nouuid norecovery inode64 inode32 largeio nolargeio swalloc noalign filestreams grpid nogrpid wsync "+
			"usrquota grpquota prjquota uquota gquota pquota noquota")
		rules["allocsize"] = rule{value: isSize, help: "a power of two from 4k to 1g"}
		rules["logbufs"] = number(2, 8)
		rules["logbsize"] = oneOf("16k", "32k", "64k", "128k", "256k")
	case Btrfs:
		bare(rules, "nodiscard acl noacl autodefrag noautodefrag ssd nossd ssd_spread nossd_spread datacow nodatacow datasum nodatasum "+
			"flushoncommit noflushoncommit user_subvol_rm_allowed")
		rules["discard"] = rule{bare: true, value: oneOf("async", "sync").value, help: "async or sync"}
		rules["compress"] = rule{bare: true, value: isCompression, help: "zlib, lzo, zstd or no, with a level such as zstd:3"}
		rules["compress-force"] = rules["compress"]
		rules["commit"] = number(1, 900)
		rules["space_cache"] = oneOf("v2") // v1 is refused by the kernel for what mkfs.btrfs makes; the option can be left out
		rules["max_inline"] = number(0, 4096)
		rules["thread_pool"] = number(1, 256)
	case NFS4:
		nfsRules(rules)
	case S3FS:
		s3fsRules(rules)
	default:
		return nil, false
	}
	return rules, true
}

func bare(rules map[string]rule, names string) {
	for _, name := range strings.Fields(names) {
		rules[name] = rule{bare: true}
	}
}

func oneOf(values ...string) rule {
	return rule{value: func(v string) bool { return slices.Contains(values, v) }, help: strings.Join(values, ", ")}
}

func number(least, most int) rule {
	return rule{
		value: func(v string) bool {
			n, err := strconv.Atoi(v)
			return err == nil && strconv.Itoa(n) == v && n >= least && n <= most
		},
		help: fmt.Sprintf("a number from %d to %d", least, most),
	}
}

func powerOfTwo(most int) rule {
	in := number(0, most)
	return rule{
		value: func(v string) bool {
			n, err := strconv.Atoi(v)
			return err == nil && in.value(v) && n&(n-1) == 0
		},
		help: fmt.Sprintf("0 or a power of two up to %d", most),
	}
}

func isSize(v string) bool {
	for shift := 12; shift <= 30; shift++ {
		n := 1 << shift
		if v == strconv.Itoa(n) || v == strconv.Itoa(n>>10)+"k" || n >= 1<<20 && v == strconv.Itoa(n>>20)+"m" || v == "1g" {
			return true
		}
	}
	return false
}

func isCompression(v string) bool {
	name, level, leveled := strings.Cut(v, ":")
	switch name {
	case "zlib":
		return !leveled || number(1, 9).value(level)
	case "zstd":
		return !leveled || number(1, 15).value(level)
	default:
		return !leveled && (name == "lzo" || name == "no")
	}
}

// isContext takes an SELinux context, in quotes if it has a comma.
func isContext(v string) bool {
	inner := strings.TrimSuffix(strings.TrimPrefix(v, `"`), `"`)
	if len(v)-len(inner) == 1 || len(v) == len(inner) && strings.Contains(v, ",") {
		return false
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:.,-"
	return strings.Count(inner, ":") >= 2 && strings.Trim(inner, allowed) == ""
}
