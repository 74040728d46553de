package aws

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/diskbridge/diskbridge/pkg/cloud/batch"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// Call describes the request that failed, for Classify.
type Call struct {
	Op      string // AWS's own name, such as "AttachVolume"
	Subject string // what it was about
	Mutates bool   // a lost answer leaves the outcome unknown
	// Codes maps the service's error codes to kinds; common is consulted after it. A call
	// that changes nothing has no unknown outcome: there it is Unavailable.
	Codes map[string]fault.Kind
	// Advice says by code what a person can do about it, as far as the service's own text does not.
	Advice map[string]string
}

// common holds the codes that every AWS service shares.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
var common = map[string]fault.Kind{
	"AccessDenied":                fault.Denied,
	"AccessDeniedException":       fault.Denied,
	"AuthFailure":                 fault.Denied,
	"Blocked":                     fault.Denied,
	"ExpiredToken":                fault.Denied,
	"ExpiredTokenException":       fault.Denied,
	"IncompleteSignature":         fault.Denied,
	"InvalidSignatureException":   fault.Denied,
	"InvalidClientTokenId":        fault.Denied,
	"MissingAuthenticationToken":  fault.Denied,
	"NotAuthorized":               fault.Denied,
	"OptInRequired":               fault.Denied,
	"PendingVerification":         fault.Denied,
	"RequestExpired":              fault.Denied,
	"RequestInTheFuture":          fault.Denied,
	"RequestTimeTooSkewed":        fault.Denied,
	"SignatureDoesNotMatch":       fault.Denied,
	"UnauthorizedOperation":       fault.Denied,
	"UnrecognizedClientException": fault.Denied,

	"InvalidAction":               fault.Internal,
	"InvalidParameter":            fault.Invalid,
	"InvalidParameterCombination": fault.Invalid,
	"InvalidParameterDependency":  fault.Invalid,
	"InvalidParameterValue":       fault.Invalid,
	"MissingParameter":            fault.Invalid,
	"UnknownParameter":            fault.Invalid,
	"UnsupportedOperation":        fault.Invalid,
	"Unsupported":                 fault.Invalid,
	"ValidationError":             fault.Invalid,
	"ValidationException":         fault.Invalid,
}

// lastRequest is the time that a request needs to be answered: with less left, the
// refusal is worth more than a request whose outcome nobody would learn.
const lastRequest = 100 * time.Millisecond

// Do makes one API call through a gate and repeats it while AWS refuses it for its rate, with a
// jittered backoff of at most 5 s, as long as ctx allows. Its error is classified;
// where ctx ends while waiting, it is the last refusal.
func Do[T any](ctx context.Context, g *Gate, call Call, request func(context.Context) (T, error)) (T, error) {
	var refusal error
	for backoff := 200 * time.Millisecond; ; backoff = min(2*backoff, 5*time.Second) {
		out, err := pass(ctx, g, call.Op, refusal != nil, request)
		switch {
		case err == nil:
			return out, nil
		case refusal != nil && errors.Is(err, errNotSent):
			return out, Classify(refusal, call)
		case !Throttled(err) || call.Codes[code(err)] != 0: // EFS calls a change that comes too soon "TooManyRequests"
			return out, Classify(err, call)
		}
		refusal = err
		// Full jitter: many callers that were refused together must not return together.
		pause := time.Duration(rand.Int64N(int64(backoff))) + 10*time.Millisecond
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause+lastRequest || batch.Pause(ctx, pause) != nil {
			return out, Classify(err, call)
		}
	}
}

// Classify turns an error of the SDK into a fault with the outcome that the caller
// may conclude:
//
//   - a code from the tables has its kind; a throttle is Unavailable (nothing was done);
//   - any other 4xx answer is AWS's refusal: Internal, and nothing was done;
//   - a 5xx answer, a lost connection or an ended context leaves a mutating call's
//     outcome unknown, and makes a reading call Unavailable;
//   - a connection that was never made, and a request that could not be signed, are
//     Unavailable, and so is a refusal by somebody on the way to AWS.
//
// The cause stays in the chain. It returns nil for nil.
func Classify(err error, call Call) error {
	if err == nil {
		return nil
	}
	f := &fault.Error{Op: call.Op, Subject: call.Subject, Kind: kind(err, call), Code: code(err), Err: cause{err}}
	var api smithy.APIError
	if f.Code != "" && errors.As(err, &api) {
		f.Message, f.Err = strings.TrimSpace(api.ErrorMessage()), nil
	}
	advice := call.Advice[f.Code]
	if advice == "" && f.Kind == fault.Denied {
		advice = remedy(f.Code, call.Op)
	}
	if advice != "" {
		f.Message = strings.TrimSuffix(f.Message, ".") + "; " + advice
	}
	return f
}

