package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/mounter"
	"github.com/diskbridge/diskbridge/pkg/objectmount"
	"github.com/diskbridge/diskbridge/pkg/version"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

const mounterUsage = `diskbridge-csi mounter keeps what mounts on this machine need as long as they are mounted:
the TLS tunnels of EFS file systems with encryptInTransit, and the programs (s3fs) that
mount S3 buckets. It runs beside the node plugin and is not restarted with it; when it is,
mounts go on with the next mounter. Both must be in the network namespace of the host, and
what it mounts must be seen by the host (mount propagation: Bidirectional).

Usage:
  diskbridge-csi mounter [flags]

`

const mounterExamples = `
Examples:
  diskbridge-csi mounter --socket=/run/diskbridge/mounter.sock
  diskbridge-csi node --mounter-socket=/run/diskbridge/mounter.sock --socket-dir=/var/lib/kubelet/plugins
`

// mounterSettings are all that an operator can choose about a mounter.
type mounterSettings struct {
	socket, state, authorities string
	tls                        tls.Config
	objects                    objectmount.Config
	program, path              string // that mounts buckets
	region, profilesFile       string
	drain                      time.Duration
	profiles                   map[string]config.S3Profile
}

// parseMounter reads the arguments; flag.ErrHelp means that what was asked for is printed.
func parseMounter(args []string, stdout, stderr io.Writer) (*mounterSettings, error) {
	m := &mounterSettings{}
	fs := flag.NewFlagSet("mounter", flag.ContinueOnError)
	fs.StringVar(&m.socket, "socket", "/run/diskbridge/mounter.sock", "listen on this Unix socket, for root only: `PATH`")
	fs.StringVar(&m.state, "state-dir", "/run/diskbridge/tunnels", "remember tunnels in `DIR`, which should not outlive a reboot (tmpfs)")
	fs.StringVar(&m.authorities, "tunnel-ca-file", "", "trust the certificate authorities in `FILE` (PEM) instead of this machine's")
	m.objectFlags(fs)
	if err := parseMode(fs, args, mounterUsage, mounterExamples, stdout, stderr); err != nil {
		return nil, err
	}
	for name, path := range map[string]string{"--socket": m.socket, "--state-dir": m.state, "--objects-dir": m.objects.Dir, "--cache-dir": m.objects.Cache} {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("%s: %q is not an absolute path", name, path)
		}
	}
	m.tls.MinVersion = tls.VersionTLS12
	if m.authorities != "" {
		pem, err := os.ReadFile(m.authorities)
		if err != nil {
			return nil, fmt.Errorf("--tunnel-ca-file: %w", err)
		}
		m.tls.RootCAs = x509.NewCertPool()
		if !m.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tunnel-ca-file: %s holds no certificate in PEM", m.authorities)
		}
	}
	if m.objects.Reserve < 0 || m.objects.Memory < 0 || m.objects.Patience <= 0 {
		return nil, fmt.Errorf("--cache-keep-free %d and --mount-memory %d must not be negative, and --patience %s must be more than nothing",
			m.objects.Reserve, m.objects.Memory, m.objects.Patience)
	}
	if m.program != volume.S3FS && m.program != (objectmount.RClone{}).Name() {
		return nil, fmt.Errorf("--object-program: %q is neither s3fs nor rclone", m.program)
	}
	if m.profilesFile != "" {
		var err error
		if m.profiles, err = config.LoadS3Profiles(m.profilesFile); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// objectFlags declares the flags about buckets.
func (m *mounterSettings) objectFlags(fs *flag.FlagSet) {
	fs.StringVar(&m.objects.Dir, "objects-dir", "/run/diskbridge/objects", "remember mounts of buckets, with their credentials, in `DIR`; a tmpfs is mounted there unless it is on one")
	fs.StringVar(&m.objects.Cache, "cache-dir", "/var/cache/diskbridge/objects", "keep what programs read and write in `DIR` while they do; give it a file system of its own to bound it")
	fs.Int64Var(&m.objects.Reserve, "cache-keep-free", 1024, "keep so many `MiB` of that file system free")
	fs.Int64Var(&m.objects.Memory, "mount-memory", 512, "most memory of each such program in `MiB`, by a control group of its own where that can be made (0: no limit)")
	fs.DurationVar(&m.objects.Patience, "patience", 10*time.Minute, "how long the program may answer nothing, and take to upload what was written before an unmount; then it is ended, and what it had not uploaded is lost")
	fs.DurationVar(&m.drain, "drain", 0, "when asked to end, wait so long until no file of a bucket is open for writing: for containers, where the mounting programs end with this one (0: they go on)")
	fs.StringVar(&m.program, "object-program", volume.S3FS, "mount buckets with `s3fs`, or with rclone, for reading only")
	fs.StringVar(&m.path, "object-program-path", "", "that program is at `PATH` (default: where its package puts it)")
	fs.StringVar(&m.profilesFile, "s3-profiles", "", "YAML `FILE` with the endpoint profiles of S3 servers other than AWS's")
	fs.StringVar(&m.region, "region", "", "AWS region of buckets that name none (default: the SDK's sources)")
}

// objectProgram is what mounts buckets.
func (m *mounterSettings) objectProgram() objectmount.Program {
	if m.program == volume.S3FS {
		return objectmount.S3FS{Path: m.path}
	}
	return objectmount.RClone{Path: m.path}
}

func (m *mounterSettings) serve(ctx context.Context) (err error) {
	tunnels, err := mounter.OpenTunnels(ctx, m.state, &m.tls)
	if err != nil {
		return err
	}
	session, err := aws.NewSession(ctx, aws.Options{Region: m.region, AppID: "diskbridge"})
	if err != nil {
		return errors.Join(fmt.Errorf("load AWS configuration: %w", err), tunnels.Close())
	}
	ways := newGate(ctx, session, m.profiles)
	m.objects.Program, m.objects.Gate = m.objectProgram(), ways
	losses := mounter.NewLosses()
	m.objects.Lost = func(l objectmount.Loss) {
		outOfMemory := ""
		if l.OutOfMemory {
			outOfMemory = l.Reason
		}
		losses.Add(l.Handle, l.Targets, outOfMemory)
	}
	m.objects.Unbounded = losses.SetUnbounded
	objects, err := objectmount.Open(ctx, m.objects)
	if err != nil {
		return errors.Join(err, ways.closeAll(), tunnels.Close())
	}
	defer func() {
		objects.Close()
		if m.drain > 0 {
			wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.drain)
			defer cancel()
			objects.Settle(wait)
		}
		err = errors.Join(err, ways.closeAll())
	}()
	klog.FromContext(ctx).Info("Serving", "mode", "mounter", "socket", m.socket, "tunnels", tunnels.Len(), "buckets", objects.Len(), "version", version.String())
	return errors.Join(mounter.Serve(ctx, m.socket, tunnels, objects, losses), tunnels.Close())
}
