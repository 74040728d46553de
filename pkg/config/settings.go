package config

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Mode is what a process serves.
type Mode string

// The modes of diskbridge-csi.
const (
	ModeController Mode = "controller"
	ModeNode       Mode = "node"
	ModeAll        Mode = "all"
)

// Controller reports whether the mode serves the controller.
func (m Mode) Controller() bool { return m == ModeController || m == ModeAll }

// Node reports whether the mode serves the node.
func (m Mode) Node() bool { return m == ModeNode || m == ModeAll }

// Standalone is the cluster id outside Kubernetes.
const Standalone = "standalone"

// Settings are everything that an operator can choose. Validate fills the parsed
// fields from the texts.
type Settings struct {
	Mode Mode

	Backends     string
	SocketDir    string
	DriverNames  string
	ClusterID    string
	Tags         string
	HTTPEndpoint string
	OTLPEndpoint string

	NodeID            string
	Zone              string
	Region            string
	VolumeAttachLimit int64
	InstanceType      string
	Kubeconfig        string
	NodeName          string
	DeviceRoot        string
	SysfsRoot         string
	PathRoot          string
	DefaultFSType     string
	MounterSocket     string // empty: no encryption in transit
	EvictLostMounts   bool

	KubeletRegistrationDir string // empty: the node does not register itself
	KubeletSocketDir       string // SocketDir as kubelet sees it

	DefaultEncrypted bool
	DefaultKMSKeyID  string
	AbsenceInterval  time.Duration

	S3ProfilesFile string

	S3Profiles map[string]S3Profile   // from S3ProfilesFile, by name
	Kinds      []backend.Kind         // from Backends and DriverNames
	OwnerTags  map[string]string      // from Tags
	names      map[volume.Kind]string // from DriverNames
}

// Flags declares the flags of a mode.
func (s *Settings) Flags(fs *flag.FlagSet, known backend.Registry) {
	fs.StringVar(&s.Backends, "backends", strings.Join(known.Served().Names(), ","), "kinds of disk to serve, separated by commas; there are "+strings.Join(known.Names(), ", "))
	fs.StringVar(&s.SocketDir, "socket-dir", "/var/lib/kubelet/plugins", "each driver listens on `DIR`/<driver name>/csi.sock")
	fs.StringVar(&s.DriverNames, "driver-names", "", "serve a kind under another driver's name: `KIND=NAME,…`")
	fs.StringVar(&s.ClusterID, "cluster-id", "", "who we are in ownership tags (default: the UID of the namespace kube-system; outside Kubernetes: "+Standalone+")")
	fs.StringVar(&s.HTTPEndpoint, "http-endpoint", "", "serve /metrics, /healthz and /readyz on `HOST:PORT` (empty: off)")
	fs.StringVar(&s.OTLPEndpoint, "otlp-endpoint", "", "send traces to an OTLP gRPC collector at `HOST:PORT` (empty: off)")
	fs.StringVar(&s.Kubeconfig, "kubeconfig", "", "Kubernetes is at the server of this `FILE` (default: in a pod, its own cluster; elsewhere: no Kubernetes)")
	fs.StringVar(&s.NodeName, "node-name", "", "`NAME` of the Node object that this process runs on")
	if s.Mode.Controller() {
		fs.StringVar(&s.Tags, "tags", "", "tags for everything that is made: `k=v,…`")
		fs.BoolVar(&s.DefaultEncrypted, "default-encrypted", false, "encrypt volumes whose parameters do not say")
		fs.StringVar(&s.DefaultKMSKeyID, "default-kms-key-id", "", "KMS `KEY` for encrypted volumes whose parameters name none")
		fs.DurationVar(&s.AbsenceInterval, "absence-interval", 3*time.Second, "time between the two not-found answers of AWS that prove absence; shorter only for an emulator")
	}
	fs.StringVar(&s.S3ProfilesFile, "s3-profiles", "", "YAML `FILE` with the endpoint profiles of S3 servers other than AWS's")
	fs.StringVar(&s.Zone, "zone", "", "availability zone (default: instance metadata, then the Node object)")
	fs.StringVar(&s.Region, "region", "", "AWS region (default: the SDK's sources, then instance metadata, then the Node object)")
	if s.Mode.Node() {
		fs.StringVar(&s.NodeID, "node-id", "", "EC2 instance id of this node (default: instance metadata, then the Node object)")
		fs.Int64Var(&s.VolumeAttachLimit, "volume-attach-limit", 0, "volumes this node may hold (0: what its instance type takes beside network interfaces and volumes of others)")
		fs.StringVar(&s.InstanceType, "instance-type", "", "EC2 instance `TYPE` of this node, for the attach limit (default: instance metadata, then the Node object)")
		fs.StringVar(&s.DeviceRoot, "device-root", "/dev", "where device nodes are")
		fs.StringVar(&s.SysfsRoot, "sysfs-root", "/sys", "where sysfs is mounted")
		fs.StringVar(&s.PathRoot, "path-root", "", "staging and target paths must be inside `DIR` (empty: any absolute path)")
		fs.StringVar(&s.MounterSocket, "mounter-socket", "", "Unix socket `PATH` of this machine's diskbridge-csi mounter, which S3 buckets and EFS volumes with encryptInTransit need")
		fs.BoolVar(&s.EvictLostMounts, "evict-lost-mounts", false, "evict pods whose bucket was lost and that cannot see it again, through Kubernetes' Eviction API")
		fs.StringVar(&s.KubeletRegistrationDir, "kubelet-registration-dir", "", "register with the kubelet that looks for plugins in `DIR`, its plugins_registry (empty: off)")
		fs.StringVar(&s.KubeletSocketDir, "kubelet-socket-dir", "", "what kubelet calls --socket-dir, where its own view is another (default: the same `DIR`)")
		fs.StringVar(&s.DefaultFSType, "default-fstype", volume.Ext4, "file system where the volume names none: "+strings.Join(volume.FSTypes(), ", "))
	}
}

