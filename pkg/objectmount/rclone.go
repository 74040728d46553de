package objectmount

import (
	"context"
	"fmt"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// RClone mounts with rclone, for reading only: none of its cache modes can be written through without a loss. Measured with 1.60:
// with off and minimal, a file that is deleted while a program writes it comes back at its close, and with off an append fails;
// with writes, a file is not on the server yet when its close returns, whatever --vfs-write-back says. By rclone's documentation full
// uploads as writes does. https://rclone.org/commands/rclone_mount/#vfs-file-caching
type RClone struct {
	Path string // of the program; where it usually is if empty
}

var _ Program = RClone{}

// Name is what the mount table shows.
func (RClone) Name() string { return "rclone" }

func (r RClone) path() (string, error) { return find(r.Path, "rclone", "rclone, and fuse or fuse3") }

// Check refuses writers, and options, which are s3fs's.
func (r RClone) Check(_ context.Context, plan volume.ObjectPlan) error {
	if !plan.ReadOnly {
		return fault.New(fault.Invalid, "check bucket", plan.Handle, "this node mounts buckets with rclone, through which nothing can be written without a loss; "+
			"mount it read-only (access mode ReadOnlyMany, or the mount option ro), or use s3fs (--object-program=s3fs)")
	}
	if plan.PerFile {
		return fault.New(fault.Invalid, "check bucket", plan.Handle, "rclone does not know the owners and rights of files that s3fs keeps (%s=%s); use s3fs", volume.ContextPermissions, volume.PermissionsFile)
	}
	if len(plan.Options) > 0 {
		return fault.New(fault.Invalid, "check mount options", plan.Options[0], "it is an option of s3fs, and this node mounts with rclone; leave it out")
	}
	_, err := r.path()
	return err
}

// Command mounts with a configuration file of its own.
func (r RClone) Command(b Bucket) (Command, error) {
	path, err := r.path()
	if err != nil {
		return Command{}, err
	}
	p := b.Plan
	args := []string{"mount", "bucket:" + p.Bucket + "/" + strings.TrimSuffix(p.Prefix, "/"), b.Point,
		"--config=" + b.Dir + "/rclone.conf", "--devname=" + b.Source, "--allow-other", "--allow-non-empty",
		fmt.Sprintf("--uid=%d", p.UID), fmt.Sprintf("--gid=%d", p.GID), fmt.Sprintf("--umask=%04o", p.Umask),
		"--vfs-cache-mode=off", "--cache-dir=" + b.Cache, "--read-only",
	}
	config := strings.Join([]string{
		"[bucket]", "type = s3", "provider = Other", "no_check_bucket = true", fmt.Sprintf("force_path_style = %t", b.Access.PathStyle),
		"endpoint = " + b.Access.URL, "region = " + b.Access.Region, "access_key_id = " + b.Access.AccessKeyID, "secret_access_key = " + b.Access.SecretAccessKey, "",
	}, "\n")
	return Command{
		Path: path, Args: args, Env: []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + b.Dir},
		Files: map[string]string{"rclone.conf": config},
	}, nil
}

// Explain repeats rclone's last line.
func (RClone) Explain(text string) error {
	lines := strings.Split(text, "\n")
	return fault.New(fault.Unavailable, "mount", "", "rclone says: %s", lines[len(lines)-1])
}
