package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is what a container image has and does.
type Image struct {
	Names      []string // with tags
	Entrypoint []string
	Env        []string          // beside PATH
	Programs   map[string]string // path in the image -> path on this machine; their libraries come along
	Links      map[string]string // path in the image -> what it points to
	Files      map[string]string // path in the image -> content
	User       string
}

// path is where programs look for others.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Write makes the image as a docker archive for this machine's architecture. Equal programs make an equal archive.
func (i Image) Write(ctx context.Context, archive, architecture string) error {
	var layer bytes.Buffer
	if err := i.layer(ctx, &layer); err != nil {
		return fmt.Errorf("image %s: %w", i.Names[0], err)
	}
	content, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	}, tarball.WithCompressionLevel(gzip.NoCompression)) // it is read on this machine
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, content)
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS = architecture, "linux"
	file.Config = v1.Config{Entrypoint: i.Entrypoint, Env: append([]string{"PATH=" + path}, i.Env...), User: i.User}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	tagged := map[name.Tag]v1.Image{}
	for _, n := range i.Names {
		tag, err := name.NewTag(n)
		if err != nil {
			return err
		}
		tagged[tag] = img
	}
	fresh := archive + ".new"
	if err := tarball.MultiWriteToFile(fresh, tagged); err != nil {
		return err
	}
	return os.Rename(fresh, archive)
}

// layer writes everything as one tar archive, in the order of the paths.
func (i Image) layer(ctx context.Context, w io.Writer) error {
	out := &writer{Writer: tar.NewWriter(w), dirs: map[string]bool{}}
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := out.dir(dir, 0o1777); err != nil {
			return err
		}
	}
	sources := map[string]string{}
	for to, from := range i.Programs {
		sources[to] = from
		libraries, err := needs(ctx, from)
		if err != nil {
			return err
		}
		for _, l := range libraries {
			sources[l] = l
		}
	}
	for _, to := range sorted(sources) {
		content, err := os.ReadFile(sources[to]) // a link's target
		if err != nil {
			return err
		}
		if err := out.file(to, 0o755, content); err != nil {
			return err
		}
	}
	for _, to := range sorted(i.Links) {
		if err := out.add(&tar.Header{Name: to, Typeflag: tar.TypeSymlink, Linkname: i.Links[to], Mode: 0o777}, nil); err != nil {
			return err
		}
	}
	for _, to := range sorted(i.Files) {
		if err := out.file(to, 0o644, []byte(i.Files[to])); err != nil {
			return err
		}
	}
	return out.Close()
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// writer adds the folders that an entry needs before the entry.
type writer struct {
	*tar.Writer
	dirs map[string]bool
}

func (w *writer) dir(path string, mode int64) error {
	path = strings.Trim(path, "/")
	if path == "" || path == "." || w.dirs[path] {
		return nil
	}
	if err := w.dir(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	w.dirs[path] = true
	return w.WriteHeader(&tar.Header{Name: path + "/", Typeflag: tar.TypeDir, Mode: mode})
}

func (w *writer) file(path string, mode int64, content []byte) error {
	return w.add(&tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content))}, content)
}

func (w *writer) add(h *tar.Header, content []byte) error {
	h.Name = strings.Trim(h.Name, "/")
	if err := w.dir(filepath.Dir(h.Name), 0o755); err != nil {
		return err
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// needs are the shared libraries of a program, and the loader; none of a static one or a script.
func needs(ctx context.Context, program string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "ldd", program)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + path}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "not a dynamic executable") || strings.Contains(string(out), "statically linked") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	var libraries []string
	for line := range strings.Lines(string(out)) {
		for _, field := range strings.Fields(line) {
			if strings.HasPrefix(field, "/") {
				libraries = append(libraries, field)
			}
		}
	}
	return libraries, nil
}
