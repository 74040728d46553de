package main

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs are what the node plugin runs; the machine gets this machine's own.
var programs = []string{"blkid", "mkfs.ext4", "e2fsck", "resize2fs", "mkfs.xfs", "sfdisk"}

// pack writes the machine's whole file system, which lives in its memory: the two programs that were built in dir, the
// plugin's tools with their libraries, and the kernel's modules.
func pack(ctx context.Context, path, dir string, k kernel) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	a := &archive{w: buffered, seen: map[string]bool{}}
	err = errors.Join(
		a.copy(filepath.Join(dir, "guest"), "/init"), a.copy(filepath.Join(dir, "diskbridge-csi"), "/bin/diskbridge-csi"),
		a.copy("/etc/mke2fs.conf", "/etc/mke2fs.conf"), a.device("/dev/console", 5, 1))
	for _, program := range programs {
		err = errors.Join(err, a.program(program))
	}
	modules, loadErr := k.load(ctx, wanted...)
	for i, module := range modules {
		err = errors.Join(err, a.file(fmt.Sprintf("/modules/%02d.ko", i), module))
	}
	return errors.Join(err, loadErr, a.end(), buffered.Flush(), f.Close())
}

// archive writes the kernel's initramfs format, "newc" of cpio:
// https://www.kernel.org/doc/html/latest/driver-api/early-userspace/buffer-format.html
type archive struct {
	w    io.Writer
	n    int // bytes written
	ino  int
	seen map[string]bool
}

// File types and permissions in their octal form of stat(2).
const (
	directory = 0o040755
	regular   = 0o100755
	character = 0o020600
)

func (a *archive) entry(name string, mode int, data []byte, major, minor int) error {
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
func (a *archive) padded(data []byte) error {
	for _, b := range [][]byte{data, make([]byte, (4-(a.n+len(data))%4)%4)} {
		n, err := a.w.Write(b)
		a.n += n
		if err != nil {
			return err
		}
	}
	return nil
}

// file adds a file and the folders above it.
func (a *archive) file(name string, data []byte) error {
	if err := a.folder(filepath.Dir(name)); err != nil {
		return err
	}
	return a.entry(name, regular, data, 0, 0)
}

func (a *archive) device(name string, major, minor int) error {
	return errors.Join(a.folder(filepath.Dir(name)), a.entry(name, character, nil, major, minor))
}

func (a *archive) folder(name string) error {
	if name == "/" || a.seen[name] {
		return nil
	}
	a.seen[name] = true
	return errors.Join(a.folder(filepath.Dir(name)), a.entry(name, directory, nil, 0, 0))
}

func (a *archive) end() error { return a.entry("TRAILER!!!", 0, nil, 0, 0) }

// copy adds a file of this machine, once.
func (a *archive) copy(from, to string) error {
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

// program adds a program of this machine with its libraries.
func (a *archive) program(name string) error {
	path, err := exec.LookPath(name)
	if err != nil { // a user's path may lack these
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		return err
	}
	return errors.Join(a.copy(path, "/usr/sbin/"+name), a.libraries(path))
}

// libraries adds what an ELF file needs to run, where its loader looks for it.
func (a *archive) libraries(path string) error {
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
