package cpi

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// settingsOf are the settings with which the engine is opened.
func settingsOf(t *testing.T, config, context string) (Settings, strict) {
	t.Helper()
	f := &fakeDisks{}
	got := serveWith(t, &Server{Config: config, Open: f.open}, `{"method":"has_disk","arguments":["vol-00000001"],"api_version":2,"context":`+context+`}`)
	return f.settings, got
}

// TestSettings_ReadsTheAWSCPIsFile reads a file as jobs/aws_cpi of bosh-aws-cpi-release renders it, with every property.
func TestSettings_ReadsTheAWSCPIsFile(t *testing.T) {
	s, got := settingsOf(t, "testdata/aws_cpi.json", `{"director_uuid":"d-1","request_id":"cpi-123456"}`)
	if got.Error != nil {
		t.Fatalf("%+v", got.Error)
	}
	want := Settings{
		Director: "d-1", APIVersion: 2,
		AWS: AWS{
			CredentialsSource: "static", AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
			RoleARN: "arn:aws:iam::123456789012:role/bosh", Region: "us-east-1",
			EC2Endpoint: "ec2.us-east-1.amazonaws.com", ELBEndpoint: "elasticloadbalancing.us-east-1.amazonaws.com",
			Encrypted: true, KMSKeyARN: "arn:aws:kms:us-east-1:123456789012:key/e1c1f008-779b-4ebe-8116-0a34b77747dd",
		},
		Own: Own{UnknownLayout: "refuse", SnapshotWait: "pending", Endpoints: map[string]string{"ec2": "https://ec2.us-east-1.amazonaws.com"}},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("the file is read as something else:\n%s", diff)
	}
}

func TestSettings_TheContextWinsKeyByKey(t *testing.T) {
	config := write(t, `{"cloud":{"properties":{"aws":{"access_key_id":"a","secret_access_key":"file","region":"us-east-1"},
		"diskbridge":{"strict":true,"snapshot_wait":"completed","tags":{"team":"a"}}}}}`)
	s, got := settingsOf(t, config, `{"region":"eu-west-1","session_token":"tttt","diskbridge":{"snapshot_wait":"pending"},"unknown":{"a":1}}`)
	if got.Error != nil || s.AWS.Region != "eu-west-1" || s.AWS.SecretAccessKey != "file" || s.AWS.SessionToken != "tttt" ||
		!s.Own.Strict || s.Own.SnapshotWait != "pending" || s.Own.Tags["team"] != "a" {
		t.Errorf("got %+v, %+v", s, got.Error)
	}
}

// TestSettings_ObjectsAreMergedToo: what the context does not say of an object stays; null takes a value away.
func TestSettings_ObjectsAreMergedToo(t *testing.T) {
	config := write(t, `{"cloud":{"properties":{"diskbridge":{"timeouts":{"attach_disk":7,"detach_disk":8},"endpoints":{"sts":"https://sts"},"tags":{"a":"1","b":"2"},
		"delegate":{"exec_path":"/cpi","api_version":3,"stemcell_formats":["x","y"]}}}}}`)
	s, got := settingsOf(t, config, strings.Replace(credentials, "{", `{"diskbridge":{"timeouts":{"detach_disk":9},"endpoints":{"ec2":"https://ec2"},"tags":null,
		"delegate":{"api_version":2,"stemcell_formats":["z"]}},`, 1))
	want := Own{
		UnknownLayout: "refuse", SnapshotWait: "pending", Timeouts: map[string]int{"attach_disk": 7, "detach_disk": 9},
		Endpoints: map[string]string{"sts": "https://sts", "ec2": "https://ec2"}, Delegate: Delegate{ExecPath: "/cpi", APIVersion: 2, StemcellFormats: []string{"z"}},
	}
	if diff := cmp.Diff(want, s.Own); diff != "" || got.Error != nil {
		t.Errorf("%+v\n%s", got.Error, diff)
	}
}

