package disks

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/kube"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Command is one of the operator's commands.
type Command struct {
	Name, Summary string
	usage         string
	disk          bool                 // takes a disk
	lacks         func(options) string // what must be given and is not; nil: nothing more
	flags         func(*flag.FlagSet, *options)
	run           func(ctx context.Context, k ebs.Keeper, o options, out io.Writer) error
}

type options struct {
	region, id, holder, layout string
	kubeconfig, cluster        string
	all                        bool
	absence, olderThan         time.Duration
}

// limit is how long a command may take.
const limit = 5 * time.Minute

const common = `  --region=REGION  the region; default: AWS_REGION or the shared configuration
  --absence-interval=3s
                   how far two not-found answers must lie apart; only for emulators whose clock runs faster

Credentials and endpoints are the AWS CLI's: environment, shared files, instance role.
`

// Commands are all of them, in the order of their use.
func Commands() []Command {
	return []Command{
		{
			Name: "volumes", Summary: "list the disks that Kubernetes or BOSH holds",
			usage: "diskbridge volumes lists EBS volumes with their holder (bosh:… or kubernetes:…) and what they carry.\n\nUsage:\n  diskbridge volumes [flags]\n\nFlags:\n  --all            also those that nobody holds\n" + common +
				"\nExamples:\n  diskbridge volumes\n  diskbridge volumes --all --region=us-east-1\n",
			flags: func(f *flag.FlagSet, o *options) { f.BoolVar(&o.all, "all", false, "") },
			run: func(ctx context.Context, k ebs.Keeper, o options, out io.Writer) error {
				list, err := k.Volumes(ctx, o.all)
				return show(out, list, err)
			},
		},
		{
			Name: "orphans", Summary: "list disks and snapshots that were left behind",
			usage: "diskbridge orphans lists disks and snapshots whose create_disk or snapshot_disk did not answer, and disks that\nBOSH never attached. With --kubeconfig it lists a cluster's too: volumes that were made for a claim and that no\nPersistentVolume names, since the claim was deleted before CreateVolume had answered, or the volume was retained.\nNothing is deleted: look at what it carries, then delete it yourself.\n\nUsage:\n  diskbridge orphans [flags]\n\nFlags:\n" +
				"  --kubeconfig=FILE\n                   access to the cluster, to read its PersistentVolumes\n  --cluster-id=ID  the cluster's --cluster-id; default: UID of its namespace kube-system\n  --older-than=24h\n                   leave out Kubernetes' volumes that were made later than this long ago\n" + common +
				"\nExamples:\n  diskbridge orphans\n  diskbridge orphans --kubeconfig=$HOME/.kube/config --older-than=1h\n  aws ec2 delete-volume --volume-id vol-0123456789abcdef0\n",
			flags: func(f *flag.FlagSet, o *options) {
				f.StringVar(&o.kubeconfig, "kubeconfig", "", "")
				f.StringVar(&o.cluster, "cluster-id", "", "")
				f.DurationVar(&o.olderThan, "older-than", 24*time.Hour, "")
			},
			run: orphans,
		},
		{
			Name: "adopt", Summary: "give a disk to a BOSH Director or a Kubernetes volume", disk: true,
			usage: "diskbridge adopt says who holds a disk; the other world then neither attaches nor deletes it.\n\nUsage:\n  diskbridge adopt VOLUME --holder=HOLDER [flags]\n\nFlags:\n  --holder=HOLDER  bosh:DIRECTOR-UUID or kubernetes:CLUSTER/PV\n" + common +
				"\nExamples:\n  diskbridge adopt vol-0123456789abcdef0 --holder=bosh:2b0f2c0e-6a9e-4a4b-8f1e-0d8f2b7e9c11\n  diskbridge adopt vol-0123456789abcdef0 --holder=kubernetes:prod/pv-database\n",
			flags: func(f *flag.FlagSet, o *options) { f.StringVar(&o.holder, "holder", "", "") },
			lacks: func(o options) string { return without(o.holder, "--holder") },
			run: func(ctx context.Context, k ebs.Keeper, o options, out io.Writer) error {
				return done(out, k.Adopt(ctx, o.id, o.holder), "%s is held by %s", o.id, o.holder)
			},
		},
		{
			Name: "release", Summary: "take a disk from its holder", disk: true,
			usage: "diskbridge release removes the tags that say who holds a disk, so that the other world may use it. Do it once the\nPersistentVolume is deleted (policy Retain), or the disk is orphaned in BOSH. What the disk carries does not change.\n\nUsage:\n  diskbridge release VOLUME [flags]\n\nFlags:\n" + common +
				"\nExamples:\n  diskbridge release vol-0123456789abcdef0\n",
			run: func(ctx context.Context, k ebs.Keeper, o options, out io.Writer) error {
				return done(out, k.Release(ctx, o.id), "%s is held by nobody", o.id)
			},
		},
		{
			Name: "convert", Summary: "record that a disk has BOSH's layout", disk: true,
			usage: "diskbridge convert records what a disk carries, where nobody knew it. It writes nothing to the disk: use it only for\na disk with BOSH's partition, for BOSH's agent erases a file system without a partition.\n\nUsage:\n  diskbridge convert VOLUME --layout=bosh [flags]\n\nFlags:\n  --layout=bosh    one GPT partition named bosh-partition-0, with ext4 or xfs\n" + common +
				"\nExamples:\n  diskbridge convert vol-0123456789abcdef0 --layout=bosh\n",
			flags: func(f *flag.FlagSet, o *options) { f.StringVar(&o.layout, "layout", "", "") },
			lacks: func(o options) string { return without(o.layout, "--layout=bosh") },
			run: func(ctx context.Context, k ebs.Keeper, o options, out io.Writer) error {
				return done(out, k.Convert(ctx, o.id, o.layout), "%s is known to have layout %s", o.id, o.layout)
			},
		},
	}
}

