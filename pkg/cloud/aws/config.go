package aws

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Options shape a Session.
type Options struct {
	Region   string // empty: the SDK's own sources
	AppID    string // names the program in the user agent that AWS sees
	Recorder Recorder
}

// Recorder is told of every request that was sent to AWS, retries included.
// code is AWS's error code, NoAnswer where it sent none, and "" for success; throttled
// says that AWS refused the request for its rate.
type Recorder interface {
	AWSRequest(service, operation, code string, throttled bool, took time.Duration)
}

// Session is a loaded configuration and what was learned while using it.
type Session struct {
	config   sdk.Config
	emulator atomic.Pointer[string]
}

// maxConns bounds the connections to one endpoint: for the changes that the gate lets
// out at one time, and for the shared reads beside them.
const maxConns = maxInFlight + 16

// emulatorHeader is set by diskbridge's own emulator on every answer; AWS never sends it.
const emulatorHeader = "X-Diskbridge-Emulator"

// NewSession loads credentials and endpoints from the SDK's own sources
// (environment, shared files, IRSA, Pod Identity, IMDS; AWS_ENDPOINT_URL and
// AWS_ENDPOINT_URL_<SERVICE>). No request is made yet.
func NewSession(ctx context.Context, opts Options) (*Session, error) {
	s := &Session{}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxConnsPerHost = maxConns
		t.MaxIdleConnsPerHost = maxConns
		t.OnProxyConnectResponse = proxyAnswered
	})
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		config.WithRetryer(transientRetryer),
		config.WithAppID(opts.AppID),
	}
	if opts.Region != "" {
		load = append(load, config.WithRegion(opts.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, err
	}
	cfg.APIOptions = append(cfg.APIOptions, s.watch(opts.Recorder), refuseForeign)
	tell(&cfg)
	s.config = cfg
	return s, nil
}

// Config returns the SDK configuration, for the service clients of pkg/cloud.
func (s *Session) Config() sdk.Config { return s.config }

// Region returns the region that requests go to.
func (s *Session) Region() string { return s.config.Region }

// Emulator returns the profile of the emulator that answered, or "" for AWS.
func (s *Session) Emulator() string {
	if p := s.emulator.Load(); p != nil {
		return *p
	}
	return ""
}

// transientRetryer repeats what was lost on the way (connections, 5xx) a few times.
// Throttles are left to Do, whose bound is the caller's deadline.
func transientRetryer() sdk.Retryer {
	return keepThrottles{retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 4
		o.MaxBackoff = 2 * time.Second
		o.RateLimiter = ratelimit.None
	})}
}

type keepThrottles struct{ sdk.Retryer }

func (r keepThrottles) IsErrorRetryable(err error) bool {
	// Lack of capacity is answered with status 500, but it is a refusal.
	return !Throttled(err) && !strings.HasPrefix(code(err), "Insufficient") && !untrusted(err) && r.Retryer.IsErrorRetryable(err)
}

// untrusted reports whether an endpoint showed a certificate that is not trusted, which it will do again.
func untrusted(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.As(err, &bad)
}
