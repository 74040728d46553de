package emulator_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

// post sends an EC2 request, signed as change leaves it, and answers status and body.
func (c *cloud) post(signedAt time.Time, change func(*http.Request)) (int, string) {
	c.t.Helper()
	body := []byte("Action=DescribeVolumes&Version=2016-11-15")
	r := must(http.NewRequestWithContext(c.ctx, http.MethodPost, c.Endpoint()+"/", bytes.NewReader(body)))(c)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}
	if err := v4.NewSigner().SignHTTP(c.ctx, keys, r, hex.EncodeToString(sum[:]), "ec2", "us-east-1", signedAt); err != nil {
		c.t.Fatal(err)
	}
	change(r)
	return c.send(r)
}

func (c *cloud) send(r *http.Request) (int, string) {
	c.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		c.t.Fatal(err)
	}
	if strings.HasPrefix(r.URL.Path, "/_emulator/") == (resp.Header.Get(emulator.Header) != "") {
		c.t.Errorf("%s has header %s: %q", r.URL, emulator.Header, resp.Header.Get(emulator.Header))
	}
	return resp.StatusCode, string(body)
}

func TestSignature_isChecked(t *testing.T) {
	c := start(t, emulator.Options{})
	for name, row := range map[string]struct {
		at     time.Time
		change func(*http.Request)
		status int
		code   string
	}{
		"good":       {time.Now(), func(*http.Request) {}, 200, ""},
		"missing":    {time.Now(), func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationToken"},
		"incomplete": {time.Now(), func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }, 400, "IncompleteSignature"},
		"other body": {time.Now(), func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("Action=DescribeVolumes&Version=2016-11-16"))
		}, 401, "AuthFailure"},
		"other path": {time.Now(), func(r *http.Request) { r.URL.Path = "/x" }, 401, "AuthFailure"},
		"other service": {time.Now(), func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/ec2/", "/iam/", 1))
		}, 400, "UnknownService"},
		"old":             {time.Now().Add(-16 * time.Minute), func(*http.Request) {}, 400, "RequestExpired"},
		"from the future": {time.Now().Add(16 * time.Minute), func(*http.Request) {}, 400, "RequestExpired"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cloud{Server: c.Server, ctx: t.Context(), t: t}
			status, body := c.post(row.at, row.change)
			if status != row.status || row.code != "" && !strings.Contains(body, "<Code>"+row.code+"</Code>") {
				t.Errorf("status %d, want %d with %s; body %s", status, row.status, row.code, body)
			}
		})
	}
}

func TestSignature_wrongCredentials(t *testing.T) {
	c := start(t, emulator.Options{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "sesame"})
	for _, row := range []struct{ key, secret, ec2, kms, sts string }{
		{"AKIAEXAMPLE", "sesame", "", "", ""},
		{"AKIAEXAMPLE", "wrong", "AuthFailure", "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"test", "test", "AuthFailure", "UnrecognizedClientException", "InvalidClientTokenId"},
	} {
		c.connect(row.key, row.secret, "")
		_, err := c.volumesBy()
		c.wantCode(err, row.ec2)
		_, err = c.kms.ListAliases(c.ctx, &kms.ListAliasesInput{})
		c.wantCode(err, row.kms)
		_, err = c.sts.GetCallerIdentity(c.ctx, &sts.GetCallerIdentityInput{})
		c.wantCode(err, row.sts)
	}
}

func TestSTS_temporaryCredentialsWork(t *testing.T) {
	c := start(t, emulator.Options{})
	role, session := aws.String("arn:aws:iam::123456789012:role/disks"), aws.String("me")
	assumed := must(c.sts.AssumeRole(c.ctx, &sts.AssumeRoleInput{RoleArn: role, RoleSessionName: session}))(c).Credentials
	web := must(c.sts.AssumeRoleWithWebIdentity(c.ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: role, RoleSessionName: session, WebIdentityToken: aws.String("a token"),
	}))(c).Credentials
	if *assumed.AccessKeyId == *web.AccessKeyId {
		t.Error("two calls gave the same key")
	}
	_, err := c.sts.AssumeRole(c.ctx, &sts.AssumeRoleInput{RoleArn: aws.String("nonsense-nonsense-nonsense"), RoleSessionName: session})
	c.wantCode(err, "ValidationError")
	c.connect(*web.AccessKeyId, *web.SecretAccessKey, *web.SessionToken)
	if who := must(c.sts.GetCallerIdentity(c.ctx, &sts.GetCallerIdentityInput{}))(c); *who.Arn != "arn:aws:sts::123456789012:assumed-role/disks/me" {
		t.Errorf("caller is %s", *who.Arn)
	}
	c.createVolume()
	c.connect(*web.AccessKeyId, *web.SecretAccessKey, *assumed.SessionToken)
	_, err = c.volumesBy()
	c.wantCode(err, "AuthFailure")
}

