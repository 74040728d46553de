package cpi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// ask answers a method with the fake engine.
func ask(t *testing.T, f *fakeDisks, method, arguments string) strict {
	t.Helper()
	return serveWith(t, &Server{Open: f.open}, fmt.Sprintf(`{"method":%q,"arguments":%s,"api_version":3,"context":%s}`, method, arguments, credentials))
}

func TestMethods_SayWhatIsAskedAndAnswered(t *testing.T) {
	for _, tc := range []struct {
		method, arguments string
		asked             any
		result            string
	}{
		{"create_disk", `[2049,{"type":"gp2","iops":3000.0,"tags":{"a":1,"b":true,"c":null}},"i-1"]`,
			volume.DiskRequest{Bytes: 2049 << 20, Node: "i-1", Parameters: map[string]string{"type": "gp2", "iops": "3000"}, Tags: map[string]string{"a": "1", "b": "true"}}, `"vol-00000001"`},
		{"create_disk", `[1024,{"name":"cache"},null]`, volume.DiskRequest{Name: "cache", Bytes: 1 << 30, Parameters: map[string]string{}}, `"vol-00000001"`},
		{"create_disk", `[1024,null,null]`, volume.DiskRequest{Bytes: 1 << 30, Parameters: map[string]string{}}, `"vol-00000001"`},
		{"delete_disk", `["vol-00000001"]`, "vol-00000001", `null`},
		{"has_disk", `["vol-00000001"]`, "vol-00000001", `true`},
		{"attach_disk", `["i-1","vol-00000001"]`, "vol-00000001 on i-1", `"/dev/x"`},
		{"detach_disk", `["i-1","vol-00000001"]`, "vol-00000001 off i-1", `null`},
		{"get_disks", `["i-1"]`, "i-1", `["vol-00000001"]`},
		{"resize_disk", `["vol-00000001",2048]`, volume.DiskChange{Bytes: 2 << 30}, `null`},
		{"update_disk", `["vol-00000001",2048,{"volumeType":"io2","tags":{"a":"b"}}]`,
			volume.DiskChange{Bytes: 2 << 30, Parameters: map[string]string{"type": "io2"}, Tags: map[string]string{"a": "b"}}, `"vol-00000001"`},
		{"set_disk_metadata", `["vol-00000001",{"director":"d","instance_index":0,"gone":null}]`, map[string]string{"director": "d", "instance_index": "0"}, `null`},
		{"snapshot_disk", `["vol-00000001",{"deployment":"dep","job":"web","index":3,"director_name":"bosh","director_uuid":"u","agent_id":"a","instance_id":"id"}]`,
			volume.DiskSnapshot{Handle: "vol-00000001", Description: "dep/web/3", DeviceTag: "device", Tags: map[string]string{
				"deployment": "dep", "director": "bosh", "director_uuid": "u", "agent_id": "a", "instance_id": "id", "instance_index": "3", "instance_name": "web/id"}}, `"snap-00000001"`},
		{"snapshot_disk", `["vol-00000001",{}]`, volume.DiskSnapshot{Handle: "vol-00000001", DeviceTag: "device", Tags: map[string]string{}}, `"snap-00000001"`},
		{"delete_snapshot", `["snap-00000001"]`, "snap-00000001", `null`},
	} {
		t.Run(tc.method+" "+tc.arguments, func(t *testing.T) {
			f := &fakeDisks{}
			got := ask(t, f, tc.method, tc.arguments)
			if got.Error != nil || string(got.Result) != tc.result {
				t.Errorf("answered %s, %+v; want %s", got.Result, got.Error, tc.result)
			}
			if diff := cmp.Diff(tc.asked, f.asked); diff != "" {
				t.Errorf("the engine was asked for something else:\n%s", diff)
			}
		})
	}
}

