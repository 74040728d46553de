package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Options shape a Client.
type Options struct {
	// Endpoint is where S3 is; nil: AWS, or what the SDK's own variables name.
	Endpoint *Endpoint
	// Credentials replace the session's; nil: the session's.
	Credentials *Credentials
	// Owner is the account that the credentials belong to, where it is known; "": AWS is asked, or the endpoint says it.
	Owner string
	// AbsenceInterval replaces aws.AbsenceInterval; only for emulators whose clock runs
	// faster. Zero means the constant.
	AbsenceInterval time.Duration
	// Absences are shared by clients of one server; nil: the client's own.
	Absences *aws.Absences
}

// Client calls S3. It is safe for concurrent use. Every call about a bucket says whose
// the bucket must be, so that one which another account took since is never touched.
type Client struct {
	api      *sdk.Client
	gate     *aws.Gate
	sts      *sts.Client // nil where the endpoint is not AWS's
	endpoint Endpoint
	tls      *tls.Config // nil: whom the machine trusts
	absences *aws.Absences

	mu      sync.Mutex
	owner   string
	regions map[string]string // of buckets that are not in the client's own
}

// New makes a Client on a session's configuration.
func New(cfg sdkaws.Config, opts Options) (*Client, error) {
	c := &Client{gate: aws.NewGate(sdk.ServiceID), regions: map[string]string{}, absences: opts.Absences, owner: opts.Owner}
	if c.absences == nil {
		c.absences = aws.NewAbsences(opts.AbsenceInterval)
	}
	if k := opts.Credentials; k != nil {
		cfg.Credentials = credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken)
	}
	var path bool
	if e := opts.Endpoint; e != nil {
		c.endpoint, c.owner = *e, e.Owner
		cfg.BaseEndpoint, path = &e.URL, e.PathStyle
		if e.Region != "" {
			cfg.Region = e.Region
		}
		var err error
		if c.tls, err = trust(&cfg, e.CA); err != nil {
			return nil, fmt.Errorf("endpoint profile %s: %w", e.Name, err)
		}
		// Other servers know the new checksums only in part.
		cfg.RequestChecksumCalculation = sdkaws.RequestChecksumCalculationWhenRequired
		cfg.ResponseChecksumValidation = sdkaws.ResponseChecksumValidationWhenRequired
	} else {
		c.sts = sts.NewFromConfig(cfg)
	}
	c.api = sdk.NewFromConfig(cfg, func(o *sdk.Options) { o.UsePathStyle = path })
	return c, nil
}

// trust makes requests believe a certificate authority of the operator's.
func trust(cfg *sdkaws.Config, pem []byte) (*tls.Config, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("its CA holds no certificate in PEM form")
	}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.TLSClientConfig = config })
	return config, nil
}

// Region is where buckets are made that name none.
func (c *Client) Region() string { return c.api.Options().Region }

// Lacks reports whether the operator said that the server has no such part.
func (c *Client) Lacks(part string) bool { return c.endpoint.Lacks[part] }

// Owner is the account that the credentials belong to; "" where the server knows none.
func (c *Client) Owner(ctx context.Context) (string, error) {
	c.mu.Lock()
	owner := c.owner
	c.mu.Unlock()
	if owner != "" || c.sts == nil {
		return owner, nil
	}
	out, err := aws.Do(ctx, c.gate, read("GetCallerIdentity", ""), func(ctx context.Context) (*sts.GetCallerIdentityOutput, error) {
		return c.sts.GetCallerIdentity(ctx, nil)
	})
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owner = sdkaws.ToString(out.Account)
	return c.owner, nil
}

// within sends a call to the region where a bucket is known to be.
func (c *Client) within(bucket string) func(*sdk.Options) {
	c.mu.Lock()
	defer c.mu.Unlock()
	region := c.regions[bucket]
	return func(o *sdk.Options) {
		if region != "" {
			o.Region = region
		}
	}
}

// learn remembers the region that an answer about a bucket names, and reports whether it is news.
func (c *Client) learn(bucket, region string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.regions[bucket]
	if known == "" {
		known = c.Region()
	}
	if region == "" || region == known {
		return false
	}
	if len(c.regions) >= maxRegions {
		clear(c.regions)
	}
	c.regions[bucket] = region
	return true
}

// maxRegions bounds the memory of regions; a forgotten one costs a question.
const maxRegions = 20000

// regionOf is the region that an error's answer names.
func regionOf(err error) string {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil && resp.Response.Response != nil {
		return resp.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

// ask makes one call about a bucket, where the bucket is: owner is whose it must be.
func ask[T any](ctx context.Context, c *Client, call aws.Call, request func(ctx context.Context, owner *string) (T, error)) (T, error) {
	owner, err := c.Owner(ctx)
	if err != nil {
		var none T
		return none, err
	}
	var region atomic.Value // a call may be given up before its answer comes
	region.Store("")
	do := func(ctx context.Context) (T, error) {
		out, err := request(ctx, optional(owner))
		region.Store(regionOf(err))
		return out, err
	}
	out, err := aws.Do(ctx, c.gate, call, do)
	bucket, _, _ := strings.Cut(call.Subject, "/")
	if where, _ := region.Load().(string); err != nil && c.learn(bucket, where) { // it was asked for in the wrong region, where nothing was done
		out, err = aws.Do(ctx, c.gate, call, do)
	}
	if fault.Is(err, fault.Denied) && owner != "" {
		err = fault.Explain(err, "S3 also answers so for a bucket of another account than "+owner+", where diskbridge works with none")
	}
	return out, err
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
