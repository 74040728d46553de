package main

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	clouds3 "github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/objectmount"
	"github.com/diskbridge/diskbridge/pkg/resign"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// gate opens the way from mounts to their buckets: a proxy for each, that signs with the mounter's own credentials of the
// moment, or with those of a secret. It knows the endpoint profiles.
type gate struct {
	ctx      context.Context //nolint:containedctx // of the proxies, not of a call
	session  *aws.Session
	profiles map[string]config.S3Profile // AWS's place is taken by config.DefaultProfile, if it is there

	mu   sync.Mutex // guards ways
	ways map[string]*way
}

// way is a proxy and why it failed last.
type way struct {
	*resign.Proxy

	mu   sync.Mutex // guards below
	last error
	told time.Time
}

// lookLimit is how long a server may take to answer before its bucket is mounted.
const lookLimit = 10 * time.Second

// tellAgain is how often the same failure of a mount is logged.
const tellAgain = time.Minute

func newGate(ctx context.Context, session *aws.Session, profiles map[string]config.S3Profile) *gate {
	return &gate{ctx: context.WithoutCancel(ctx), session: session, profiles: profiles, ways: map[string]*way{}}
}

var _ objectmount.Gate = (*gate)(nil)

// Open opens a proxy, in the place of the mount's last one.
func (g *gate) Open(ctx context.Context, mount string, plan volume.ObjectPlan, own *volume.ObjectCredentials, last *objectmount.Access) (objectmount.Access, error) {
	const op = "open the way to the bucket"
	g.mu.Lock()
	_, open := g.ways[mount]
	g.mu.Unlock()
	known := last
	if open {
		known = nil // other credentials must show what they are good for
	}
	target, keys, err := g.target(ctx, plan, own, known)
	if err != nil {
		return objectmount.Access{}, fault.Wrap(op, plan.Bucket, err)
	}
	if err := g.Close(mount); err != nil {
		return objectmount.Access{}, fault.Wrap(op, plan.Bucket, err)
	}
	var door resign.Door
	if last != nil {
		door = resign.Door{Address: strings.TrimPrefix(last.URL, "http://"), AccessKeyID: last.AccessKeyID, SecretAccessKey: last.SecretAccessKey}
	}
	w := &way{}
	target.Report = func(err error) { w.report(g.ctx, plan.Handle, err) }
	if w.Proxy, err = resign.Listen(g.ctx, door, target, keys); err != nil { //nolint:contextcheck // the proxy outlives this call
		return objectmount.Access{}, fault.Wrap(op, plan.Bucket, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ways[mount] = w
	door = w.Door()
	return objectmount.Access{
		URL: door.URL(), Region: target.Region, PathStyle: true, Owner: target.Owner, AccessKeyID: door.AccessKeyID, SecretAccessKey: door.SecretAccessKey,
	}, nil
}

// Why is why the last request of a mount failed that did; nil if none did.
func (g *gate) Why(mount string) error {
	g.mu.Lock()
	w := g.ways[mount]
	g.mu.Unlock()
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// report remembers a failure, and logs one that is news.
func (w *way) report(ctx context.Context, handle string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil || w.last.Error() != err.Error() || time.Since(w.told) > tellAgain {
		klog.FromContext(ctx).Info("A request of a mount failed, and is tried again", "volume", handle, "reason", err.Error())
		w.told = time.Now()
	}
	w.last = err
}

// Close ends the mount's proxy.
func (g *gate) Close(mount string) error {
	g.mu.Lock()
	w := g.ways[mount]
	delete(g.ways, mount)
	g.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Close()
}

// closeAll ends all proxies.
func (g *gate) closeAll() (err error) {
	g.mu.Lock()
	mounts := slices.Collect(maps.Keys(g.ways))
	g.mu.Unlock()
	for _, mount := range mounts {
		err = errors.Join(err, g.Close(mount))
	}
	return err
}

// target is where a plan's bucket is, whose it must be, and what requests are signed with. With what is known of it from before
// nobody is asked anything; else the bucket is looked at: S3's own words are better than what programs make of them.
func (g *gate) target(ctx context.Context, plan volume.ObjectPlan, own *volume.ObjectCredentials, known *objectmount.Access) (t resign.Target, keys sdkaws.CredentialsProvider, err error) {
	var options clouds3.Options
	if known != nil {
		options.Owner = known.Owner
	}
	if options.Endpoint, err = g.endpoint(plan.Profile); err != nil {
		return t, nil, err
	}
	if own != nil {
		options.Credentials = &clouds3.Credentials{AccessKeyID: own.AccessKeyID, SecretAccessKey: own.SecretAccessKey, SessionToken: own.SessionToken}
	}
	cfg := g.session.Config()
	switch {
	case known != nil:
		cfg.Region = known.Region
	case plan.Region != "":
		cfg.Region = plan.Region
	}
	client, err := clouds3.New(cfg, options)
	if err != nil {
		return t, nil, err
	}
	if client.Region() == "" {
		return t, nil, fault.New(fault.Invalid, "find S3", plan.Bucket, "the bucket's region is not known: write it into the volume context %q, or give the mounter --region", volume.ContextRegion)
	}
	if keys, err = g.keys(ctx, own, known != nil); err != nil {
		return t, nil, err
	}
	at, err := client.Place(ctx, plan.Bucket)
	if err == nil && known == nil {
		if err = lookAt(ctx, client, plan, at.URL); err == nil {
			at, err = client.Place(ctx, plan.Bucket) // the look may have found it in another region
		}
	}
	return resign.Target{URL: at.URL, Region: at.Region, Bucket: plan.Bucket, Prefix: plan.Prefix, Owner: at.Owner, TLS: at.TLS}, keys, err
}

// lookAt lists what is in a bucket, as far as one name.
func lookAt(ctx context.Context, client *clouds3.Client, plan volume.ObjectPlan, at *url.URL) error {
	limit := lookLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2) // so that the reason still arrives
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, _, err := client.Keys(ctx, plan.Bucket, plan.Prefix, "", 1)
	if ctx.Err() != nil {
		return fault.New(fault.Unavailable, "look at the bucket", plan.Bucket, "%s has not answered to this node: %v", at, err)
	}
	return err
}

// endpoint is a profile's; nil is AWS's.
func (g *gate) endpoint(name string) (*clouds3.Endpoint, error) {
	p, ok := g.profiles[name]
	if name == "" {
		name = config.DefaultProfile
		if p, ok = g.profiles[name]; !ok {
			return nil, nil
		}
	}
	if ok {
		return endpointOf(name, p)
	}
	known := "it has none: give it --s3-profiles"
	if len(g.profiles) > 0 {
		known = "it has " + strings.Join(slices.Sorted(maps.Keys(g.profiles)), ", ")
	}
	return nil, fault.New(fault.Invalid, "find S3", name, "this node's mounter does not know the endpoint profile; %s", known)
}

// keys are those of a secret, or the mounter's own of each moment, which must be there now unless later will do.
func (g *gate) keys(ctx context.Context, own *volume.ObjectCredentials, later bool) (sdkaws.CredentialsProvider, error) {
	if own != nil {
		return credentials.NewStaticCredentialsProvider(own.AccessKeyID, own.SecretAccessKey, own.SessionToken), nil
	}
	var c sdkaws.Credentials
	var err error
	provider := g.session.Config().Credentials
	if provider != nil && later {
		return provider, nil
	}
	if provider != nil {
		c, err = provider.Retrieve(ctx)
	}
	if err != nil || !c.HasKeys() {
		return nil, fault.New(fault.Denied, "find credentials", "", "the mounter has none of its own, and none came with a secret: "+
			"give it a role, or the volume a secret (csi.storage.k8s.io/node-stage-secret-name)")
	}
	return provider, nil
}