func TestMethods_WrongArgumentsAreNamed(t *testing.T) {
	for _, tc := range []struct{ method, arguments, message string }{
		{"create_disk", `["1024",{},null]`, "create_disk: argument 1 (size) must be a whole number of MiB, at least 1"},
		{"create_disk", `[1024.5,{},null]`, "argument 1 (size)"},
		{"create_disk", `[0,{},null]`, "argument 1 (size)"},
		{"create_disk", `[-3,{},null]`, "argument 1 (size)"},
		{"create_disk", `[99999999999999999999,{},null]`, "argument 1 (size)"},
		{"create_disk", `[null,{},null]`, "argument 1 (size)"},
		{"create_disk", `[1024,[],null]`, "argument 2 (cloud_properties) must be an object"},
		{"create_disk", `[1024,{"tags":"x"},null]`, "tags must be an object"},
		{"create_disk", `[1024,{"tags":{"a":{}}},null]`, `tags: "a" is neither text nor number`},
		{"create_disk", `[1024,{"encrypted":"perhaps"},null]`, "encrypted must be true or false"},
		{"create_disk", `[1024,{"type":{}},null]`, "type must be text or a number"},
		{"create_disk", `[1024,{"name":{}},null]`, "name must be a string"},
		{"create_disk", `[1024,{},7]`, "argument 3 (vm_cid) must be a string or null"},
		{"create_disk", `[1024,{}]`, "create_disk takes 3 arguments, got 2"},
		{"attach_disk", `["i-1",null]`, "attach_disk: argument 2 (disk_cid) must be a string that is not empty"},
		{"attach_disk", `["",""]`, "argument 1 (vm_cid)"},
		{"set_disk_metadata", `["vol-00000001",{"a":[]}]`, "argument 2 (metadata) must be an object of strings"},
		{"has_disk", `["fs-00000001"]`, "disk_cid fs-00000001 is of the kind efs, and BOSH's disks are EBS volumes"},
		{"delete_disk", `["s3://bucket/prefix/"]`, "is of the kind s3"},
		{"attach_disk", `["i-1","fs-00000001:/dir"]`, "is of the kind efs"},
		{"resize_disk", `["bucket/prefix",2048]`, "is of the kind s3"},
	} {
		t.Run(tc.method+" "+tc.arguments, func(t *testing.T) {
			f := &fakeDisks{}
			if got := ask(t, f, tc.method, tc.arguments); got.Error == nil || !strings.Contains(got.Error.Message, tc.message) || f.asked != nil {
				t.Errorf("got %+v after asking for %v, want %q", got.Error, f.asked, tc.message)
			}
		})
	}
}

// TestUpdateDisk_WrongPropertiesStrandNoDisk: the Director has detached it, and attaches it again for NotSupported only.
func TestUpdateDisk_WrongPropertiesStrandNoDisk(t *testing.T) {
	strictly := strings.Replace(credentials, "{", `{"diskbridge":{"strict":true},`, 1)
	for _, properties := range []string{`[]`, `{"tags":7}`, `{"encrypted":"perhaps"}`, `{"encrypte":true}`, `{"type":[]}`} {
		f := &fakeDisks{}
		got := serveWith(t, &Server{Open: f.open}, `{"method":"update_disk","arguments":["vol-00000001",1024,`+properties+`],"api_version":2,"context":`+strictly+`}`)
		if got.Error == nil || got.Error.Type != string(NotSupported) || !strings.Contains(got.Error.Message, "cloud_properties") || f.asked != nil {
			t.Errorf("%s: %+v after %v", properties, got.Error, f.asked)
		}
	}
}

// TestProperties_OneKeyTwice: their case does not matter, and chance decides nothing.
func TestProperties_OneKeyTwice(t *testing.T) {
	for range 20 {
		f := &fakeDisks{}
		got := ask(t, f, "create_disk", `[1024,{"Encrypted":true,"encrypted":false,"Type":"gp2","type":"gp3"},null]`)
		want := map[string]string{"encrypted": "false", "type": "gp3"}
		if diff := cmp.Diff(want, f.asked.(volume.DiskRequest).Parameters); diff != "" || got.Error != nil {
			t.Fatalf("%+v\n%s", got.Error, diff)
		}
	}
}