var (
	driverName   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]{0,61}[A-Za-z0-9])?$`) // CSI spec, GetPluginInfo
	instanceID   = regexp.MustCompile(`^i-[0-9a-f]{8}([0-9a-f]{9})?$`)
	instanceType = regexp.MustCompile(`^[a-z0-9][-a-z0-9]*\.[a-z0-9][-a-z0-9]*$`)
	clusterID    = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9._]{0,62}$`)
)

// Validate checks everything and fills the parsed fields. The error is one line
// that begins with the flag.
func (s *Settings) Validate(known backend.Registry) error {
	for _, check := range []func() error{
		func() error { return s.parseNames(known) },
		func() error { return s.parseKinds(known) },
		s.parseTags,
		s.checkIdentity,
		s.checkEndpoints,
		s.loadProfiles,
		s.checkNode,
		s.checkKubelet,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Settings) parseNames(known backend.Registry) error {
	s.names = map[volume.Kind]string{}
	for _, pair := range split(s.DriverNames) {
		kind, name, ok := strings.Cut(pair, "=")
		if _, exists := known.Find(volume.Kind(kind)); !ok || !exists {
			return fmt.Errorf("--driver-names: %q is not KIND=NAME with a kind of %s", pair, strings.Join(known.Names(), ", "))
		}
		if !driverName.MatchString(name) {
			return fmt.Errorf("--driver-names: %q is not a driver name (at most 63 letters, digits, dots and dashes)", name)
		}
		s.names[volume.Kind(kind)] = name
	}
	return nil
}

func (s *Settings) parseKinds(known backend.Registry) error {
	s.Kinds = nil
	for _, name := range split(s.Backends) {
		kind, ok := known.Find(volume.Kind(name))
		if !ok {
			return fmt.Errorf("--backends: %q is not one of %s", name, strings.Join(known.Names(), ", "))
		}
		if slices.ContainsFunc(s.Kinds, func(k backend.Kind) bool { return k.Name == kind.Name }) {
			return fmt.Errorf("--backends: %q is given twice", name)
		}
		if other, ok := s.names[kind.Name]; ok {
			kind.Driver = other
		}
		s.Kinds = append(s.Kinds, kind)
	}
	if len(s.Kinds) == 0 {
		return fmt.Errorf("--backends: give at least one of %s", strings.Join(known.Names(), ", "))
	}
	return nil
}

func (s *Settings) parseTags() error {
	s.OwnerTags = map[string]string{}
	for _, pair := range split(s.Tags) {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return fmt.Errorf("--tags: %q is not k=v", pair)
		}
		s.OwnerTags[k] = v
	}
	return nil
}