// remedy is what a person can do about a denial.
func remedy(code, op string) string {
	switch code {
	case "RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed":
		return "set this machine's clock (NTP)"
	case "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId",
		"InvalidSignatureException", "MissingAuthenticationToken", "SignatureDoesNotMatch", "UnrecognizedClientException":
		return "mend the driver's credentials, or this machine's clock"
	case "Blocked", "OptInRequired", "PendingVerification":
		return "the account is not allowed to do this; ask AWS support"
	}
	return "grant " + op + " to the driver's role (the policy is in deploy/iam)"
}

func kind(err error, call Call) fault.Kind {
	unknown := fault.Unavailable
	if call.Mutates && !errors.Is(err, errNotSent) {
		unknown = fault.UnknownOutcome
	}
	if c := code(err); c != "" {
		if k, ok := call.Codes[c]; ok && k != fault.UnknownOutcome {
			return k
		} else if ok {
			return unknown
		}
		if k, ok := common[c]; ok {
			return k
		}
		if Throttled(err) {
			return fault.Unavailable
		}
		if status := httpStatus(err); status >= 400 && status < 500 {
			return fault.Internal
		}
		return unknown
	}
	if status := httpStatus(err); untrusted(err) || neverConnected(err) || unsigned(err) || status >= 300 && status < 500 {
		return fault.Unavailable
	}
	return unknown
}

// unsigned reports whether there were no credentials to sign the request with.
func unsigned(err error) bool {
	var missing noCredentials
	return errors.As(err, &missing)
}

// neverConnected reports whether no connection was made, to AWS or to a proxy before it.
func neverConnected(err error) bool {
	for op := (*net.OpError)(nil); errors.As(err, &op); err = op.Err {
		if op.Op == "dial" || op.Op == "proxyconnect" {
			return !errors.Is(err, context.DeadlineExceeded)
		}
	}
	return false
}

// Throttled reports whether AWS refused the request for its rate.
func Throttled(err error) bool {
	c := code(err)
	if _, ok := retry.DefaultThrottleErrorCodes[c]; ok {
		return true
	}
	return c == "Client.RequestLimitExceeded" || httpStatus(err) == http.StatusTooManyRequests
}

// code returns AWS's error code, or "" where AWS did not answer.
func code(err error) string {
	var api smithy.APIError
	if unsigned(err) || !errors.As(err, &api) || api.ErrorCode() == "UnknownError" { // the SDK's name for an answer without a code
		return ""
	}
	return api.ErrorCode()
}

func httpStatus(err error) int {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil && resp.Response.Response != nil {
		return resp.HTTPStatusCode()
	}
	return 0
}

// cause keeps an SDK error in the chain but prints only what says something to a user: its
// innermost text, or who did not answer. The SDK repeats operation, status and request id.
type cause struct{ err error }

func (c cause) Unwrap() error { return c.err }

func (c cause) Error() string {
	var network *net.OpError
	var answer *smithyhttp.ResponseError
	var page foreign
	switch {
	case unsigned(c.err):
		return "there are no AWS credentials: " + innermost(c.err) + "; they come from a role (IRSA, Pod Identity, the instance's) or from keys"
	case errors.Is(c.err, errNotSent):
		return errNotSent.Error()
	case errors.As(c.err, &page):
		return page.Error()
	case errors.As(c.err, &network) && neverConnected(c.err):
		return network.Error() + "; " + wayToAWS
	case errors.As(c.err, &network):
		return network.Error()
	case errors.Is(c.err, context.DeadlineExceeded):
		return "there was no answer in time"
	case httpStatus(c.err) >= 300 && errors.As(c.err, &answer):
		return foreignOf(answer.Response.Response).Error()
	}
	return innermost(c.err)
}

// innermost is the text of the error that the others are about.
func innermost(err error) string {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err.Error()
}
