package machine

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Archive writes the kernel's initramfs format, "newc" of cpio:
// https://www.kernel.org/doc/html/latest/driver-api/early-userspace/buffer-format.html
// The first error stays; End returns it.
type Archive struct {
	w    io.Writer
	n    int // bytes written
	ino  int
	seen map[string]bool
	err  error
}

// NewArchive writes to w. The caller must call End.
func NewArchive(w io.Writer) *Archive { return &Archive{w: w, seen: map[string]bool{}} }

// Copy adds a file of this machine, once.
func (a *Archive) Copy(from, to string) { a.keep(a.copy(from, to)) }

// Program adds a program of this machine and the libraries that it needs, where its loader looks for them.
func (a *Archive) Program(name string) { a.keep(a.program(name)) }

// File adds a file and the folders above it.
func (a *Archive) File(name string, data []byte) { a.keep(a.file(name, data)) }

// Device adds a character device.
func (a *Archive) Device(name string, major, minor int) { a.keep(a.device(name, major, minor)) }

// Modules adds kernel modules where [inside.Boot] looks for them, in the order in which they have to be loaded.
func (a *Archive) Modules(modules [][]byte) {
	for i, module := range modules {
		a.File(fmt.Sprintf("/modules/%02d.ko", i), module)
	}
}

// End completes the archive.
func (a *Archive) End() error { return errors.Join(a.err, a.entry("TRAILER!!!", 0, nil, 0, 0)) }

func (a *Archive) keep(err error) {
	if a.err == nil {
		a.err = err
	}
}

// File types and permissions in their octal form of stat(2).
const (
	directory = 0o040755
	regular   = 0o100755
	character = 0o020600
)

func (a *Archive) entry(name string, mode int, data []byte, major, minor int) error {
	a.ino++
	name = strings.TrimPrefix(name, "/")
	header := "070701"
	for _, field := range []int{a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0} {
		header += fmt.Sprintf("%08x", field)
	}
	if err := a.padded([]byte(header + name + "\x00")); err != nil {
		return err
	}
	return a.padded(data)
}

// padded writes up to the next multiple of four bytes.
func (a *Archive) padded(data []byte) error {
	for _, b := range [][]byte{data, make([]byte, (4-(a.n+len(data))%4)%4)} {
		n, err := a.w.Write(b)
		a.n += n
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) file(name string, data []byte) error {
	if err := a.folder(filepath.Dir(name)); err != nil {
		return err
	}
	return a.entry(name, regular, data, 0, 0)
}

func (a *Archive) device(name string, major, minor int) error {
	return errors.Join(a.folder(filepath.Dir(name)), a.entry(name, character, nil, major, minor))
}

func (a *Archive) folder(name string) error {
	if name == "/" || a.seen[name] {
		return nil
	}
	a.seen[name] = true
	return errors.Join(a.folder(filepath.Dir(name)), a.entry(name, directory, nil, 0, 0))
}

func (a *Archive) copy(from, to string) error {
	if a.seen[to] {
		return nil
	}
	a.seen[to] = true
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return a.file(to, data)
}

// lookPath finds a program also where a user's path may not lead.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

func (a *Archive) program(name string) error {
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	return errors.Join(a.copy(path, "/usr/sbin/"+name), a.libraries(path))
}

// libraries adds what an ELF file needs to run, where its loader looks for it.
func (a *Archive) libraries(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	if section := f.Section(".interp"); section != nil {
		loader, err := section.Data()
		if err != nil {
			return err
		}
		name := strings.TrimRight(string(loader), "\x00")
		if err := a.copy(name, name); err != nil {
			return err
		}
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range names {
		library := filepath.Join("/lib/x86_64-linux-gnu", name)
		if a.seen[library] || strings.HasPrefix(name, "ld-linux") {
			continue
		}
		if err := errors.Join(a.copy(library, library), a.libraries(library)); err != nil {
			return err
		}
	}
	return nil
}