func TestSettings_Endpoints(t *testing.T) {
	for _, tc := range []struct{ aws, region, ec2 string }{
		{`"region":"us-east-1"`, "us-east-1", ""},
		{`"ec2_endpoint":"ec2.eu-west-1.amazonaws.com","elb_endpoint":"e"`, "eu-west-1", "https://ec2.eu-west-1.amazonaws.com"},
		{`"ec2_endpoint":"https://ec2.cn-north-1.amazonaws.com.cn","elb_endpoint":"e"`, "cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn"},
		{`"ec2_endpoint":"vpce-0a1-us-east-1a.ec2.us-east-1.vpce.amazonaws.com"`, "us-east-1", "https://vpce-0a1-us-east-1a.ec2.us-east-1.vpce.amazonaws.com"},
		{`"ec2_endpoint":"ec2.eu-west-1.api.aws","region":"eu-west-1"`, "eu-west-1", "https://ec2.eu-west-1.api.aws"},
		{`"ec2_endpoint":"http://127.0.0.1:1","region":"us-east-1"`, "us-east-1", "http://127.0.0.1:1"},
	} {
		s, got := settingsOf(t, write(t, `{"cloud":{"properties":{"aws":{"access_key_id":"a","secret_access_key":"b",`+tc.aws+`}}}}`), `{}`)
		if got.Error != nil || s.AWS.Region != tc.region || s.Own.Endpoints["ec2"] != tc.ec2 {
			t.Errorf("%s: region %q, endpoint %q, %+v", tc.aws, s.AWS.Region, s.Own.Endpoints["ec2"], got.Error)
		}
	}
}

func TestSettings_RefusesWhatIsWrong(t *testing.T) {
	for _, tc := range []struct{ name, properties, message string }{
		{"no JSON", `secret{`, "is not of the form"},
		{"a static source without keys", `{"aws":{"region":"r"}}`, "needs access_key_id and secret_access_key"},
		{"a profile with keys", `{"aws":{"credentials_source":"env_or_profile","access_key_id":"a","secret_access_key":"secret"}}`, "forbids access_key_id"},
		{"another source", `{"aws":{"credentials_source":"vault"}}`, "neither static nor env_or_profile"},
		{"no region", `{"aws":{"access_key_id":"a","secret_access_key":"secret"}}`, "set region"},
		{"a region that is not the endpoint's", `{"aws":{"access_key_id":"a","secret_access_key":"b","region":"us-east-1","ec2_endpoint":"ec2.eu-west-1.amazonaws.com"}}`, `region is "us-east-1", but EC2's endpoint "https://ec2.eu-west-1.amazonaws.com" is region eu-west-1's`},
		{"an endpoint that is none", `{"aws":{"access_key_id":"a","secret_access_key":"secret","ec2_endpoint":"http://"}}`, `"ec2" is not a URL`},
		{"an endpoint with a password", `{"aws":{"access_key_id":"a","secret_access_key":"b","ec2_endpoint":"http://u:secret@x"}}`, `"ec2" is not a URL`},
		{"a region that is a number", `{"aws":{"region":7}}`, "aws: region is wrong: a JSON number stands where string belongs"},
		{"encrypted that is a word", `{"aws":{"encrypted":"maybe"}}`, "aws: encrypted is wrong"},
		{"a misspelt key of ours", `{"diskbridge":{"snapshot_wit":"pending"}}`, `diskbridge: unknown key "snapshot_wit"; did you mean "snapshot_wait"?`},
		{"a misspelt key of the delegate", `{"diskbridge":{"delegate":{"path":"secret"}}}`, `diskbridge: delegate is wrong: unknown field "path"`},
		{"an object that is a list", `{"diskbridge":[]}`, "diskbridge is no object"},
		{"a layout policy", `{"aws":{"access_key_id":"a","secret_access_key":"b","region":"r"},"diskbridge":{"unknown_layout":"x"}}`, "neither allow nor refuse"},
		{"a snapshot policy", `{"aws":{"access_key_id":"a","secret_access_key":"b","region":"r"},"diskbridge":{"snapshot_wait":"x"}}`, "neither pending nor completed"},
		{"a timeout of nothing", `{"aws":{"access_key_id":"a","secret_access_key":"b","region":"r"},"diskbridge":{"timeouts":{"create_vm":3}}}`, "no method of ours"},
		{"a timeout beyond all time", `{"aws":{"access_key_id":"a","secret_access_key":"b","region":"r"},"diskbridge":{"timeouts":{"has_disk":9223372037}}}`, "not from 1 to 86400"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := `{"cloud":{"properties":` + tc.properties + `}}`
			_, got := settingsOf(t, write(t, text), `{}`)
			if got.Error == nil || got.Error.Type != string(CPIError) || !strings.Contains(got.Error.Message, tc.message) || strings.Contains(got.Error.Message, "secret{") {
				t.Errorf("got %+v, want %q", got.Error, tc.message)
			}
		})
	}
	if _, got := settingsOf(t, "/nowhere/cpi.json", `{}`); got.Error == nil || !strings.Contains(got.Error.Message, "no such file") {
		t.Errorf("a missing file: %+v", got.Error)
	}
	if _, got := settingsOf(t, write(t, ""), `{}`); got.Error == nil || !strings.Contains(got.Error.Message, "needs access_key_id") {
		t.Errorf("an empty file: %+v", got.Error)
	}
	if _, got := settingsOf(t, "", `{"director_uuid":"a b"}`); got.Error == nil || !strings.Contains(got.Error.Message, "director_uuid") {
		t.Errorf("a director that is none: %+v", got.Error)
	}
}

