package volume_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func objectRequest(change func(*volume.PlanRequest)) volume.PlanRequest {
	r := volume.PlanRequest{Handle: "s3://minio@bucket/prod/", Capability: volume.Capability{Mode: volume.MultiNodeMultiWriter}, Context: map[string]string{}}
	change(&r)
	return r
}

func TestNewObjectPlan(t *testing.T) {
	p, err := volume.NewObjectPlan(objectRequest(func(r *volume.PlanRequest) {
		r.Context = map[string]string{
			"region": "eu-west-1", "uid": "1000", "umask": "0027", "cacheSizeMiB": "512", "credentials": "secret",
			volume.ContextProvisioner: "1-s3", "csi.storage.k8s.io/pv/name": "pv-1",
		}
		r.Capability = volume.Capability{Mode: volume.SingleNodeSingleWriter, Group: "2000", MountFlags: []string{"ro", "multipart_size=64,retries=3"}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if p.Handle != "s3://minio@bucket/prod/" || p.Profile != "minio" || p.Bucket != "bucket" || p.Prefix != "prod/" || p.Region != "eu-west-1" {
		t.Errorf("where: %+v", p)
	}
	if !p.ReadOnly || !p.OneTarget || p.UID != 1000 || p.GID != 2000 || p.Umask != 0o027 || p.CacheMiB != 512 || !p.Secret {
		t.Errorf("how: %+v", p)
	}
	if !slices.Equal(p.Options, volume.MountOptions{"multipart_size=64", "retries=3"}) {
		t.Errorf("options: %v", p.Options)
	}
}

func TestNewObjectPlan_Ownership(t *testing.T) {
	for name, tc := range map[string]struct {
		context  map[string]string
		group    string
		flags    []string
		uid, gid uint32
		umask    uint32
	}{
		"nobody is named":               {umask: 0o022},
		"the pod's group":               {group: "7", gid: 7, umask: 0o007},
		"the class's over the pod's":    {context: map[string]string{"gid": "8"}, group: "7", gid: 8, umask: 0o007},
		"the mount option's over both":  {context: map[string]string{"gid": "8", "uid": "1"}, group: "7", flags: []string{"gid=9,umask=022"}, uid: 1, gid: 9, umask: 0o022},
		"a mask alone changes no owner": {context: map[string]string{"umask": "077"}, umask: 0o077},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := volume.NewObjectPlan(objectRequest(func(r *volume.PlanRequest) {
				r.Context, r.Capability.Group, r.Capability.MountFlags = tc.context, tc.group, tc.flags
			}))
			if err != nil || p.UID != tc.uid || p.GID != tc.gid || p.Umask != tc.umask {
				t.Errorf("%d:%d %04o, %v; want %d:%d %04o", p.UID, p.GID, p.Umask, err, tc.uid, tc.gid, tc.umask)
			}
		})
	}
}

func TestNewObjectPlan_Refused(t *testing.T) {
	flag := func(f string) func(*volume.PlanRequest) {
		return func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{f} }
	}
	context := func(k, v string) func(*volume.PlanRequest) {
		return func(r *volume.PlanRequest) { r.Context[k] = v }
	}
	for name, tc := range map[string]struct {
		change func(*volume.PlanRequest)
		text   string
	}{
		"another backend's handle":  {func(r *volume.PlanRequest) { r.Handle = "vol-01234567" }, "serves S3 buckets"},
		"raw block":                 {func(r *volume.PlanRequest) { r.Capability.Block = true }, "volumeMode: Filesystem"},
		"another file system":       {func(r *volume.PlanRequest) { r.Capability.FSType = "ext4" }, `"ext4" does not fit S3`},
		"the markers' place":        {func(r *volume.PlanRequest) { r.Handle = "s3://bucket/.diskbridge/volumes/" }, "keeps its markers"},
		"credentials as an option":  {flag("passwd_file=/etc/passwd"), "node-stage-secret-name"},
		"another server":            {flag("url=http://evil"), "--s3-profiles"},
		"a cache on the node":       {flag("use_cache=/"), "cacheSizeMiB"},
		"a log file":                {flag("logfile=/etc/cron.d/x"), "refused"},
		"a bucket for everybody":    {flag("default_acl=public-read-write"), "ACLs"},
		"a mistyped option":         {flag("multipart_sise=64"), `did you mean "multipart_size"`},
		"a number out of range":     {flag("retries=0"), "a number from 1 to 20"},
		"a mistyped attribute":      {context("uidd", "1"), `did you mean "uid"`},
		"a user that is a name":     {context("uid", "root"), `"root" is not a numeric id`},
		"a mask that is too wide":   {context("umask", "1777"), "is not a mask"},
		"a cache that is too small": {context("cacheSizeMiB", "1"), "number of MiB"},
		"a region that is none":     {context("region", "a b"), "is not a region"},
		"credentials of a kind":     {context("credentials", "mine"), "neither driver nor secret"},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := volume.NewObjectPlan(objectRequest(tc.change)); err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%+v, %v; want an error with %q", p, err, tc.text)
			}
		})
	}
}

