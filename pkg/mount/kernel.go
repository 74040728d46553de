package mount

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// The new mount interface (Linux 5.12) is used throughout: a mount appears complete with all its attributes or not at
// all, the kernel names the option that it refuses, and no symbolic link is followed at the mount point.

// attributes are mount options that belong to the mount and not to the file system, see mount_setattr(2).
func attribute(option string) (uint64, bool) {
	switch option {
	case "nosuid":
		return unix.MOUNT_ATTR_NOSUID, true
	case "nodev":
		return unix.MOUNT_ATTR_NODEV, true
	case "noexec":
		return unix.MOUNT_ATTR_NOEXEC, true
	case "noatime":
		return unix.MOUNT_ATTR_NOATIME, true
	case "nodiratime":
		return unix.MOUNT_ATTR_NODIRATIME, true
	case "strictatime":
		return unix.MOUNT_ATTR_STRICTATIME, true
	case "relatime":
		return unix.MOUNT_ATTR_RELATIME, true
	default:
		return 0, false
	}
}

// mountOptions adds to the user's options what the plan itself needs.
func mountOptions(plan volume.BlockPlan) []string {
	options := slices.DeleteFunc(slices.Clone([]string(plan.Options)), func(o string) bool {
		return o == "ro" || o == "nouuid" || o == "noload" || o == "norecovery"
	})
	if plan.FSType == volume.XFS {
		options = append(options, "nouuid") // a copy may be mounted beside its source
	}
	if plan.ReadOnly {
		options = append(options, "ro") // and never without its journal: what was written last would be missing
	}
	return options
}

// mountFS mounts the node on the directory.
func mountFS(node, fsType string, options []string, point string) error {
	fs, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return fault.New(fault.Unsupported, "mount", node, "this node's kernel has no %s; load the module %s", fsType, fsType)
	}
	if err != nil {
		return kernelError("mount", node, err)
	}
	defer func() { _ = unix.Close(fs) }()
	attrs, err := configure(fs, node, options)
	if err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return mountError(fs, node, err)
	}
	tree, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(attrs))
	if err != nil {
		return mountError(fs, node, err)
	}
	defer func() { _ = unix.Close(tree) }()
	return place(tree, point)
}

func configure(fs int, node string, options []string) (attrs uint64, err error) {
	if err := unix.FsconfigSetString(fs, "source", node); err != nil {
		return 0, mountError(fs, node, err)
	}
	for _, option := range options {
		if a, ok := attribute(option); ok {
			attrs |= a
			continue
		}
		name, value, hasValue := strings.Cut(option, "=")
		if hasValue {
			err = unix.FsconfigSetString(fs, name, strings.Trim(value, `"`))
		} else {
			err = unix.FsconfigSetFlag(fs, name)
		}
		if err != nil {
			return 0, &fault.Error{Op: "mount", Subject: node, Kind: fault.Invalid,
				Message: fmt.Sprintf("this kernel refuses mount option %q; %s", option, messages(fs)), Err: err}
		}
		if option == "ro" {
			attrs |= unix.MOUNT_ATTR_RDONLY
		}
	}
	return attrs, nil
}

// messages returns what the kernel has to say about a failed mount.
func messages(fs int) string {
	var out []string
	buffer := make([]byte, 1024)
	for len(out) < 8 {
		n, err := unix.Read(fs, buffer)
		if err != nil || n <= 2 {
			break
		}
		out = append(out, strings.TrimSpace(string(buffer[2:n]))) // after "e ", "w " or "i "
	}
	if len(out) == 0 {
		return moreInLog
	}
	return "the kernel says: " + strings.Join(out, "; ")
}

func mountError(fs int, node string, err error) error {
	e := &fault.Error{Op: "mount", Subject: node, Message: messages(fs), Err: err}
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		e.Kind = fault.InUse
	case errors.Is(err, unix.EINVAL):
		e.Kind = fault.Invalid
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Kind = fault.Denied
	case errors.Is(err, unix.EROFS):
		e.Kind = fault.InUse
		e.Message = unreplayed + "; " + e.Message
	case errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EIO), errors.Is(err, unix.EBADMSG):
		e.Kind = fault.InUse
		e.Message = "the file system is damaged or the disk fails; nothing was repaired. " + e.Message
	}
	return e
}

// bind makes what is seen at source visible at target as well; read-only from the first moment on if asked for. What is mounted
// on it later shows at source too, unless it is apart.
func bind(source, target string, readOnly, apart bool) error {
	var attr unix.MountAttr
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return kernelError("bind", source, err)
	}
	defer func() { _ = unix.Close(tree) }()
	if apart {
		attr.Propagation = unix.MS_PRIVATE // placed on a shared mount it is shared again, in a group of its own
	}
	if readOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	if attr != (unix.MountAttr{}) {
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return kernelError("bind", source, err)
		}
	}
	return place(tree, target)
}

func place(tree int, point string) error {
	at, err := unix.Open(point, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return kernelError("open mount point", point, err)
	}
	defer func() { _ = unix.Close(at) }()
	err = unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return kernelError("mount on", point, err)
}

// kernelError gives a kind to the error of a system call.
func kernelError(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	e := &fault.Error{Op: op, Subject: subject, Err: err}
	switch {
	case errors.Is(err, unix.ENOSYS):
		e.Kind, e.Message = fault.Unsupported, "this node's kernel is too old; Linux 5.12 or later is needed"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Kind, e.Message = fault.Denied, "the node plugin needs to run privileged"
	case errors.Is(err, unix.EBUSY):
		e.Kind = fault.InUse
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		e.Kind, e.Message = fault.Invalid, "the path must exist, be of the right type and not be a symbolic link"
	}
	return e
}

func isErrno(err error, errnos ...unix.Errno) bool {
	return slices.ContainsFunc(errnos, func(e unix.Errno) bool { return errors.Is(err, e) })
}
