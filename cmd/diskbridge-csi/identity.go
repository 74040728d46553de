package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/kube"
	"github.com/diskbridge/diskbridge/pkg/registration"
	"github.com/diskbridge/diskbridge/pkg/version"
)

// identityWait is how long Kubernetes may take at the start, to answer or to give a new Node its providerID. Then the process
// ends and is started anew.
const identityWait = 40 * time.Second

// identify fills what was not configured: who we are in tags, and which machine this is.
func (p *plugin) identify(ctx context.Context) error {
	s := p.settings
	if s.Mode.Controller() {
		if err := identifyCluster(ctx, &s.ClusterID, p.cluster); err != nil {
			return err
		}
	}
	if !s.Mode.Node() || s.NodeID != "" && s.Zone != "" {
		return nil
	}
	self, err := p.whereabouts(ctx)
	if err != nil {
		return err
	}
	for _, fill := range []struct {
		setting *string
		with    string
	}{{&s.NodeID, self.Instance}, {&s.Zone, self.Zone}, {&s.Region, self.Region}, {&s.InstanceType, self.Type}} {
		if *fill.setting == "" {
			*fill.setting = fill.with
		}
	}
	if s.Zone == "" {
		return errors.New("the zone of this node is not known: set --zone, or the label topology.kubernetes.io/zone on the Node")
	}
	return nil
}

// identifyCluster fills an id that was not configured with Kubernetes' own identity, so that nobody has to choose one; cluster
// is nil outside of it. It never guesses: the id decides what may be deleted.
func identifyCluster(ctx context.Context, id *string, cluster *kube.Client) (err error) {
	if *id != "" {
		return nil
	}
	if cluster == nil {
		*id = config.Standalone
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	*id, err = kube.Patiently(ctx, cluster.ClusterID)
	if err == nil && *id == "" {
		err = errors.New("the namespace kube-system has no UID")
	}
	if err != nil {
		return fmt.Errorf("--cluster-id is not given, and Kubernetes does not say who it is: %w", err)
	}
	return nil
}

// openKubernetes makes a client for the cluster of a kubeconfig file or of the pod that this is; outside of both it is nil.
func openKubernetes(kubeconfig string, inKubernetes bool) (*kube.Client, error) {
	if kubeconfig == "" && !inKubernetes {
		return nil, nil //nolint:nilnil // there is no cluster, and that is fine
	}
	return kube.New(kubeconfig, "diskbridge-csi/"+version.String())
}

// whereabouts asks instance metadata, and then the Node object, which machine this is.
func (p *plugin) whereabouts(ctx context.Context) (aws.Identity, error) {
	self, err := aws.Self(ctx)
	if err == nil {
		return self, nil
	}
	if p.cluster == nil || p.settings.NodeName == "" {
		return aws.Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	node, errNode := kube.Patiently(ctx, func(ctx context.Context) (kube.Node, error) { return p.cluster.Node(ctx, p.settings.NodeName) })
	if errNode != nil {
		return aws.Identity{}, fmt.Errorf("%w; %w", err, errNode)
	}
	return aws.Identity{Instance: node.Instance, Zone: node.Zone, Region: node.Region, Type: node.Type}, nil
}

// goKubernetes starts what talks to Kubernetes beside the RPCs.
func (p *plugin) goKubernetes(ctx context.Context, group *errgroup.Group) {
	if p.cluster == nil {
		return
	}
	if p.settings.Mode.Controller() {
		group.Go(func() error { p.events.Run(ctx); return nil })
	}
	if p.settings.KubeletRegistrationDir != "" && p.settings.NodeName != "" {
		welcome := kube.Welcome{Client: p.cluster, Node: p.settings.NodeName}
		registered := map[string]*registration.Plugin{}
		for i, kind := range p.settings.Kinds {
			welcome.Drivers, registered[kind.Driver] = append(welcome.Drivers, kind.Driver), p.plugins[i]
		}
		welcome.Registered = func(driver string) bool { return registered[driver].Registered() }
		group.Go(func() error { welcome.Run(ctx); return nil })
	}
}