// CheckClusterID checks the setting --cluster-id, which may be empty.
func CheckClusterID(id string) error {
	if id != "" && !clusterID.MatchString(id) {
		return fmt.Errorf("--cluster-id: %q is not 1 to 63 letters, digits, dots, dashes and underscores", id)
	}
	return nil
}

func (s *Settings) checkIdentity() error {
	if err := CheckClusterID(s.ClusterID); err != nil {
		return err
	}
	if s.AbsenceInterval < 0 {
		return fmt.Errorf("--absence-interval: %s is negative", s.AbsenceInterval)
	}
	return nil
}

func (s *Settings) checkEndpoints() error {
	if !filepath.IsAbs(s.SocketDir) {
		return fmt.Errorf("--socket-dir: %q is not an absolute path", s.SocketDir)
	}
	for flagName, endpoint := range map[string]string{"--http-endpoint": s.HTTPEndpoint, "--otlp-endpoint": s.OTLPEndpoint} {
		if endpoint == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(endpoint); err != nil {
			return fmt.Errorf("%s: %q is not HOST:PORT", flagName, endpoint)
		}
	}
	return nil
}

func (s *Settings) checkNode() error {
	if !s.Mode.Node() {
		return nil
	}
	for flagName, dir := range map[string]string{"--device-root": s.DeviceRoot, "--sysfs-root": s.SysfsRoot} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("%s: %q is not an absolute path", flagName, dir)
		}
	}
	switch {
	case s.PathRoot != "" && !filepath.IsAbs(s.PathRoot):
		return fmt.Errorf("--path-root: %q is not an absolute path", s.PathRoot)
	case s.MounterSocket != "" && !filepath.IsAbs(s.MounterSocket):
		return fmt.Errorf("--mounter-socket: %q is not an absolute path", s.MounterSocket)
	case s.EvictLostMounts && (s.MounterSocket == "" || s.NodeName == ""):
		return errors.New("--evict-lost-mounts: it needs --mounter-socket and --node-name")
	case s.VolumeAttachLimit < 0 || s.VolumeAttachLimit > 128:
		return fmt.Errorf("--volume-attach-limit: %d is not from 0 to 128", s.VolumeAttachLimit)
	case s.NodeID != "" && !instanceID.MatchString(s.NodeID):
		return fmt.Errorf("--node-id: %q is not an EC2 instance id such as i-0123456789abcdef0", s.NodeID)
	case s.InstanceType != "" && !instanceType.MatchString(s.InstanceType):
		return fmt.Errorf("--instance-type: %q is not an instance type such as m5.large", s.InstanceType)
	case !slices.Contains(volume.FSTypes(), s.DefaultFSType):
		return fmt.Errorf("--default-fstype: %q is not one of %s", s.DefaultFSType, strings.Join(volume.FSTypes(), ", "))
	}
	return nil
}

// checkKubelet comes after the driver names are known.
func (s *Settings) checkKubelet() error {
	switch {
	case s.KubeletRegistrationDir == "" && s.KubeletSocketDir == "":
		return nil
	case s.KubeletRegistrationDir == "":
		return errors.New("--kubelet-socket-dir: it has no meaning without --kubelet-registration-dir")
	case !filepath.IsAbs(s.KubeletRegistrationDir):
		return fmt.Errorf("--kubelet-registration-dir: %q is not an absolute path", s.KubeletRegistrationDir)
	case s.KubeletSocketDir == "":
		s.KubeletSocketDir = s.SocketDir
	case !filepath.IsAbs(s.KubeletSocketDir):
		return fmt.Errorf("--kubelet-socket-dir: %q is not an absolute path", s.KubeletSocketDir)
	}
	return nil
}

// split cuts a list at commas and drops empty parts.
func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}
