package aws

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Identity is what instance metadata says about the machine we run on.
type Identity struct {
	Instance string
	Zone     string
	Region   string
	Type     string
}

// Self asks the instance metadata service (IMDSv2) who this machine is. It needs no
// credentials. The error says what to set instead.
func Self(ctx context.Context) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	doc, err := imds.New(imds.Options{}).GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return Identity{}, &fault.Error{
			Op: "read instance metadata", Kind: fault.Unavailable, Err: cause{err},
			Message: "set --node-id, --zone and --region, or let this process reach the metadata service (IMDSv2 hop limit of at least 2 in a container network)",
		}
	}
	return Identity{Instance: doc.InstanceID, Zone: doc.AvailabilityZone, Region: doc.Region, Type: doc.InstanceType}, nil
}
