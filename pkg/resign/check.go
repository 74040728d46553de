package resign

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	service     = "s3"
	algorithm   = "AWS4-HMAC-SHA256 "
	dateLayout  = "20060102T150405Z"
	dateHeader  = "X-Amz-Date"
	hashHeader  = "X-Amz-Content-Sha256"
	tokenHeader = "X-Amz-Security-Token" //nolint:gosec // a name
	// skew is how old a request may be, as with S3 itself.
	skew = 15 * time.Minute
)

// newV4 signs as S3 wants it: the path is escaped once.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
func newV4() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

// authorization is what a request's header of that name says.
type authorization struct {
	accessKeyID, region, signature string
	signed                         []string
}

// parse reads Authorization: AWS4-HMAC-SHA256 Credential=key/date/region/s3/aws4_request, SignedHeaders=a;b, Signature=hex
func parse(header string) (a authorization, ok bool) {
	rest, ok := strings.CutPrefix(header, algorithm)
	if !ok {
		return a, false
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[3] != service {
		return a, false
	}
	return authorization{scope[0], scope[2], fields["Signature"], strings.Split(fields["SignedHeaders"], ";")}, true
}

// check refuses what was not signed with the door's keys: no other program of this machine may use the proxy.
func (d Door) check(r *http.Request, by *v4.Signer, now time.Time) *failure {
	a, ok := parse(r.Header.Get("Authorization"))
	if !ok || a.accessKeyID != d.AccessKeyID {
		return denied("the request is not signed, by version 4 of AWS's signatures, with the keys of this mount")
	}
	date, err := time.Parse(dateLayout, r.Header.Get(dateHeader))
	if err != nil || now.Sub(date).Abs() > skew {
		return &failure{status: http.StatusForbidden, code: "RequestTimeTooSkewed", message: "the request was not signed now"}
	}
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(a.signed, name) {
			return denied("the header %s is not signed", name)
		}
	}
	if hash := r.Header.Get(hashHeader); hash == "" || strings.HasPrefix(hash, "STREAMING-AWS4") {
		return &failure{status: http.StatusNotImplemented, code: "NotImplemented", message: fmt.Sprintf("a body of kind %q cannot be signed anew", hash)}
	}
	want, err := d.sign(r, a, by, date)
	if err != nil || subtle.ConstantTimeCompare([]byte(want), []byte(a.signature)) != 1 {
		return &failure{status: http.StatusForbidden, code: "SignatureDoesNotMatch", message: "the signature is not one of this mount's keys", err: err}
	}
	return nil
}

// sign is the signature that the request must have: over exactly the headers that it says are signed.
func (d Door) sign(r *http.Request, a authorization, by *v4.Signer, date time.Time) (string, error) {
	again := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for _, name := range a.signed {
		switch name {
		case "host", "x-amz-date": // the signer adds them
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	keys := aws.Credentials{AccessKeyID: d.AccessKeyID, SecretAccessKey: d.SecretAccessKey}
	if err := by.SignHTTP(r.Context(), keys, again, r.Header.Get(hashHeader), service, a.region, date); err != nil {
		return "", err
	}
	made, _ := parse(again.Header.Get("Authorization"))
	return made.signature, nil
}
