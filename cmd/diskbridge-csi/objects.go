package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/s3"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	clouds3 "github.com/diskbridge/diskbridge/pkg/cloud/s3"
	"github.com/diskbridge/diskbridge/pkg/config"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// noObjectMounts is what a node without a mounter answers that is asked to mount a bucket.
const noObjectMounts = "buckets are mounted by `diskbridge-csi mounter`; start it on this node, and give the node plugin its --mounter-socket"

// objects makes the backend of S3: AWS's, or the default profile's in its place, and
// every named profile's.
func (p *plugin) objects(kind backend.Kind) (backend.Backend, error) {
	servers := map[string]*server{"": {Absences: aws.NewAbsences(p.settings.AbsenceInterval)}}
	for name, profile := range p.settings.S3Profiles {
		endpoint, err := endpointOf(name, profile)
		if err != nil {
			return nil, fmt.Errorf("--s3-profiles: profile %q: %w", name, err)
		}
		if name == config.DefaultProfile {
			name = ""
		}
		servers[name] = &server{Endpoint: endpoint, Absences: aws.NewAbsences(p.settings.AbsenceInterval)}
	}
	open := func(name string, own *volume.ObjectCredentials) (*clouds3.Client, error) {
		opts := clouds3.Options(*servers[name])
		if own != nil {
			opts.Credentials = &clouds3.Credentials{AccessKeyID: own.AccessKeyID, SecretAccessKey: own.SecretAccessKey, SessionToken: own.SessionToken}
		}
		return clouds3.New(p.session.Config(), opts)
	}
	clients := map[string]*clouds3.Client{}
	for name := range servers {
		client, err := open(name, nil)
		if err != nil {
			return nil, fmt.Errorf("--s3-profiles: %w", err)
		}
		clients[name] = client
	}
	return s3.New(s3.Options{
		Owner: p.owner(kind), KMSKey: p.settings.DefaultKMSKeyID, Profiles: slices.Sorted(maps.Keys(servers)),
		Servers: func(name string, own *volume.ObjectCredentials) (s3.API, error) {
			if own == nil {
				return clients[name], nil
			}
			return open(name, own)
		},
	}), nil
}

// server is what clients of one S3 server share.
type server clouds3.Options

// endpointOf turns a profile into what the client takes.
func endpointOf(name string, p config.S3Profile) (*clouds3.Endpoint, error) {
	e := &clouds3.Endpoint{
		Name: name, URL: p.Endpoint, Region: p.Region, PathStyle: p.PathStyle == nil || *p.PathStyle, CA: []byte(p.CA), Owner: p.AccountID, Lacks: map[string]bool{},
	}
	for _, part := range p.Lacks {
		if part == clouds3.Tagging {
			return nil, errors.New("lacks: without tagging nobody could tell whose a bucket is")
		}
		if !slices.Contains(clouds3.Parts(), part) {
			return nil, fmt.Errorf("lacks: %q is not one of %v", part, clouds3.Parts())
		}
		e.Lacks[part] = true
	}
	return e, nil
}