func TestInfo_IsConfiguration(t *testing.T) {
	for _, tc := range []struct{ name, properties, want string }{
		{"nothing", `{}`, `{"api_version":2,"stemcell_formats":[]}`},
		{"a delegate", `{"diskbridge":{"delegate":{"exec_path":"/nowhere","stemcell_formats":["aws-raw","aws-light"],"api_version":3}}}`, `{"api_version":3,"stemcell_formats":["aws-raw","aws-light"]}`},
		{"a version to fall back to", `{"debug":{"cpi":{"api_version":2}},"diskbridge":{"delegate":{"exec_path":"/nowhere","api_version":3}}}`, `{"api_version":2,"stemcell_formats":[]}`},
		{"a wrong key", `{"diskbridge":{"x":1}}`, `{"api_version":2,"stemcell_formats":[]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := serveWith(t, &Server{Config: write(t, `{"cloud":{"properties":`+tc.properties+`}}`)}, `{"method":"info","arguments":[],"context":{}}`)
			if got.Error != nil || string(got.Result) != tc.want {
				t.Errorf("got %s, %+v", got.Result, got.Error)
			}
		})
	}
}

func TestServer_ShowsNoSecret(t *testing.T) {
	f := &fakeDisks{err: errSays("the server answered hunter2")}
	got := ask(t, f, "has_disk", `["vol-00000001"]`)
	if got.Error == nil || !strings.Contains(got.Error.Message, "answered <redacted>") || strings.Contains(got.Log, "hunter2") || !strings.Contains(got.Log, "<redacted>") {
		t.Errorf("got %+v", got)
	}
}

// TestServer_ShowsNoSecretBetweenQuotes: the log quotes what has quotation marks in it.
func TestServer_ShowsNoSecretBetweenQuotes(t *testing.T) {
	f := &fakeDisks{err: errSays(`it said "hunter\2"`)}
	context := strings.Replace(credentials, `hunter2`, `\"hunter\\2\"`, 1)
	got := serveWith(t, &Server{Open: f.open}, `{"method":"has_disk","arguments":["vol-00000001"],"api_version":2,"context":`+context+`}`)
	if got.Error == nil || strings.Contains(got.Error.Message+got.Log, "hunter") || !strings.Contains(got.Log, "<redacted>") {
		t.Errorf("got %+v, %s", got.Error, got.Log)
	}
}

type errSays string

func (e errSays) Error() string { return string(e) }
