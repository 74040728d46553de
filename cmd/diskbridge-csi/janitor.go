package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/efs"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	cloudefs "github.com/diskbridge/diskbridge/pkg/cloud/efs"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/janitor"
	"github.com/diskbridge/diskbridge/pkg/mount"
	"github.com/diskbridge/diskbridge/pkg/mounter"
	"github.com/diskbridge/diskbridge/pkg/version"
)

const janitorUsage = `diskbridge-csi janitor removes the directories of deleted EFS volumes (provisioningMode
directory, onDelete delete or archive): the controller, which mounts nothing, only asks
for it. It runs as root on one EC2 instance that reaches the file systems, with the AWS
credentials of the controller. Killed at any instant, it goes on where it was.

Usage:
  diskbridge-csi janitor [flags]

`

const janitorExamples = `
Examples:
  diskbridge-csi janitor --region=us-east-1
  diskbridge-csi janitor --once --node-id=i-0123456789abcdef0 --mount-point=/run/diskbridge/janitor
`

// janitorSettings are all that an operator can choose about a janitor.
type janitorSettings struct {
	region, node          string
	clusterID, kubeconfig string
	point, mounterSocket  string
	interval, patience    time.Duration
	absence               time.Duration
	once                  bool
}

// parseJanitor reads the arguments; flag.ErrHelp means that what was asked for is printed.
func parseJanitor(args []string, stdout, stderr io.Writer) (*janitorSettings, error) {
	j := &janitorSettings{}
	fs := flag.NewFlagSet("janitor", flag.ContinueOnError)
	fs.StringVar(&j.region, "region", "", "AWS region (default: the SDK's sources, then instance metadata)")
	fs.StringVar(&j.node, "node-id", "", "EC2 instance id of this machine (default: instance metadata)")
	fs.StringVar(&j.clusterID, "cluster-id", "", "whose directories to remove, as the controller has it (default: the UID of the namespace kube-system; outside Kubernetes: "+config.Standalone+")")
	fs.StringVar(&j.kubeconfig, "kubeconfig", "", "Kubernetes is at the server of this `FILE` (default: in a pod, its own cluster; elsewhere: no Kubernetes)")
	fs.StringVar(&j.point, "mount-point", "/run/diskbridge/janitor", "mount file systems on `DIR`, which is made and seen by nobody else")
	fs.StringVar(&j.mounterSocket, "mounter-socket", "", "encrypt in transit through the diskbridge-csi mounter at this Unix socket: `PATH` (empty: no)")
	fs.DurationVar(&j.interval, "interval", time.Minute, "time between two looks for work")
	fs.DurationVar(&j.patience, "patience", 10*time.Minute, "time for one directory in one round; a larger one is gone on with in the next")
	fs.DurationVar(&j.absence, "absence-interval", 3*time.Second, "time between the two not-found answers of AWS that prove absence; shorter only for an emulator")
	fs.BoolVar(&j.once, "once", false, "end after one round, with status 1 if something is left")
	if err := parseMode(fs, args, janitorUsage, janitorExamples, stdout, stderr); err != nil {
		return nil, err
	}
	switch {
	case !filepath.IsAbs(j.point):
		return nil, fmt.Errorf("--mount-point: %q is not an absolute path", j.point)
	case j.mounterSocket != "" && !filepath.IsAbs(j.mounterSocket):
		return nil, fmt.Errorf("--mounter-socket: %q is not an absolute path", j.mounterSocket)
	case j.interval <= 0 || j.patience <= 0:
		return nil, fmt.Errorf("--interval %s and --patience %s must be more than nothing", j.interval, j.patience)
	}
	return j, config.CheckClusterID(j.clusterID)
}

// serve works until ctx ends.
func (j *janitorSettings) serve(ctx context.Context, inKubernetes bool) error {
	if err := j.identify(ctx, inKubernetes); err != nil {
		return err
	}
	session, err := aws.NewSession(ctx, aws.Options{Region: j.region, AppID: "diskbridge"})
	if err != nil {
		return fmt.Errorf("load AWS configuration: %w", err)
	}
	if session.Region() == "" {
		return errors.New("no AWS region is known; set --region or AWS_REGION")
	}
	network := ec2.New(session.Config(), ec2.Options{AbsenceInterval: j.absence})
	defer network.Close()
	files := cloudefs.New(session.Config(), cloudefs.Options{AbsenceInterval: j.absence})
	defer files.Close()
	if err := os.MkdirAll(j.point, 0o700); err != nil {
		return fmt.Errorf("--mount-point: %w", err)
	}
	mounts := mount.NFSConfig{Region: session.Region()}
	if j.mounterSocket != "" {
		mounts.Tunnels = mounter.NewClient(j.mounterSocket)
	}
	remover := mount.NewNFS(mounts)
	work := &janitor.Janitor{
		Queue:   efs.New(files, network, efs.Options{Owner: backend.Owner{Driver: efs.DefaultDriver, Cluster: j.clusterID}}),
		Remover: remover, Node: j.node, Point: j.point, TLS: j.mounterSocket != "", Interval: j.interval, Patience: j.patience,
	}
	defer func() {
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := remover.Drain(wait); err != nil {
			klog.FromContext(ctx).Info("A mount has not ended", "reason", err.Error())
		}
	}()
	klog.FromContext(ctx).Info("Looking for directories to remove", "cluster", j.clusterID, "node", j.node, "version", version.String())
	if !j.once {
		return work.Run(ctx)
	}
	left, err := work.Round(ctx)
	if err == nil && left > 0 {
		err = fmt.Errorf("%d directories are left; the log says why", left)
	}
	return err
}

// identify fills what was not configured from Kubernetes and instance metadata.
func (j *janitorSettings) identify(ctx context.Context, inKubernetes bool) error {
	cluster, err := openKubernetes(j.kubeconfig, inKubernetes)
	if err == nil {
		err = identifyCluster(ctx, &j.clusterID, cluster)
	}
	if err != nil {
		return err
	}
	if j.node != "" {
		return nil
	}
	self, err := aws.Self(ctx)
	if err != nil {
		return fmt.Errorf("no node is known; set --node-id: %w", err)
	}
	j.node = self.Instance
	if j.region == "" {
		j.region = self.Region
	}
	return nil
}