func TestKMS_keysAndAliases(t *testing.T) {
	c := start(t, emulator.Options{})
	key := must(c.kms.CreateKey(c.ctx, &kms.CreateKeyInput{Description: aws.String("mine")}))(c).KeyMetadata
	if old := key.CustomerMasterKeySpec; string(old) != string(key.KeySpec) { //nolint:staticcheck // AWS still sends it
		t.Errorf("the old name of the key's spec is %q, the new one %q", old, key.KeySpec)
	}
	alias := &kms.CreateAliasInput{AliasName: aws.String("alias/mine"), TargetKeyId: key.KeyId}
	must(c.kms.CreateAlias(c.ctx, alias))(c)
	_, err := c.kms.CreateAlias(c.ctx, alias)
	c.wantCode(err, "AlreadyExistsException")
	for _, name := range []string{"alias/mine", *key.KeyId, *key.Arn, "arn:aws:kms:us-east-1:000000000000:alias/mine"} {
		if got := must(c.kms.DescribeKey(c.ctx, &kms.DescribeKeyInput{KeyId: &name}))(c).KeyMetadata; *got.KeyId != *key.KeyId || !got.Enabled {
			t.Errorf("%s is %+v", name, got)
		}
		id := c.createVolume(func(in *create) { in.Encrypted, in.KmsKeyId = aws.Bool(true), &name })
		if got := *c.volume(id).KmsKeyId; got != *key.Arn {
			t.Errorf("volume with %s has key %s", name, got)
		}
	}
	_, err = c.kms.DescribeKey(c.ctx, &kms.DescribeKeyInput{KeyId: aws.String("nobody")})
	c.wantCode(err, "NotFoundException")
	must(c.kms.DisableKey(c.ctx, &kms.DisableKeyInput{KeyId: key.KeyId}))(c)
	must(c.kms.EnableKey(c.ctx, &kms.EnableKeyInput{KeyId: key.KeyId}))(c)
	must(c.kms.ScheduleKeyDeletion(c.ctx, &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId}))(c)
	_, err = c.kms.EnableKey(c.ctx, &kms.EnableKeyInput{KeyId: key.KeyId})
	c.wantCode(err, "KMSInvalidStateException")
	if out := must(c.kms.ListAliases(c.ctx, &kms.ListAliasesInput{}))(c); len(out.Aliases) != 2 {
		t.Errorf("aliases %+v", out.Aliases)
	}
}

func TestIMDS_ofEachInstance(t *testing.T) {
	c := start(t, emulator.Options{})
	for _, i := range c.Instances() {
		client := imds.New(imds.Options{Endpoint: i.IMDS})
		document := must(client.GetInstanceIdentityDocument(c.ctx, &imds.GetInstanceIdentityDocumentInput{}))(c)
		if document.InstanceID != i.ID || document.AvailabilityZone != i.Zone || document.Region != "us-east-1" || document.InstanceType != "m5.large" {
			t.Errorf("document %+v", document)
		}
		get := func(path string) string {
			t.Helper()
			out := must(client.GetMetadata(c.ctx, &imds.GetMetadataInput{Path: path}))(c)
			return string(must(io.ReadAll(out.Content))(c))
		}
		mac := get("mac")
		for path, want := range map[string]string{
			"instance-id": i.ID, "placement/availability-zone": i.Zone, "placement/region": "us-east-1",
			"network/interfaces/macs/": mac + "/", "block-device-mapping/": "ami\nroot", "services/domain": "amazonaws.com",
			"iam/security-credentials/": "diskbridge-node",
		} {
			if got := get(path); got != want {
				t.Errorf("%s is %q, want %q", path, got, want)
			}
		}
		var keys struct{ AccessKeyId, SecretAccessKey, Token string }
		if err := json.Unmarshal([]byte(get("iam/security-credentials/diskbridge-node")), &keys); err != nil {
			t.Fatal(err)
		}
		c.connect(keys.AccessKeyId, keys.SecretAccessKey, keys.Token)
		must(c.volumesBy())(c)
		if _, err := client.GetMetadata(c.ctx, &imds.GetMetadataInput{Path: "outpost-arn"}); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("outpost-arn: %v, want 404", err)
		}
	}
}

func TestIMDS_tokens(t *testing.T) {
	c := start(t, emulator.Options{Instances: 1})
	url := c.Instances()[0].IMDS + "/latest/"
	ask := func(method, path string, header, value string) int {
		t.Helper()
		r := must(http.NewRequestWithContext(c.ctx, method, url+path, nil))(c)
		r.Header.Set(header, value)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	for _, row := range []struct {
		method, path, header, value string
		status                      int
	}{
		{http.MethodGet, "meta-data/instance-id", "X-None", "", 401},
		{http.MethodGet, "meta-data/instance-id", "X-aws-ec2-metadata-token", "guess", 401},
		{http.MethodPut, "api/token", "X-None", "", 400},
		{http.MethodPut, "api/token", "X-aws-ec2-metadata-token-ttl-seconds", "21601", 400},
		{http.MethodPut, "api/token", "X-aws-ec2-metadata-token-ttl-seconds", "21600", 200},
		{http.MethodGet, "api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60", 405},
	} {
		if got := ask(row.method, row.path, row.header, row.value); got != row.status {
			t.Errorf("%s %s with %s %s: %d, want %d", row.method, row.path, row.header, row.value, got, row.status)
		}
	}
	must(c.ec2.TerminateInstances(c.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{c.Instances()[0].ID}}))(c)
	r := must(http.NewRequestWithContext(c.ctx, http.MethodPut, url+"api/token", nil))(c)
	if resp, err := http.DefaultClient.Do(r); err == nil {
		t.Errorf("a terminated instance answers %d (%v)", resp.StatusCode, resp.Body.Close())
	}
}
