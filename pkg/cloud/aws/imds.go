package aws

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
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

// metadata is a client of the instance metadata service at an endpoint, or at its own place.
func metadata(endpoint string) *imds.Client {
	return imds.New(imds.Options{Endpoint: endpoint, HTTPClient: direct()})
}

// direct is an HTTP client without a proxy: one would answer with its own machine's identity and role.
func direct() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = nil })
}

// Interfaces counts the network interfaces that are attached to this machine now:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html, network/interfaces/macs/. It needs no
// credentials, makes no EC2 call, and is bounded by ctx.
func Interfaces(ctx context.Context) (int, error) {
	const op = "read instance metadata"
	out, err := metadata("").GetMetadata(ctx, &imds.GetMetadataInput{Path: "network/interfaces/macs/"})
	if err != nil {
		return 0, &fault.Error{Op: op, Kind: fault.Unavailable, Err: cause{err}, Message: "let this process reach the metadata service (IMDSv2 hop limit of at least 2 in a container network)"}
	}
	defer func() { _ = out.Content.Close() }() // it was read, or the error says why not
	macs, err := io.ReadAll(io.LimitReader(out.Content, 64<<10))
	if err != nil {
		return 0, &fault.Error{Op: op, Kind: fault.Unavailable, Err: cause{err}, Message: "the answer broke off"}
	}
	return len(strings.Fields(string(macs))), nil
}

// Self asks the instance metadata service (IMDSv2) who this machine is. It needs no
// credentials. The error says what to set instead.
func Self(ctx context.Context) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	doc, err := metadata("").GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return Identity{}, &fault.Error{
			Op: "read instance metadata", Kind: fault.Unavailable, Err: cause{err},
			Message: "set --node-id, --zone and --region, or let this process reach the metadata service (IMDSv2 hop limit of at least 2 in a container network)",
		}
	}
	return Identity{Instance: doc.InstanceID, Zone: doc.AvailabilityZone, Region: doc.Region, Type: doc.InstanceType}, nil
}
