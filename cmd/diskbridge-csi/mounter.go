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

Flags:
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
	fs := flag.NewFlagSet("diskbridge-csi mounter", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&m.socket, "socket", "/run/diskbridge/mounter.sock", "listen on this Unix socket, for root only: `PATH`")
	fs.StringVar(&m.state, "state-dir", "/run/diskbridge/tunnels", "remember tunnels in `DIR`, which should not outlive a reboot (tmpfs)")
	fs.StringVar(&m.authorities, "tunnel-ca-file", "", "trust the certificate authorities in `FILE` (PEM) instead of this machine's")
	verbosity := fs.String("v", "2", "log `LEVEL`: 0 problems, 2 every change, 5 every request")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(stdout)
		_, _ = io.WriteString(stdout, mounterUsage) // nowhere else to say it
		fs.PrintDefaults()
		_, _ = io.WriteString(stdout, mounterExamples) // nowhere else to say it
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w; see diskbridge-csi mounter --help", err)
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q; every setting is a --flag=value", fs.Arg(0))
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
	setLogging(*verbosity, stderr)
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
