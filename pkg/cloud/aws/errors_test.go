package aws_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// answer is an error as the SDK builds it from an HTTP answer with a code.
func answer(code string, status int) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code, Message: "text of AWS"},
	}}
}

func TestClassify_OutcomeOfEveryKindOfFailure(t *testing.T) {
	codes := map[string]fault.Kind{"VolumeInUse": fault.InUse, "InternalError": fault.UnknownOutcome}
	for _, tc := range []struct {
		name         string
		err          error
		mutate, read fault.Kind
	}{
		{"a code of the service's table", answer("VolumeInUse", 400), fault.InUse, fault.InUse},
		{"a code of the table that leaves it open", answer("InternalError", 500), fault.UnknownOutcome, fault.Unavailable},
		{"a code that every service has", answer("UnauthorizedOperation", 403), fault.Denied, fault.Denied},
		{"a throttle did nothing", answer("RequestLimitExceeded", 503), fault.Unavailable, fault.Unavailable},
		{"a throttle under another name", answer("ThrottlingException", 400), fault.Unavailable, fault.Unavailable},
		{"an unknown 4xx code is AWS's refusal", answer("SomethingNew", 400), fault.Internal, fault.Internal},
		{"an unknown 5xx code", answer("SomethingNew", 500), fault.UnknownOutcome, fault.Unavailable},
		{"a lost connection", &net.OpError{Op: "read", Err: io.ErrUnexpectedEOF}, fault.UnknownOutcome, fault.Unavailable},
		{"a connection that was never made", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, fault.Unavailable, fault.Unavailable},
		{"a proxy that was never reached", &net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, fault.Unavailable, fault.Unavailable},
		{"a certificate that is not trusted", fmt.Errorf("send: %w", &tls.CertificateVerificationError{Err: errors.New("unknown authority")}), fault.Unavailable, fault.Unavailable},
		{"a proxy that refuses", answer("UnknownError", 403), fault.Unavailable, fault.Unavailable},
		{"a proxy that fails", answer("UnknownError", 502), fault.UnknownOutcome, fault.Unavailable},
		{"a deadline", fmt.Errorf("send: %w", context.DeadlineExceeded), fault.UnknownOutcome, fault.Unavailable},
		{"a deadline while dialling", &net.OpError{Op: "dial", Err: context.DeadlineExceeded}, fault.UnknownOutcome, fault.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, mutates := range []bool{true, false} {
				want := tc.read
				if mutates {
					want = tc.mutate
				}
				err := aws.Classify(tc.err, aws.Call{Op: "AttachVolume", Subject: "vol-1", Mutates: mutates, Codes: codes})
				if got := fault.KindOf(err); got != want {
					t.Errorf("mutates %v: kind %v, want %v (%v)", mutates, got, want, err)
				}
			}
		})
	}
	err := aws.Classify(fmt.Errorf("send: %w", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("refused")}), aws.Call{Op: "AttachVolume"})
	if !strings.HasPrefix(err.Error(), "AttachVolume: proxyconnect tcp: refused; look at") {
		t.Errorf("%v does not say who did not answer", err)
	}
	if aws.Classify(nil, aws.Call{}) != nil {
		t.Error("nil must stay nil")
	}
}

func TestClassify_SaysWhatToDo(t *testing.T) {
	const way = "; look at the network, the proxy, the region and the endpoint"
	for _, tc := range []struct {
		err  error
		want string
	}{
		{answer("UnauthorizedOperation", 403), "text of AWS; grant CreateVolume to the driver's role (the policy is in deploy/iam) (UnauthorizedOperation)"},
		{answer("InvalidClientTokenId", 403), "text of AWS; mend the driver's credentials, or this machine's clock (InvalidClientTokenId)"},
		{answer("RequestExpired", 400), "text of AWS; set this machine's clock (NTP) (RequestExpired)"},
		{answer("OptInRequired", 401), "text of AWS; the account is not allowed to do this; ask AWS support (OptInRequired)"},
		{answer("UnknownError", 407), "answered Proxy Authentication Required (no content type), not as AWS does; if it lasts" + strings.Replace(way, ";", ",", 1)},
		{&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "ec2.nowhere.amazonaws.com", IsNotFound: true}}, "dial tcp: lookup ec2.nowhere.amazonaws.com: no such host" + way},
		{fmt.Errorf("send: %w", context.DeadlineExceeded), "there was no answer in time"},
	} {
		if err := aws.Classify(tc.err, aws.Call{Op: "CreateVolume", Subject: "pvc-1"}); err.Error() != "CreateVolume pvc-1: "+tc.want {
			t.Errorf("message\n got %s\nwant CreateVolume pvc-1: %s", err, tc.want)
		}
	}
}

func TestClassify_AdviceFollowsTheServicesText(t *testing.T) {
	call := aws.Call{Op: "CreateVolume", Subject: "pvc-1", Advice: map[string]string{"VolumeLimitExceeded": "ask for more"}}
	for code, want := range map[string]bool{"VolumeLimitExceeded": true, "InvalidZone.NotFound": false} {
		if err := aws.Classify(answer(code, 400), call); strings.Contains(err.Error(), "; ask for more") != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestDo_RepeatsThrottlesUntilTheDeadlineAndThenTellsThem(t *testing.T) {
	calls := 0
	got, err := aws.Do(t.Context(), aws.NewGate("EC2"), aws.Call{Op: "DeleteVolume"}, func(context.Context) (string, error) {
		if calls++; calls < 3 {
			return "", answer("RequestLimitExceeded", 503)
		}
		return "done", nil
	})
	if err != nil || got != "done" || calls != 3 {
		t.Fatalf("after two throttles: %q, %v, %d calls", got, err, calls)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = aws.Do(ctx, aws.NewGate("EC2"), aws.Call{Op: "DeleteVolume", Mutates: true}, func(context.Context) (string, error) {
		return "", answer("RequestLimitExceeded", 503)
	})
	if !fault.Is(err, fault.Unavailable) || fault.CodeOf(err) != "RequestLimitExceeded" {
		t.Errorf("throttled to the end: %v (%v)", err, fault.KindOf(err))
	}
}

func TestDo_RepeatsNothingElse(t *testing.T) {
	calls := 0
	_, err := aws.Do(t.Context(), aws.NewGate("EC2"), aws.Call{Op: "CreateSnapshot", Mutates: true}, func(context.Context) (string, error) {
		calls++
		return "", &net.OpError{Op: "read", Err: io.ErrUnexpectedEOF}
	})
	if calls != 1 || !fault.Is(err, fault.UnknownOutcome) {
		t.Errorf("%d calls, %v", calls, err)
	}
}