func TestObjectPlan_Credentials(t *testing.T) {
	for name, tc := range map[string]struct {
		secret  bool
		secrets map[string]string
		text    string
	}{
		"none needed":              {},
		"none came":                {secret: true, text: "node-stage-secret-name"},
		"complete":                 {secret: true, secrets: map[string]string{"accessKeyID": "AK", "secretAccessKey": "s3cr3t"}},
		"another driver's names":   {secrets: map[string]string{"key_id": "AK", "access_key": "s3cr3t"}},
		"half":                     {secrets: map[string]string{"secretAccessKey": "s3cr3t"}, text: "accessKeyID is missing"},
		"twice":                    {secrets: map[string]string{"accessKeyID": "AK", "key_id": "AK", "secretAccessKey": "s3cr3t"}, text: "under two names"},
		"an endpoint":              {secrets: map[string]string{"accessKeyID": "AK", "secretAccessKey": "s3cr3t", "endpoint": "x"}, text: "endpoint profile"},
		"what is no key":           {secrets: map[string]string{"accessKeyID": "AK", "secretAccessKey": "s3cr3t", "password": "s3cr3t"}, text: `"password"`},
		"a line break in a secret": {secrets: map[string]string{"accessKeyID": "AK", "secretAccessKey": "s3c\nr3t"}, text: "characters that no key has"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := volume.ObjectPlan{Handle: "s3://bucket", Secret: tc.secret}.Credentials(tc.secrets)
			switch {
			case (err == nil) != (tc.text == "") || err != nil && !strings.Contains(err.Error(), tc.text):
				t.Errorf("%v, want %q", err, tc.text)
			case err == nil && (c != nil) != (tc.secrets != nil):
				t.Errorf("credentials %v", c)
			}
			if shown := fmt.Sprintf("%v %+v %#v %s %v", c, c, c, c, err); strings.Contains(shown, "s3cr3t") {
				t.Errorf("the secret is shown: %s", shown)
			}
		})
	}
}

func FuzzObjectPlan(f *testing.F) {
	f.Add("s3://p@bucket/a/", "uid=1,retries=3", "uid", "1000")
	f.Add("bucket/a", "url=x", "umask", "0027")
	f.Fuzz(func(t *testing.T, handle, flags, key, value string) {
		p, err := volume.NewObjectPlan(volume.PlanRequest{
			Handle: handle, Capability: volume.Capability{Mode: volume.MultiNodeMultiWriter, MountFlags: []string{flags}}, Context: map[string]string{key: value},
		})
		if err != nil {
			return
		}
		if p.Prefix != "" && (!strings.HasSuffix(p.Prefix, "/") || strings.HasPrefix(p.Prefix, "/") || strings.Contains(p.Prefix, "../")) {
			t.Errorf("prefix %q", p.Prefix)
		}
		for _, option := range p.Options {
			name, _, _ := strings.Cut(option, "=")
			if slices.Contains([]string{"passwd_file", "url", "use_cache", "logfile", "uid"}, name) {
				t.Errorf("option %q went through", option)
			}
		}
	})
}

func TestObjectSettings_Refused(t *testing.T) {
	refused := func(what, text string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s %q is taken", what, text)
		}
	}
	for _, text := range []string{"", "7", "77", "00770", "0778", "+770"} {
		_, err := volume.ParsePerms(text)
		refused("mode", text, err)
	}
	for _, text := range []string{"", "63", "16777217", "1e3"} {
		_, err := volume.ParseCacheMiB(text)
		refused("cache", text, err)
	}
	for _, text := range []string{"192.168.0.1", "a.-b", "ab..c", "xn--a", "b--x-s3"} {
		refused("bucket", text, volume.CheckBucket(text))
	}
}

// TestNewObjectPlan_Permissions lets files have owners of their own only where nothing says what that of all is.
func TestNewObjectPlan_Permissions(t *testing.T) {
	for name, tc := range map[string]struct {
		context map[string]string
		group   string
		flags   []string
		perFile bool
		refused string
	}{
		"not said":             {},
		"of the volume":        {context: map[string]string{"permissions": "volume", "uid": "1"}, group: "7"},
		"of each file":         {context: map[string]string{"permissions": "file"}, perFile: true},
		"and an owner of all":  {context: map[string]string{"permissions": "file", "uid": "1"}, refused: "uid 1"},
		"and the pod's group":  {context: map[string]string{"permissions": "file"}, group: "7", refused: "gid 7"},
		"and an option's mask": {context: map[string]string{"permissions": "file"}, flags: []string{"umask=022"}, refused: "umask 022"},
		"another word":         {context: map[string]string{"permissions": "posix"}, refused: "neither volume nor file"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := volume.NewObjectPlan(objectRequest(func(r *volume.PlanRequest) {
				r.Context, r.Capability.Group, r.Capability.MountFlags = tc.context, tc.group, tc.flags
			}))
			if (err == nil) != (tc.refused == "") || err != nil && !strings.Contains(err.Error(), tc.refused) || err == nil && p.PerFile != tc.perFile {
				t.Errorf("%t, %v", p.PerFile, err)
			}
		})
	}
}
