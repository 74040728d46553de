package wire

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// clockSkew is how far a request's date may be from now:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
const clockSkew = 15 * time.Minute

// Identity is who signed a request.
type Identity struct {
	ARN, UserID string
	Expires     time.Time // zero for lasting credentials
}

// Credentials are what requests are signed with.
type Credentials struct {
	AccessKeyID, Secret, SessionToken string
	Expires                           time.Time
}

// Signatures checks requests and issues temporary credentials, which it can check again without remembering them.
type Signatures struct {
	root     Credentials
	identity Identity
}

// NewSignatures knows one lasting access key and whose it is.
func NewSignatures(accessKeyID, secret string, owner Identity) *Signatures {
	return &Signatures{root: Credentials{AccessKeyID: accessKeyID, Secret: secret}, identity: owner}
}

// Scope is what an Authorization header says before anything is checked.
type Scope struct {
	AccessKeyID, Date, Region, Service string
	signed                             []string
	signature                          string
}

// ParseScope reads the Authorization header:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
func ParseScope(r *http.Request) (Scope, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Scope{}, &Error{Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token", Status: http.StatusForbidden}
	}
	rest, ok := strings.CutPrefix(header, "AWS4-HMAC-SHA256 ")
	fields := map[string]string{}
	for _, f := range strings.Split(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[k] = v
	}
	credential := strings.Split(fields["Credential"], "/")
	if !ok || len(credential) != 5 || fields["SignedHeaders"] == "" || fields["Signature"] == "" {
		return Scope{}, &Error{Code: "IncompleteSignature", Message: "The Authorization header is not a complete AWS4-HMAC-SHA256 signature.", Status: http.StatusBadRequest}
	}
	return Scope{
		AccessKeyID: credential[0], Date: credential[1], Region: credential[2], Service: credential[3],
		signed: strings.Split(fields["SignedHeaders"], ";"), signature: fields["Signature"],
	}, nil
}

// Check signs the request again with the secret of its access key and compares.
// now is the real time, as the emulator's clock means nothing to a client's.
func (s *Signatures) Check(ctx context.Context, r *http.Request, body []byte, scope Scope, now time.Time) (Identity, error) {
	credentials, who, err := s.find(scope.AccessKeyID, r.Header.Get("X-Amz-Security-Token"), now)
	if err != nil {
		return Identity{}, err
	}
	date, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return Identity{}, Errorf("IncompleteSignature", "Date must be in ISO-8601 'basic format'. Got '%s'.", r.Header.Get("X-Amz-Date"))
	}
	if now.Sub(date).Abs() > clockSkew {
		return Identity{}, Errorf("RequestExpired", "Request has expired. Timestamp date is %s. Current date is %s.",
			date.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	want, err := s.sign(ctx, r, body, scope, credentials, date)
	if err != nil {
		return Identity{}, err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(scope.signature)) != 1 {
		return Identity{}, &Error{
			Code: "SignatureDoesNotMatch", Status: http.StatusForbidden,
			Message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
		}
	}
	return who, nil
}

// sign is the signature of the same request with exactly the headers that the caller signed.
func (s *Signatures) sign(ctx context.Context, r *http.Request, body []byte, scope Scope, c Credentials, date time.Time) (string, error) {
	again := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
	}
	for _, name := range scope.signed {
		switch name {
		case "host", "x-amz-date", "x-amz-security-token": // the signer adds them
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	signing := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.Secret, SessionToken: c.SessionToken}
	err := signer(scope.Service).SignHTTP(ctx, signing, again, payloadHash(r, body, scope.Service), scope.Service, scope.Region, date)
	if err != nil {
		return "", fmt.Errorf("check signature: %w", err)
	}
	_, signature, _ := strings.Cut(again.Header.Get("Authorization"), "Signature=")
	return signature, nil
}

// S3 is the service's name in signatures. Its rules for signing are its own:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
const S3 = "s3"

func signer(service string) *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == S3 })
}

// payloadHash is what the caller signed as its body: with S3 what it says of it, so that a body can be streamed.
func payloadHash(r *http.Request, body []byte, service string) string {
	if service == S3 {
		return r.Header.Get("X-Amz-Content-Sha256")
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Lasting reports whether the access key is the user's own, not a temporary one.
func (s *Signatures) Lasting(scope Scope) bool { return scope.AccessKeyID == s.root.AccessKeyID }

// Resign signs a request anew as the lasting user's, in place of whom it was signed by.
func (s *Signatures) Resign(ctx context.Context, r *http.Request, scope Scope, now time.Time) error {
	r.Header.Del("Authorization")
	r.Header.Del("X-Amz-Security-Token")
	root := aws.Credentials{AccessKeyID: s.root.AccessKeyID, SecretAccessKey: s.root.Secret}
	return signer(scope.Service).SignHTTP(ctx, root, r, payloadHash(r, nil, scope.Service), scope.Service, scope.Region, now)
}

func (s *Signatures) find(accessKeyID, token string, now time.Time) (Credentials, Identity, error) {
	unknown := &Error{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials", Status: http.StatusUnauthorized}
	if accessKeyID == s.root.AccessKeyID && token == "" {
		return s.root, s.identity, nil
	}
	payload, mac, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || !hmac.Equal([]byte(mac), []byte(s.mac("token", accessKeyID+payload))) {
		return Credentials{}, Identity{}, unknown
	}
	var who Identity
	if err := json.Unmarshal(data, &who); err != nil {
		return Credentials{}, Identity{}, unknown
	}
	if now.After(who.Expires) {
		return Credentials{}, Identity{}, Errorf("ExpiredToken", "The security token included in the request is expired")
	}
	return Credentials{AccessKeyID: accessKeyID, Secret: s.mac("secret", accessKeyID), SessionToken: token}, who, nil
}

// Issue makes temporary credentials for an identity; seed makes two issues differ.
func (s *Signatures) Issue(who Identity, seed string) Credentials {
	key := "ASIA" + strings.ToUpper(s.mac("key", seed+who.ARN)[:16])
	data, _ := json.Marshal(who) // strings and a time always marshal
	payload := base64.RawURLEncoding.EncodeToString(data)
	return Credentials{
		AccessKeyID: key, Secret: s.mac("secret", key), Expires: who.Expires,
		SessionToken: payload + "." + s.mac("token", key+payload),
	}
}

func (s *Signatures) mac(purpose, text string) string {
	h := hmac.New(sha256.New, []byte(s.root.Secret))
	_, _ = h.Write([]byte(purpose + "\x00" + text))
	return hex.EncodeToString(h.Sum(nil))
}
