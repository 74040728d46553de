package objectmount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// S3FS mounts with s3fs. https://github.com/s3fs-fuse/s3fs-fuse
type S3FS struct {
	Path string // of the program; where it usually is if empty
}

var _ Program = S3FS{}

// Name is what the mount table shows.
func (S3FS) Name() string { return volume.S3FS }

func (s S3FS) path() (string, error) {
	return find(s.Path, "s3fs", "s3fs (Debian, Ubuntu) or s3fs-fuse (Fedora, Amazon Linux and RHEL with EPEL)")
}

// Check refuses options that the installed s3fs does not know.
func (s S3FS) Check(ctx context.Context, plan volume.ObjectPlan) error {
	path, err := s.path()
	if err != nil {
		return err
	}
	return checkS3FS(ctx, path, plan.Options)
}

// Command mounts with a password file of its own.
func (s S3FS) Command(b Bucket) (Command, error) {
	path, err := s.path()
	if err != nil {
		return Command{}, err
	}
	what := b.Plan.Bucket
	if b.Plan.Prefix != "" {
		what += ":/" + strings.TrimSuffix(b.Plan.Prefix, "/")
	}
	p, mask := b.Plan, fmt.Sprintf("%04o", b.Plan.Umask)
	options := []string{
		"passwd_file=" + b.Dir + "/passwd", "url=" + b.Access.URL, "endpoint=" + b.Access.Region,
		"fsname=" + b.Source, "subtype=" + s.Name(), "allow_other", "sigv4", "mp_umask=" + mask,
		"tmpdir=" + b.Cache, fmt.Sprintf("ensure_diskfree=%d", b.Reserve),
	}
	if b.Access.PathStyle || strings.Contains(p.Bucket, ".") {
		options = append(options, "use_path_request_style")
	}
	if !p.PerFile { // with any of these s3fs takes no notice of chmod and chown
		options = append(options, fmt.Sprintf("uid=%d", p.UID), fmt.Sprintf("gid=%d", p.GID), "umask="+mask)
	}
	if p.ReadOnly {
		options = append(options, "ro")
	}
	// A server that does not answer makes programs wait for about five minutes, not s3fs's own half an hour.
	for _, usual := range []string{"connect_timeout=10", "readwrite_timeout=60", "retries=4"} {
		if name, _, _ := strings.Cut(usual, "="); !given(p.Options, name) {
			options = append(options, usual)
		}
	}
	args := []string{what, b.Point, "-f"}
	for _, o := range append(options, p.Options...) {
		args = append(args, "-o", oneOption.Replace(o))
	}
	return Command{
		Path: path, Args: args, Env: []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + b.Dir},
		Files: map[string]string{"passwd": b.Access.AccessKeyID + ":" + b.Access.SecretAccessKey + "\n"},
	}, nil
}

// oneOption keeps FUSE from cutting an option at its commas: a prefix, which is part of the source, may have some.
// https://github.com/libfuse/libfuse/blob/master/include/fuse_opt.h
var oneOption = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

// given reports whether an option is among those of a user.
func given(options volume.MountOptions, name string) bool {
	for _, o := range options {
		if n, _, _ := strings.Cut(o, "="); n == name {
			return true
		}
	}
	return false
}

// find is where a program is.
func find(path, name, packages string) (string, error) {
	for _, p := range []string{path, "/usr/bin/" + name, "/usr/local/bin/" + name} {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		} else if path != "" && !errors.Is(err, fs.ErrNotExist) {
			return "", fault.New(fault.Unsupported, "run", path, "it is no program")
		}
		if path != "" {
			break
		}
	}
	return "", fault.New(fault.Unsupported, "run", name, "%s is not installed where the mounter runs; install the package %s", name, packages)
}

var version = regexp.MustCompile(`V(\d+\.\d+)`)

// checkS3FS refuses options that the installed s3fs does not know; its own help says which it knows. Those of FUSE are not there.
func checkS3FS(ctx context.Context, path string, options volume.MountOptions) error {
	if len(options) == 0 {
		return nil
	}
	help, err := output(ctx, path, "--help")
	if err != nil {
		return err
	}
	said, err := output(ctx, path, "--version")
	if err != nil {
		return err
	}
	for _, o := range options {
		name, _, _ := strings.Cut(o, "=")
		switch name {
		case "noatime", "nosuid", "nodev", "noexec":
			continue
		}
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(help) {
			v := "of an unknown version"
			if m := version.FindStringSubmatch(said); m != nil {
				v = m[1]
			}
			return fault.New(fault.Invalid, "check mount options", name, "this node's s3fs %s does not know the option; leave it out, or install a newer s3fs", v)
		}
	}
	return nil
}

// output is what a program says within a moment.
func output(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %.200s", path, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Explain reads s3fs's own words: the last line that is a complaint.
func (S3FS) Explain(text string) error {
	said := ""
	for line := range strings.Lines(text) {
		if _, complaint, ok := strings.Cut(line, "[CRT] "); ok {
			said = complaint
		} else if _, complaint, ok := strings.Cut(line, "[ERR] "); ok && said == "" {
			said = complaint
		} else if strings.HasPrefix(line, "s3fs: ") || strings.HasPrefix(line, "fuse: ") {
			said = line
		}
	}
	if said == "" {
		said = "nothing"
	} else if where, what, ok := strings.Cut(said, "): "); ok && strings.Contains(where, ".cpp:") {
		said = what // without the place in its source
	}
	said = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(said), "- result of checking service."))
	e := fault.New(fault.Unavailable, "mount", "", "s3fs says: %s", said)
	for _, m := range []struct {
		text   string
		kind   fault.Kind
		advice string
	}{
		{"bucket not found", fault.NotFound, "the bucket does not exist, or its region is another"},
		{"bucket or key not found", fault.NotFound, "the bucket does not exist, or its region is another"},
		{"invalid credentials", fault.Denied, "check the secret's keys, and that they may list the bucket"},
		{"unable to connect", fault.Unavailable, "check the endpoint, and that this node may reach it"},
		{"device not found", fault.Unsupported, "this node's kernel has no FUSE: load its module (modprobe fuse)"},
		{"failed to open /dev/fuse", fault.Unsupported, "the mounter needs /dev/fuse, and to be privileged"},
		{"unknown option", fault.Invalid, "leave the option out"},
	} {
		if strings.Contains(said, m.text) {
			e.Kind, e.Message = m.kind, e.Message+"; "+m.advice
			break
		}
	}
	return e
}
