package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/stats"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/backend/efs"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	cloudefs "github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/csi"
	"github.com/diskbridge/diskbridge/pkg/kube"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/mounter"
	"github.com/diskbridge/diskbridge/pkg/observe"
	"github.com/diskbridge/diskbridge/pkg/registration"
	"github.com/diskbridge/diskbridge/pkg/version"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// plugin is everything that one process serves.
type plugin struct {
	settings *config.Settings
	metrics  *observe.Metrics
	tracing  stats.Handler
	session  *aws.Session // nil without a controller
	broker   *broker.Broker
	cluster  *kube.Client // nil outside Kubernetes
	events   *kube.Events // nil outside Kubernetes
	block    *mount.Block // nil without a node, as nfs
	nfs      *mount.NFS
	plugins  []*registration.Plugin
	watches  []func(context.Context) // of the node, until the context ends
}

// serve runs until ctx ends or a part fails, and returns when every part has ended.
func serve(ctx context.Context, s *config.Settings, inKubernetes bool) (err error) {
	p := &plugin{settings: s, metrics: observe.NewMetrics()}
	if p.cluster, err = openKubernetes(s.Kubeconfig, inKubernetes); err != nil {
		return err
	}
	switch {
	case p.cluster != nil:
		p.events = kube.NewEvents(p.cluster)
	case s.EvictLostMounts:
		return errors.New("--evict-lost-mounts: there is no Kubernetes here; give --kubeconfig")
	}
	if s.OTLPEndpoint != "" {
		handler, stop, err := observe.Tracing(ctx, s.OTLPEndpoint)
		if err != nil {
			return fmt.Errorf("--otlp-endpoint: %w", err)
		}
		p.tracing = handler
		defer func() {
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = stop(flush) // the collector may be gone; traces are best effort
		}()
	}
	if err := p.identify(ctx); err != nil {
		return err
	}
	if s.Mode.Controller() {
		closeCloud, err := p.openCloud(ctx)
		if err != nil {
			return err
		}
		defer closeCloud()
	}
	if s.Mode.Node() {
		var end func()
		ctx, end = p.beginNode(ctx)
		defer end()
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, kind := range s.Kinds {
		server := p.server(ctx, kind)
		klog.FromContext(ctx).Info("Serving", "driver", kind.Driver, "mode", s.Mode, "socket", server.Socket, "version", version.String())
		group.Go(func() error { return server.Serve(ctx) })
		if s.KubeletRegistrationDir != "" {
			registered := p.registration(kind, server.Socket)
			group.Go(func() error { return registered.Serve(ctx) })
		}
	}
	p.goWatches(ctx, group)
	p.goKubernetes(ctx, group)
	if s.HTTPEndpoint != "" {
		group.Go(func() error {
			if err := observe.Serve(ctx, s.HTTPEndpoint, p.metrics, p.ready); err != nil {
				return fmt.Errorf("--http-endpoint: %w", err)
			}
			return nil
		})
	}
	debug.FreeOSMemory() // what only starting needed
	return group.Wait()
}

// beginNode opens the node's half, and returns how long it serves. end waits for what has outlived its caller.
func (p *plugin) beginNode(ctx context.Context) (serving context.Context, end func()) {
	p.openNode(ctx)
	serving, stop := afterTools(ctx, p.block.Finish)
	return serving, func() {
		stop()
		awaitTools(context.WithoutCancel(ctx), p.block.Finish) // a part may have failed, and nothing has waited for them yet
		p.drain(ctx)
	}
}

// drain lets system calls end that outlived their callers; the kernel may never
// answer some, so that only a while is waited.
func (p *plugin) drain(ctx context.Context) {
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := errors.Join(p.block.Drain(wait), p.nfs.Drain(wait)); err != nil {
		klog.FromContext(ctx).Info("Some operations on this node have not ended", "reason", err.Error())
	}
}

// openCloud makes the backends of the controller.
func (p *plugin) openCloud(ctx context.Context) (closeCloud func(), err error) {
	s := p.settings
	if err := p.openSession(ctx); err != nil {
		return nil, err
	}
	for k, v := range s.OwnerTags {
		for _, kind := range s.Kinds {
			if err := p.owner(kind).CheckTag(k, v); err != nil {
				return nil, fmt.Errorf("--tags: %w", err)
			}
		}
	}
	network := ec2.New(p.session.Config(), ec2.Options{AbsenceInterval: s.AbsenceInterval, Recorder: p.metrics})
	files := cloudefs.New(p.session.Config(), cloudefs.Options{AbsenceInterval: s.AbsenceInterval, Recorder: p.metrics})
	backends := map[volume.Kind]backend.Backend{}
	for _, kind := range s.Kinds {
		switch kind.Name {
		case volume.EBS:
			disks := ebs.New(network, ebs.Options{
				Owner: p.owner(kind), Encrypted: s.DefaultEncrypted, KMSKey: s.DefaultKMSKeyID, Zone: s.Zone,
			})
			p.metrics.WatchDetaches(kind.Driver, disks.PendingDetaches)
			backends[kind.Name] = disks
		case volume.EFS:
			backends[kind.Name] = efs.New(files, network, efs.Options{Owner: p.owner(kind), KMSKey: s.DefaultKMSKeyID})
		case volume.S3:
			if backends[kind.Name], err = p.objects(kind); err != nil {
				files.Close()
				network.Close()
				return nil, err
			}
		}
	}
	p.broker = broker.New(backends)
	return func() { files.Close(); network.Close() }, nil
}

// owner is who we are to the volumes of a kind.
func (p *plugin) owner(kind backend.Kind) backend.Owner {
	return backend.Owner{Driver: kind.Driver, Cluster: p.settings.ClusterID, Tags: p.settings.OwnerTags}
}

// openSession loads the configuration for AWS. The SDK's own sources know no region on a machine whose role gives the
// credentials: there the machine says it.
func (p *plugin) openSession(ctx context.Context) (err error) {
	options := aws.Options{Region: p.settings.Region, AppID: "diskbridge", Recorder: p.metrics}
	for {
		if p.session, err = aws.NewSession(ctx, options); err != nil {
			return fmt.Errorf("load AWS configuration: %w", err)
		}
		if p.session.Region() != "" {
			return nil
		}
		self, err := p.whereabouts(ctx)
		if err == nil && self.Region == "" {
			err = errors.New("the Node has no label topology.kubernetes.io/region")
		}
		if err != nil {
			return fmt.Errorf("no AWS region is known; set --region or AWS_REGION: %w", err)
		}
		options.Region = self.Region
	}
}

// server puts together what one driver name serves.
func (p *plugin) server(ctx context.Context, kind backend.Kind) *csi.Server {
	s := p.settings
	out := &csi.Server{
		Identity: &csi.Identity{
			Driver: kind.Driver, Version: version.String(), Controller: s.Mode.Controller(), Zonal: kind.Zonal, Grows: kind.Grows,
			Manifest: p.manifest, Ready: func(ctx context.Context) error { return p.probe(ctx, kind.Name) },
		},
		Recorder: p.metrics, Tracing: p.tracing,
		Socket: filepath.Join(s.SocketDir, kind.Driver, "csi.sock"),
	}
	if s.Mode.Controller() {
		controller := &csi.Controller{Kind: kind, Broker: p.broker, Driver: kind.Driver}
		if p.events != nil {
			controller.Events = p.events
		}
		out.Controller = controller
	}
	switch {
	case !s.Mode.Node():
	case kind.Name == volume.S3 && s.MounterSocket == "":
		out.Node = &csi.MissingNode{ID: s.NodeID, Why: noObjectMounts}
	default:
		out.Node = csi.NewNode(p.node(ctx, kind))
	}
	return out
}

// openNode makes the stagers, one for each kind of plan.
func (p *plugin) openNode(ctx context.Context) {
	s := p.settings
	p.block = mount.NewBlock(mount.Config{DeviceRoot: s.DeviceRoot, SysfsRoot: s.SysfsRoot})
	files := mount.NFSConfig{Region: s.Region, Lost: func(point string) {
		klog.FromContext(ctx).Info("A directory was unmounted that its server no longer has; what programs had not written yet is lost", "path", point)
	}}
	if s.MounterSocket != "" {
		files.Tunnels = mounter.NewClient(s.MounterSocket)
	}
	p.nfs = mount.NewNFS(files)
}

// node is the node half of one driver name.
func (p *plugin) node(ctx context.Context, kind backend.Kind) csi.Node {
	s := p.settings
	out := csi.Node{
		Kind: kind.Name, ID: s.NodeID, Region: s.Region, Topology: volume.Topology{Zone: s.Zone}, ZoneKeys: kind.ZoneKeys[kind.Driver],
		DefaultFSType: s.DefaultFSType, PathRoot: s.PathRoot,
	}
	switch kind.Name {
	case volume.EFS:
		out.Volumes = csi.StagedBy(p.nfs)
		return out
	case volume.S3: // whose files get their group by the mount
		p.watches = append(p.watches, func(ctx context.Context) { p.watchLosses(ctx, kind) })
		out.Volumes, out.MountsGroup, out.Topology = csi.StagedBy(mounter.NewClient(s.MounterSocket).Objects()), true, volume.Topology{}
		return out
	default: // disks
	}
	attached := newAttachments(s, kind.Driver, p.block)
	p.metrics.WatchNode(kind.Driver, func() (int64, int64, error) { return attached.usage(ctx) })
	p.watches = append(p.watches, func(ctx context.Context) { p.watchFailures(ctx, kind.Driver, attached) })
	out.MaxVolumes, out.Volumes = attached.limit, csi.StagedBy(attached)
	return out
}

// goWatches starts what looks after the node's volumes.
func (p *plugin) goWatches(ctx context.Context, group *errgroup.Group) {
	for _, watch := range p.watches {
		group.Go(func() error { watch(ctx); return nil })
	}
}

// registration tells kubelet about one driver as soon as its socket answers.
func (p *plugin) registration(kind backend.Kind, socket string) *registration.Plugin {
	out := registration.New(registration.Options{
		Driver: kind.Driver, Dir: p.settings.KubeletRegistrationDir,
		Endpoint: filepath.Join(p.settings.KubeletSocketDir, kind.Driver, "csi.sock"),
		Ready: func(ctx context.Context) error {
			if err := p.probe(ctx, kind.Name); err != nil {
				return err
			}
			return csi.Probe(ctx, socket)
		},
	})
	p.plugins = append(p.plugins, out)
	return out
}

func (p *plugin) manifest() map[string]string {
	m := map[string]string{"url": "https://github.com/diskbridge/diskbridge"}
	if p.session != nil && p.session.Emulator() != "" {
		m["emulator"] = p.session.Emulator()
	}
	return m
}

// probe answers for one kind; a node without a controller needs no cloud.
func (p *plugin) probe(ctx context.Context, kind volume.Kind) error {
	if p.broker == nil {
		return nil
	}
	return p.broker.Probe(ctx, kind)
}

func (p *plugin) ready(ctx context.Context) error {
	for _, kind := range p.settings.Kinds {
		if err := p.probe(ctx, kind.Name); err != nil {
			return err
		}
	}
	for _, plugin := range p.plugins {
		if err := plugin.Err(); err != nil {
			return err
		}
	}
	return nil
}
