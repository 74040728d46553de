package directory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Make makes the directory of a volume, once, however often and from however many nodes it is called; owner and
// permissions are set before anybody else can look into it, and are its users' afterwards.
//
// Kinds: Conflict (something else is there, or another volume's), InUse (it is being removed), Invalid (the path).
func Make(root *os.Root, d volume.Directory) error {
	if err := check(d.Path); err != nil {
		return err
	}
	if err := errors.Join(ordinary(root, volume.Reserved), ordinary(root, d.Path)); err != nil {
		return err
	}
	m, err := claimed(root, d)
	if err != nil {
		return err
	}
	if m.State == made {
		return stillThere(root, m)
	}
	if err := mkdir(root, d); err != nil {
		return err
	}
	m.State = made
	return update(root, m)
}

// stillThere refuses a directory that was made and is gone: an empty one in its place would hide that data is lost.
func stillThere(root *os.Root, m marker) error {
	there, err := exists(root, m.Path)
	if err == nil && !there {
		return fault.New(fault.NotFound, "make directory", m.Path, "it was made for volume %s of cluster %s and was removed or renamed since by a user of the file system; "+
			"put it back, by its old name or from a backup, or delete the volume", m.Name, m.Cluster)
	}
	return err
}

// mkdir makes a directory and those above it.
func mkdir(root *os.Root, d volume.Directory) (err error) {
	parent, err := open(root, path.Dir(d.Path), true)
	if err != nil {
		return fmt.Errorf("make the folders above %s: %w", d.Path, err)
	}
	defer func() { err = errors.Join(err, parent.Close()) }()
	last := path.Base(d.Path)
	err = call("mkdir", d.Path, func() error { return unix.Mkdirat(int(parent.Fd()), last, 0o700) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := openAt(parent, last)
	if err != nil {
		return noDirectory(d.Path, err)
	}
	return errors.Join(own(dir, d.Path, d.Owner), dir.Close())
}

// claimed returns our marker, which it writes if nothing is there.
func claimed(root *os.Root, d volume.Directory) (marker, error) {
	ours := marker{Cluster: d.Cluster, Name: d.Name, Path: d.Path, Digest: d.Digest(), OnDelete: d.OnDelete, State: making}
	taken, err := exists(root, d.Path) // before the marker is read: another node claims the path first and makes the directory second
	if err != nil {
		return marker{}, err
	}
	m, ok, err := read(root, d.Path)
	if err != nil {
		return m, err
	}
	if !ok && taken {
		return m, fault.New(fault.Conflict, "make directory", d.Path, "it exists already and has no marker of ours; it was left alone: "+
			"choose another basePath or subPathPattern, or use it by a PersistentVolume of your own")
	}
	if !ok {
		if _, err := claim(root, ours); err != nil {
			return m, fmt.Errorf("claim %s: %w", d.Path, err)
		}
		if m, ok, err = read(root, d.Path); err != nil || !ok {
			return m, errors.Join(err, fmt.Errorf("the marker of %s was taken away", d.Path))
		}
	}
	switch {
	case m.Digest != ours.Digest:
		return m, fault.New(fault.Conflict, "make directory", d.Path, "it is volume %s's of cluster %s; choose another subPathPattern", m.Name, m.Cluster)
	case m.State == removing:
		return m, fault.New(fault.InUse, "make directory", d.Path, "it is being removed, since its volume was deleted")
	}
	return m, nil
}

// own gives a directory its owner and then its permissions, so that nobody has more for a moment.
func own(dir *os.File, p string, o volume.Owner) error {
	if err := dir.Chown(int(o.UID), int(o.GID)); err != nil {
		return fmt.Errorf("give %s to %d:%d: %w", p, o.UID, o.GID, err)
	}
	if err := dir.Chmod(mode(o.Perms)); err != nil {
		return fmt.Errorf("change mode of %s: %w", p, err)
	}
	return nil
}

// mode is what chmod(2) calls perms.
func mode(perms uint32) os.FileMode {
	m := os.FileMode(perms & 0o777)
	for bit, flag := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if perms&bit != 0 {
			m |= flag
		}
	}
	return m
}

// freshMode is what EFS gives the root of a new file system.
const freshMode = 0o755

// OwnRoot gives the root of a file system its owner, as long as nobody has used it: it is empty, and as it was made or
// as an earlier call left it half done.
func OwnRoot(root *os.Root, o volume.Owner) error {
	st, err := root.Stat(".")
	if err != nil {
		return err
	}
	is, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the root has no owner")
	}
	fresh := is.Uid == 0 && is.Gid == 0 || is.Uid == o.UID && is.Gid == o.GID
	if !fresh || st.Mode().Perm() != freshMode {
		return nil
	}
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	if _, err = f.Readdirnames(1); errors.Is(err, io.EOF) { // nothing is in there
		err = own(f, "/", o)
	}
	return errors.Join(err, f.Close())
}

// check refuses what can never be a volume's directory.
func check(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || volume.InReserved(p) {
		return fault.New(fault.Invalid, "check directory", p, "it must be an absolute path below the root, without . and .. parts, and not %s", volume.Reserved)
	}
	return nil
}
