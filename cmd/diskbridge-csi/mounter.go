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

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/mounter"
	"github.com/diskbridge/diskbridge/pkg/version"
)

const mounterUsage = `diskbridge-csi mounter keeps what mounts on this machine need as long as they are mounted:
the TLS tunnels of EFS file systems with encryptInTransit. It runs beside the node plugin
and is not restarted with it; when it is, mounts wait, and go on with the next mounter.
Both must be in the network namespace of the host.

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
}

// parseMounter reads the arguments; flag.ErrHelp means that what was asked for is printed.
func parseMounter(args []string, stdout, stderr io.Writer) (*mounterSettings, error) {
	m := &mounterSettings{}
	fs := flag.NewFlagSet("mounter", flag.ContinueOnError)
	fs.StringVar(&m.socket, "socket", "/run/diskbridge/mounter.sock", "listen on this Unix socket, for root only: `PATH`")
	fs.StringVar(&m.state, "state-dir", "/run/diskbridge/tunnels", "remember tunnels in `DIR`, which should not outlive a reboot (tmpfs)")
	fs.StringVar(&m.authorities, "tunnel-ca-file", "", "trust the certificate authorities in `FILE` (PEM) instead of this machine's")
	if err := parseMode(fs, args, mounterUsage, mounterExamples, stdout, stderr); err != nil {
		return nil, err
	}
	for name, path := range map[string]string{"--socket": m.socket, "--state-dir": m.state} {
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
	return m, nil
}

func (m *mounterSettings) serve(ctx context.Context) error {
	tunnels, err := mounter.OpenTunnels(ctx, m.state, &m.tls)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Serving", "mode", "mounter", "socket", m.socket, "tunnels", tunnels.Len(), "version", version.String())
	return errors.Join(mounter.Serve(ctx, m.socket, tunnels), tunnels.Close())
}
