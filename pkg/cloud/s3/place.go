package s3

import (
	"context"
	"crypto/tls"
	"net/url"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Place is where a bucket is, and how it is spoken to: for whom speaks to S3 without this client.
type Place struct {
	URL    *url.URL // of the bucket, with its name in the host or in the path
	Region string   // that requests are signed for
	Owner  string   // account that the bucket must belong to; "" where the server knows none
	TLS    *tls.Config
	// Credentials sign the requests; they are renewed before they end.
	Credentials sdkaws.CredentialsProvider
}

// Place says where a bucket is. HasBucket, asked before, learns its region where that is another than the client's.
func (c *Client) Place(ctx context.Context, bucket string) (Place, error) {
	owner, err := c.Owner(ctx)
	if err != nil {
		return Place{}, err
	}
	o := c.api.Options()
	c.within(bucket)(&o)
	found, err := o.EndpointResolverV2.ResolveEndpoint(ctx, sdk.EndpointParameters{
		Bucket: &bucket, Region: &o.Region, Endpoint: o.BaseEndpoint, ForcePathStyle: &o.UsePathStyle,
		UseFIPS:      sdkaws.Bool(o.EndpointOptions.UseFIPSEndpoint == sdkaws.FIPSEndpointStateEnabled),
		UseDualStack: sdkaws.Bool(o.EndpointOptions.UseDualStackEndpoint == sdkaws.DualStackEndpointStateEnabled),
	}.WithDefaults())
	if err != nil {
		return Place{}, fault.New(fault.Invalid, "find bucket", bucket, "there is no address for it in region %q: %v", o.Region, err)
	}
	return Place{URL: &found.URI, Region: o.Region, Owner: owner, TLS: c.tls, Credentials: o.Credentials}, nil
}