func TestProperties_UnknownKeysWarnOrAreRefused(t *testing.T) {
	f := &fakeDisks{}
	got := ask(t, f, "create_disk", `[1024,{"encrypte":true,"availability":"x"},null]`)
	if got.Error != nil || !strings.Contains(got.Log, `unknown key \"encrypte\"; did you mean \"encrypted\"?`) || !strings.Contains(got.Log, "Note: a note") {
		t.Errorf("got %+v", got)
	}
	strictly := strings.Replace(credentials, "{", `{"diskbridge":{"strict":true},`, 1)
	got = serveWith(t, &Server{Open: f.open}, `{"method":"create_disk","arguments":[1024,{"encrypte":true},null],"api_version":2,"context":`+strictly+`}`)
	if got.Error == nil || got.Error.Type != string(CloudError) || !strings.Contains(got.Error.Message, `did you mean "encrypted"`) {
		t.Errorf("strict: %+v", got.Error)
	}
}

func TestAttachDisk_AnOldStemcellNeedsARegistry(t *testing.T) {
	for version, want := range map[string]string{"1": "whose agent asks a registry", "2": "", "3": ""} {
		context := strings.Replace(credentials, "{", `{"vm":{"stemcell":{"api_version":`+version+`}},`, 1)
		got := serveWith(t, &Server{}, `{"method":"attach_disk","arguments":["i-1","vol-00000001"],"api_version":2,"context":`+context+`}`)
		if want == "" && got.Error != nil || want != "" && (got.Error == nil || !strings.Contains(got.Error.Message, want)) {
			t.Errorf("stemcell API version %s: %+v", version, got.Error)
		}
	}
}

// TestEncryption_Matrix is the AWS CPI's: cloud_properties before the global property, key by key, null included. Its
// two mistakes are not copied: the text "false" is false, and a disk that is not encrypted gets no key.
func TestEncryption_Matrix(t *testing.T) {
	const own, global = "arn:own", "arn:global"
	for _, globally := range []string{"", `"encrypted":false`, `"encrypted":true`, `"encrypted":"false"`, `"encrypted":"true"`} {
		for _, globalKey := range []string{"", `"kms_key_arn":"arn:global"`, `"kms_key_arn":null`} {
			for _, here := range []string{"", `"encrypted":false`, `"encrypted":true`, `"encrypted":"false"`, `"encrypted":"true"`, `"encrypted":null`} {
				for _, key := range []string{"", `"kms_key_arn":"arn:own"`, `"kms_key_arn":null`, `"kms_key_arn":""`} {
					encrypted := strings.Contains(globally, "true")
					if here != "" {
						encrypted = strings.Contains(here, "true")
					}
					want := map[string]string{}
					if here != "" || encrypted {
						want["encrypted"] = fmt.Sprint(encrypted)
					}
					if encrypted && strings.Contains(key, own) {
						want["kmsKeyId"] = own
					}
					if encrypted && key == "" && strings.Contains(globalKey, global) {
						want["kmsKeyId"] = global
					}
					f := &fakeDisks{}
					config := write(t, `{"cloud":{"properties":{"aws":{`+join(globally, globalKey)+`}}}}`)
					got := serveWith(t, &Server{Config: config, Open: f.open}, `{"method":"create_disk","arguments":[1024,{`+join(here, key)+`},null],"api_version":2,"context":`+credentials+`}`)
					if got.Error != nil {
						t.Fatalf("%+v", got.Error)
					}
					if diff := cmp.Diff(want, f.asked.(volume.DiskRequest).Parameters); diff != "" {
						t.Errorf("globally {%s}, on the disk {%s}:\n%s", join(globally, globalKey), join(here, key), diff)
					}
				}
			}
		}
	}
}

func join(parts ...string) string { return strings.Trim(strings.Join(parts, ","), ",") }

// write makes a file that the test owns.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cpi.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