// Run runs the command and returns its exit status.
func (c Command) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("diskbridge "+c.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.region, "region", "", "")
	flags.DurationVar(&o.absence, "absence-interval", 0, "")
	if c.flags != nil {
		c.flags(flags, &o)
	}
	wrong := func(format string, args ...any) int {
		fmt.Fprintf(stderr, "diskbridge %s: %s; see diskbridge %s --help\n", c.Name, fmt.Sprintf(format, args...), c.Name)
		return 2
	}
	if c.disk && len(args) > 0 && args[0] != "" && args[0][0] != '-' { // flags come after the disk
		o.id, args = args[0], args[1:]
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, c.usage)
		return 0
	case err != nil:
		return wrong("%v", err)
	case c.disk && o.id == "" && flags.NArg() == 1:
		o.id = flags.Arg(0)
	case c.disk && o.id == "":
		return wrong("a disk (vol-…) must be named")
	case flags.NArg() > 0:
		return wrong("unexpected argument %q", flags.Arg(0))
	}
	if h, err := volume.ParseHandle(o.id); c.disk && (err != nil || h.Kind != volume.EBS) {
		return wrong("%q is not a disk (vol-…)", o.id)
	}
	if c.lacks != nil && c.lacks(o) != "" {
		return wrong("%s must be given", c.lacks(o))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := c.inCloud(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "diskbridge %s: %v\n", c.Name, err)
		return 1
	}
	return 0
}

func (c Command) inCloud(ctx context.Context, o options, out io.Writer) error {
	session, err := aws.NewSession(ctx, aws.Options{Region: o.region, AppID: "diskbridge"})
	if err != nil {
		return fmt.Errorf("load AWS configuration: %w", err)
	}
	if session.Region() == "" {
		return errors.New("no AWS region is known: set --region or AWS_REGION")
	}
	client := ec2.New(session.Config(), ec2.Options{AbsenceInterval: o.absence})
	defer client.Close()
	return c.run(ctx, ebs.NewKeeper(client), o, out)
}

// without is the flag whose value is empty.
func without(value, flag string) string {
	if value == "" {
		return flag
	}
	return ""
}

// orphans lists BOSH's leftovers, and those of the cluster that is named.
func orphans(ctx context.Context, k ebs.Keeper, o options, out io.Writer) error {
	list, err := k.Orphans(ctx)
	if err != nil || o.kubeconfig == "" {
		return show(out, list, err)
	}
	client, err := kube.New(o.kubeconfig, "diskbridge")
	if err != nil {
		return err
	}
	if o.cluster == "" {
		if o.cluster, err = client.ClusterID(ctx); err != nil {
			return err
		}
	}
	left, err := k.KubernetesOrphans(ctx, o.cluster, time.Now().Add(-o.olderThan), client.VolumeHandles)
	if err != nil {
		return err
	}
	return show(out, append(list, left...), nil)
}

func show(out io.Writer, list []ebs.Record, err error) error {
	for _, r := range list {
		fmt.Fprintln(out, r)
	}
	return err
}

func done(out io.Writer, err error, format string, args ...any) error {
	if err == nil {
		fmt.Fprintf(out, format+"\n", args...)
	}
	return err
}
