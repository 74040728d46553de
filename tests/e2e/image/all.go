package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Controller, Node and Emulator are the project's images, with Tag, as the chart and the Dockerfile name them.
const (
	Controller = "ghcr.io/diskbridge/diskbridge-controller"
	Node       = "ghcr.io/diskbridge/diskbridge-node"
	Emulator   = "ghcr.io/diskbridge/diskbridge-emulator"
	Tag        = "e2e"
)

// SnapshotController is the version of the snapshot controller, which is that of the snapshotter too.
const SnapshotController = "v8.6.0"

// tools are the programs that the node plugin starts, with those that these start.
var tools = []string{
	"mount", "umount", "blkid", "blockdev", "sfdisk", "mkfs.ext4", "e2fsck", "resize2fs", "mkfs.xfs", "mkfs.btrfs", "btrfstune",
	"mount.nfs4", "s3fs",
}

// settings are what the tools read: mount.nfs4 its transports, s3fs the types of files.
var settings = []string{"/etc/mke2fs.conf", "/etc/netconfig", "/etc/protocols", "/etc/mime.types"}

// sidecars are the containers beside the driver, with their versions.
func sidecars() map[string]string {
	return map[string]string{
		"csi-provisioner": "v6.3.0", "csi-attacher": "v4.12.0", "csi-resizer": "v2.2.0", "csi-snapshotter": SnapshotController,
		"snapshot-controller": SnapshotController,
	}
}

// Driver are the project's images from the binaries in bin: what the Dockerfile makes, from this machine's Debian packages.
func Driver(bin string) ([]Image, error) {
	controller := Image{
		Names: []string{Controller + ":" + Tag}, Entrypoint: []string{"/usr/local/bin/diskbridge-csi"}, User: "65532:65532",
		Programs: map[string]string{"/usr/local/bin/diskbridge-csi": filepath.Join(bin, "diskbridge-csi")},
		Files:    map[string]string{},
	}
	if err := controller.copy("/etc/ssl/certs/ca-certificates.crt"); err != nil {
		return nil, err
	}
	node := controller
	node.Names, node.User = []string{Node + ":" + Tag}, ""
	node.Programs, node.Files = maps.Clone(controller.Programs), maps.Clone(controller.Files)
	maps.Copy(node.Files, users())
	for _, tool := range tools {
		found, err := look(tool)
		if err != nil {
			return nil, err
		}
		node.Programs[found] = found
	}
	for _, file := range settings {
		if err := node.copy(file); err != nil {
			return nil, err
		}
	}
	emulator := Image{
		Names: []string{Emulator + ":" + Tag}, Entrypoint: []string{"/usr/local/bin/aws-emulator"},
		Programs: map[string]string{
			"/usr/local/bin/aws-emulator": filepath.Join(bin, "aws-emulator"), "/usr/local/bin/versitygw": filepath.Join(bin, "versitygw"),
		},
	}
	return []Image{controller, node, emulator}, nil
}

// copy takes a file of this machine, if it has it.
func (i Image) copy(file string) error {
	content, err := os.ReadFile(file)
	if err == nil {
		i.Files[file] = string(content)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// look finds a program also where root's lie.
func look(tool string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if found, err := exec.LookPath(filepath.Join(dir, tool)); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: .ci/install e2e installs it", tool)
}

// Cluster are the images that a cluster for the driver needs, from the programs in kube.
func Cluster(ctx context.Context, kube string) ([]Image, error) {
	box, err := busybox(ctx)
	if err != nil {
		return nil, err
	}
	agnhost := Image{
		Names: []string{"registry.k8s.io/e2e-test-images/agnhost:2.63.0"}, Entrypoint: []string{"/agnhost"}, Env: box.Env,
		Programs: maps.Clone(box.Programs), Links: box.Links, Files: box.Files,
	}
	agnhost.Programs["/agnhost"] = filepath.Join(kube, "agnhost")
	images := []Image{box, agnhost, {
		Names: []string{"localhost/pause:e2e"}, Entrypoint: []string{"/pause"},
		Programs: map[string]string{"/pause": filepath.Join(kube, "pause")},
	}}
	for _, name := range slices.Sorted(maps.Keys(sidecars())) {
		images = append(images, Image{
			Names: []string{"registry.k8s.io/sig-storage/" + name + ":" + sidecars()[name]}, Entrypoint: []string{"/" + name},
			Programs: map[string]string{"/" + name: filepath.Join(kube, name)}, User: "65532:65532",
		})
	}
	return images, nil
}

// busybox is Debian's, with its applets, under the names by which manifests and Kubernetes' tests ask for it.
func busybox(ctx context.Context) (Image, error) {
	program, err := look("busybox")
	if err != nil {
		return Image{}, err
	}
	dd, err := look("dd") // GNU's, which knows oflag=nocache
	if err != nil {
		return Image{}, err
	}
	sh, err := look("bash") // busybox's own would start busybox's dd, and Kubernetes' tests use let
	if err != nil {
		return Image{}, err
	}
	applets, err := exec.CommandContext(ctx, program, "--list").Output()
	if err != nil {
		return Image{}, fmt.Errorf("%s --list: %w", program, err)
	}
	image := Image{
		Names: []string{
			"docker.io/library/busybox:1.37", "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
			// Of these, Kubernetes' tests want a shell and dd.
			"registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0", "registry.k8s.io/e2e-test-images/nginx:1.15-4",
		},
		Programs: map[string]string{"/bin/busybox": program, "/bin/dd": dd, "/bin/sh": sh}, Links: map[string]string{},
		Files: users(),
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if image.Programs["/bin/"+applet] == "" {
			image.Links["/bin/"+applet] = "busybox"
		}
	}
	return image, nil
}

// users are those that every Debian knows.
func users() map[string]string {
	return map[string]string{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"/etc/group":  "root:x:0:\nnogroup:x:65534:\n",
	}
}

// Make writes into dir what images are missing or made from other programs than now, and returns all their archives.
func Make(ctx context.Context, dir string, images ...Image) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var archives []string
	for _, i := range images {
		archive := i.archive(dir)
		archives = append(archives, archive)
		stamp, err := i.stamp()
		if err != nil {
			return nil, err
		}
		if before, err := os.ReadFile(archive + ".stamp"); err == nil && string(before) == stamp {
			continue
		}
		_ = os.Remove(archive + ".stamp") // nothing stands for a half-made archive
		if err := i.Write(ctx, archive, runtime.GOARCH); err != nil {
			return nil, err
		}
		if err := os.WriteFile(archive+".stamp", []byte(stamp), 0o600); err != nil {
			return nil, err
		}
	}
	return archives, nil
}

func (i Image) archive(dir string) string {
	return filepath.Join(dir, strings.ReplaceAll(filepath.Base(i.Names[0]), ":", "-")+".tar")
}

// stamp changes with everything that the image is made from.
func (i Image) stamp() (string, error) {
	spec, err := json.Marshal(i)
	if err != nil {
		return "", err
	}
	stamp := string(spec)
	for _, to := range sorted(i.Programs) {
		info, err := os.Stat(i.Programs[to])
		if err != nil {
			return "", err
		}
		stamp += fmt.Sprintf("\n%s %d %d", to, info.Size(), info.ModTime().UnixNano())
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(stamp))), nil
}
