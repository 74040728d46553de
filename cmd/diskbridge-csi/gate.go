package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	clouds3 "github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/objectmount"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// gate opens the way from mounts to their buckets: it knows the endpoint profiles and the mounter's own credentials.
type gate struct {
	session  *aws.Session
	profiles map[string]config.S3Profile // AWS's place is taken by config.DefaultProfile, if it is there
}

var _ objectmount.Gate = (*gate)(nil)

// Open answers the endpoint and the keys themselves.
func (g *gate) Open(ctx context.Context, _ string, plan volume.ObjectPlan, own *volume.ObjectCredentials, _ *objectmount.Access) (objectmount.Access, error) {
	const op = "open the way to the bucket"
	a, err := g.place(ctx, plan)
	if err != nil {
		return a, fault.Wrap(op, plan.Bucket, err)
	}
	if own == nil {
		if own, err = g.keys(ctx); err != nil {
			return a, fault.Wrap(op, plan.Bucket, err)
		}
	}
	if own.SessionToken != "" {
		return a, fault.New(fault.Unsupported, op, plan.Bucket, "the credentials are temporary, and s3fs cannot renew them; use lasting ones from a secret")
	}
	a.AccessKeyID, a.SecretAccessKey = own.AccessKeyID, own.SecretAccessKey
	return a, nil
}

// Close has nothing to end.
func (g *gate) Close(string) error { return nil }

// place is where a plan's bucket is.
func (g *gate) place(ctx context.Context, plan volume.ObjectPlan) (a objectmount.Access, err error) {
	name := plan.Profile
	if name == "" {
		name = config.DefaultProfile
	}
	options := clouds3.Options{}
	profile, named := g.profiles[name]
	switch {
	case named:
		if options.Endpoint, err = endpointOf(name, profile); err != nil {
			return a, err
		}
		a.PathStyle = options.Endpoint.PathStyle
	case plan.Profile != "":
		known := "it has none: give it --s3-profiles"
		if len(g.profiles) > 0 {
			known = "it has " + strings.Join(slices.Sorted(maps.Keys(g.profiles)), ", ")
		}
		return a, fault.New(fault.Invalid, "find S3", plan.Profile, "this node's mounter does not know the endpoint profile; %s", known)
	}
	for _, region := range []string{plan.Region, profile.Region, g.session.Region()} {
		if a.Region = region; region != "" {
			break
		}
	}
	if a.Region == "" {
		return a, fault.New(fault.Invalid, "find S3", plan.Bucket, "the bucket's region is not known: write it into the volume context %q, or give the mounter --region", volume.ContextRegion)
	}
	client, err := clouds3.New(g.session.Config(), options)
	if err != nil {
		return a, err
	}
	a.URL, err = client.URL(ctx, a.Region)
	a.PathStyle = a.PathStyle || !strings.Contains(a.URL, ".amazonaws.com")
	return a, err
}

// keys are the mounter's own credentials.
func (g *gate) keys(ctx context.Context) (*volume.ObjectCredentials, error) {
	var c sdkaws.Credentials
	var err error
	if provider := g.session.Config().Credentials; provider != nil {
		c, err = provider.Retrieve(ctx)
	}
	if err != nil || !c.HasKeys() {
		return nil, fault.New(fault.Denied, "find credentials", "", "the mounter has none of its own, and none came with a secret: "+
			"give it a role, or the volume a secret (csi.storage.k8s.io/node-stage-secret-name)")
	}
	return &volume.ObjectCredentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
}
