package machine

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Modules are a kernel's loadable modules: name to file.
type Modules map[string]string

// FindModules finds the modules below a folder.
func FindModules(root string) (Modules, error) {
	m := Modules{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && err == nil && !e.IsDir() {
			m[moduleName(name)] = path
		}
		return err
	})
	return m, err
}

// moduleName is how the kernel calls it, whatever its file is called.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Load reads modules and all that they depend on, in the order in which they have to be loaded. What is not there as a
// module is taken for a part of the kernel.
func (m Modules) Load(ctx context.Context, names ...string) ([][]byte, error) {
	var out [][]byte
	var seen []string
	var add func(names []string) error
	add = func(names []string) error {
		for _, name := range names {
			name = moduleName(name)
			path, ok := m[name]
			if !ok || slices.Contains(seen, name) {
				continue
			}
			seen = append(seen, name)
			data, err := readModule(ctx, path)
			if err != nil {
				return err
			}
			needs, err := dependencies(data)
			if err != nil {
				return fmt.Errorf("module %s: %w", name, err)
			}
			if err := add(needs); err != nil {
				return err
			}
			out = append(out, data)
		}
		return nil
	}
	return out, add(names)
}

// readModule reads a module; newer Debians compress them.
func readModule(ctx context.Context, path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		return os.ReadFile(path)
	}
	out, err := exec.CommandContext(ctx, "xz", "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("xz -dc %s: %w", path, err)
	}
	return out, nil
}

// dependencies reads which modules a module says it needs.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it has no .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(line, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
