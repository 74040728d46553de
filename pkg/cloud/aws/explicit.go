package aws

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Explicit is a configuration of which nothing comes from the environment or from shared files, but proxies.
type Explicit struct {
	Region string
	AppID  string
	// The access key and its session token; without a key, the role of the instance that we run on.
	AccessKeyID, SecretAccessKey, SessionToken string
	RoleARN                                    string // assumed with those credentials, if not empty
	EC2, STS, IMDS                             string // endpoints; empty: AWS's own
	Dualstack                                  bool
	CA                                         []byte // PEM certificates that are trusted beside the system's
	Recorder                                   Recorder
}

// NewExplicitSession makes a Session without a request and without a look at the environment.
func NewExplicitSession(o Explicit) (*Session, error) {
	s := &Session{}
	roots, err := trusted(o.CA)
	if err != nil {
		return nil, err
	}
	cfg := sdk.Config{
		Region: o.Region, AppID: o.AppID, Retryer: transientRetryer,
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
			t.OnProxyConnectResponse = proxyAnswered
		}),
	}
	if o.Dualstack {
		cfg.ConfigSources = []any{dualstack{}}
	}
	if o.AccessKeyID != "" {
		cfg.Credentials = credentials.NewStaticCredentialsProvider(o.AccessKeyID, o.SecretAccessKey, o.SessionToken)
	} else {
		cfg.Credentials = sdk.NewCredentialsCache(ec2rolecreds.New(func(r *ec2rolecreds.Options) {
			r.Client = metadata(o.IMDS)
		}))
	}
	if o.RoleARN != "" {
		atSTS := cfg.Copy()
		atSTS.BaseEndpoint = endpoint(o.STS)
		cfg.Credentials = sdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(atSTS), o.RoleARN, func(r *stscreds.AssumeRoleOptions) {
			r.RoleSessionName = "diskbridge-" + rand.Text()
		}))
	}
	cfg.BaseEndpoint = endpoint(o.EC2)
	cfg.APIOptions = append(cfg.APIOptions, s.watch(o.Recorder), refuseForeign)
	tell(&cfg)
	s.config = cfg
	return s, nil
}

func endpoint(url string) *string {
	if url == "" {
		return nil
	}
	return &url
}

// trusted are the system's certificates and the given ones; nil means the system's.
func trusted(pem []byte) (*x509.CertPool, error) {
	if len(pem) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the CA file holds no PEM certificate")
	}
	return pool, nil
}

// dualstack makes the SDK choose endpoints that also have IPv6 addresses.
type dualstack struct{}

// GetUseDualStackEndpoint is looked for by the SDK.
func (dualstack) GetUseDualStackEndpoint(context.Context) (sdk.DualStackEndpointState, bool, error) {
	return sdk.DualStackEndpointStateEnabled, true, nil
}
