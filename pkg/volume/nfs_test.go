package volume_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

const fileSystem = "fs-0123456789abcdef0"

var efsRecommended = volume.MountOptions{"nfsvers=4.1", "rsize=1048576", "wsize=1048576", "hard", "timeo=600", "retrans=2", "noresvport"}

func nfsRequest(handle string, flags ...string) volume.PlanRequest {
	return volume.PlanRequest{
		Handle: handle, Publish: map[string]string{volume.PublishAddress: "10.0.1.2"},
		Capability: mountCapability(volume.MultiNodeMultiWriter, "", flags...), Region: "us-east-1",
	}
}

func madeDirectory() volume.Directory {
	return volume.Directory{
		Cluster: "cluster-1", Name: "pvc-1", Path: "/volumes/pvc-1", OnDelete: volume.Delete,
		Owner: volume.Owner{UID: 1000, GID: 2000, Perms: 0o770},
	}
}

func TestNewNFSPlan(t *testing.T) {
	d := madeDirectory()
	for name, tc := range map[string]struct {
		change func(*volume.PlanRequest)
		want   volume.NFSPlan
	}{
		"a whole file system":   {func(*volume.PlanRequest) {}, volume.NFSPlan{}},
		"the alias of a handle": {func(r *volume.PlanRequest) { r.Handle = "efs:" + fileSystem }, volume.NFSPlan{}},
		"a fresh file system's root gets its owner": {func(r *volume.PlanRequest) { r.Context = volume.Owner{GID: 5, Perms: 0o2770}.Context() },
			volume.NFSPlan{Root: &volume.Owner{GID: 5, Perms: 0o2770}}},
		"a directory that is there": {func(r *volume.PlanRequest) { r.Handle = fileSystem + ":/a/b" },
			volume.NFSPlan{Handle: fileSystem + ":/a/b", Directory: "/a/b"}},
		"a directory that the node makes": {func(r *volume.PlanRequest) { r.Handle, r.Context = d.Handle(fileSystem).String(), d.Context() },
			volume.NFSPlan{Handle: fileSystem + ":/volumes/pvc-1#delete." + d.Digest(), Directory: "/volumes/pvc-1", Create: &d}},
		"an access point needs TLS": {func(r *volume.PlanRequest) { r.Handle = fileSystem + "::fsap-01234567" },
			volume.NFSPlan{Handle: fileSystem + "::fsap-01234567", AccessPoint: "fsap-01234567", TLS: true}},
		"mount.efs's own words": {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"tls,accesspoint=fsap-01234567"} },
			volume.NFSPlan{AccessPoint: "fsap-01234567", TLS: true}},
		"the EFS driver's attributes": {func(r *volume.PlanRequest) {
			r.Publish, r.Context = nil, map[string]string{"encryptInTransit": "true", "mounttargetip": "10.9.9.9"}
		}, volume.NFSPlan{TLS: true, Address: "10.9.9.9"}},
		"the DNS name where nobody told an address": {func(r *volume.PlanRequest) { r.Publish, r.Region = nil, "cn-north-1" },
			volume.NFSPlan{Address: fileSystem + ".efs.cn-north-1.amazonaws.com.cn"}},
		"IPv6":                      {func(r *volume.PlanRequest) { r.Publish[volume.PublishAddress] = "fd00::1" }, volume.NFSPlan{Address: "fd00::1"}},
		"a reader":                  {func(r *volume.PlanRequest) { r.Capability.Mode = volume.MultiNodeReaderOnly }, volume.NFSPlan{ReadOnly: true}},
		"one writer has one target": {func(r *volume.PlanRequest) { r.Capability.Mode = volume.SingleNodeSingleWriter }, volume.NFSPlan{OneTarget: true}},
		"the user's options take their place": {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"vers=4.0", "timeo=100", "noatime"} },
			volume.NFSPlan{Options: volume.MountOptions{"rsize=1048576", "wsize=1048576", "hard", "retrans=2", "noresvport", "vers=4.0", "timeo=100", "noatime"}}},
		"a soft mount that only reads": {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"ro", "soft"} },
			volume.NFSPlan{ReadOnly: true, Options: volume.MountOptions{"nfsvers=4.1", "rsize=1048576", "wsize=1048576", "timeo=600", "retrans=2", "noresvport", "ro", "soft"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := nfsRequest(fileSystem)
			tc.change(&r)
			fill(&tc.want)
			got, err := volume.NewPlan(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(volume.Plan(tc.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fill sets what is the same in most plans.
func fill(p *volume.NFSPlan) {
	p.FileSystem, p.Port = fileSystem, volume.NFSPort
	if p.Handle == "" {
		p.Handle = fileSystem
	}
	if p.Directory == "" {
		p.Directory = "/"
	}
	if p.Address == "" {
		p.Address = "10.0.1.2"
	}
	if p.Options == nil {
		p.Options = efsRecommended
	}
}

func TestNewNFSPlan_Refused(t *testing.T) {
	d := madeDirectory()
	made := d.Handle(fileSystem).String()
	for name, tc := range map[string]struct {
		change func(*volume.PlanRequest)
		want   string
	}{
		"a raw block volume":      {func(r *volume.PlanRequest) { r.Capability.Block = true }, "volumeMode: Filesystem"},
		"another file system":     {func(r *volume.PlanRequest) { r.Capability.FSType = "ext4" }, "always nfs4"},
		"where the markers are":   {func(r *volume.PlanRequest) { r.Handle = fileSystem + ":/.diskbridge/a" }, "no volume lies there"},
		"no address at all":       {func(r *volume.PlanRequest) { r.Publish, r.Region = nil, "" }, "mounttargetip"},
		"an address that is none": {func(r *volume.PlanRequest) { r.Publish[volume.PublishAddress] = "evil,rw" }, "not an IP address"},
		"a region that is none":   {func(r *volume.PlanRequest) { r.Publish, r.Region = nil, "evil.example/x" }, "makes no DNS name"},
		"a changed context": {func(r *volume.PlanRequest) {
			r.Handle, r.Context = made, d.Context()
			r.Context[volume.ContextUID] = "0"
		}, "does not belong"},
		"no context":          {func(r *volume.PlanRequest) { r.Handle = made }, "does not belong"},
		"a mode that is none": {func(r *volume.PlanRequest) { r.Context = map[string]string{volume.ContextPerms: "999"} }, "octal digits"},
		"an owner that is none": {func(r *volume.PlanRequest) {
			r.Context = map[string]string{volume.ContextPerms: "0700", volume.ContextUID: "root"}
		}, "numeric id"},
		"a group that means no change": {func(r *volume.PlanRequest) {
			r.Context = map[string]string{volume.ContextPerms: "0700", volume.ContextUID: "0", volume.ContextGID: "4294967295"}
		}, "numeric id"},
		"a soft mount that writes": {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"soft"} }, "drops writes"},
		"a wrong truth":            {func(r *volume.PlanRequest) { r.Context = map[string]string{"encryptInTransit": "maybe"} }, "true or false"},
		"an access point without TLS": {func(r *volume.PlanRequest) {
			r.Handle, r.Context = fileSystem+"::fsap-01234567", map[string]string{"encryptInTransit": "false"}
		}, "only reached through TLS"},
		"two access points": {func(r *volume.PlanRequest) {
			r.Handle, r.Capability.MountFlags = fileSystem+"::fsap-01234567", []string{"accesspoint=fsap-89abcdef"}
		}, "contradicts"},
		"credentials of the node": {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"iam"} }, "no AWS credentials"},
		"several connections":     {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"nconnect=4"} }, "several connections"},
		"a reserved port":         {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"resvport"} }, "noresvport"},
		"another server":          {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"addr=10.0.0.1"} }, "where to mount from"},
		"NFSv3":                   {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"nfsvers=3"} }, "4.1, 4.0"},
		"a block device's option": {func(r *volume.PlanRequest) { r.Capability.MountFlags = []string{"discard"} }, "not allowed for nfs4"},
	} {
		t.Run(name, func(t *testing.T) {
			r := nfsRequest(fileSystem)
			tc.change(&r)
			if got, err := volume.NewPlan(r); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v; want an error with %q", got, err, tc.want)
			}
		})
	}
	if _, err := volume.NewNFSPlan(volume.PlanRequest{Handle: "vol-01234567"}); err == nil || !strings.Contains(err.Error(), "EFS file systems") {
		t.Errorf("a disk's handle: %v", err)
	}
}

func TestDirectory_Digest(t *testing.T) {
	first := madeDirectory()
	seen := map[string]bool{first.Digest(): true}
	for name, change := range map[string]func(*volume.Directory){
		"cluster": func(d *volume.Directory) { d.Cluster = "cluster-2" }, "name": func(d *volume.Directory) { d.Name = "pvc-2" },
		"path": func(d *volume.Directory) { d.Path = "/volumes/pvc-2" }, "fate": func(d *volume.Directory) { d.OnDelete = volume.Archive },
		"user": func(d *volume.Directory) { d.Owner.UID++ }, "group": func(d *volume.Directory) { d.Owner.GID++ }, "mode": func(d *volume.Directory) { d.Owner.Perms = 0o700 },
	} {
		d := madeDirectory()
		change(&d)
		if seen[d.Digest()] {
			t.Errorf("another %s has the same digest", name)
		}
		seen[d.Digest()] = true
	}
	if h, err := volume.ParseHandle(first.Handle(fileSystem).String()); err != nil || h != first.Handle(fileSystem) {
		t.Errorf("the handle does not come back: %+v, %v", h, err)
	}
	if p := volume.MarkerPath(first.Path); !volume.InReserved(p) || p == volume.MarkerPath("/other") {
		t.Errorf("marker at %s", p)
	}
}

func FuzzNFSPlan(f *testing.F) {
	d := madeDirectory()
	f.Add(d.Handle(fileSystem).String(), "10.0.0.1", "noatime", "0770", "0", "cluster-1", "pvc-1", string(volume.MultiNodeMultiWriter))
	f.Add(fileSystem+"::fsap-01234567", "", "tls", "", "", "", "", "")
	f.Add(fileSystem+":/.diskbridge", "::1%eth0", "soft,ro", "07777", "-1", "", "", string(volume.MultiNodeReaderOnly))
	f.Fuzz(func(t *testing.T, handle, ip, flag, perms, uid, cluster, name, mode string) {
		p, err := volume.NewNFSPlan(volume.PlanRequest{
			Handle: handle, Publish: map[string]string{volume.PublishAddress: ip}, Region: "eu-west-1",
			Context:    map[string]string{volume.ContextPerms: perms, volume.ContextUID: uid, volume.ContextGID: "0", volume.ContextCluster: cluster, volume.ContextName: name},
			Capability: mountCapability(volume.AccessMode(mode), "", flag),
		})
		switch {
		case err != nil:
			return
		case p.Directory[0] != '/' || strings.Contains(p.Directory+"/", "/../") || volume.InReserved(p.Directory):
			t.Errorf("%+v mounts another directory", p)
		case strings.ContainsAny(p.Address, ",/ \n"):
			t.Errorf("address %q is none", p.Address)
		case p.Create != nil && (p.Create.Path != p.Directory || p.Create.Cluster != cluster || p.Create.Owner.Perms > 0o7777):
			t.Errorf("%+v makes another directory", p)
		case p.AccessPoint != "" && !p.TLS:
			t.Errorf("%+v reaches an access point without TLS", p)
		case slices.ContainsFunc(p.Options, func(o string) bool { return strings.ContainsAny(o, ", \n") && !strings.HasPrefix(o, "context=") }):
			t.Errorf("options %q", p.Options)
		}
	})
}

func TestRemovals(t *testing.T) {
	d := madeDirectory()
	want := volume.Removal{FileSystem: fileSystem, Cluster: d.Cluster, Path: d.Path, OnDelete: d.OnDelete, Digest: d.Digest()}
	key, value := want.Tag()
	got := volume.Removals(fileSystem, map[string]string{
		key: value, "Name": "x", "diskbridge.io/remove-nothing": "delete:c:/a", "diskbridge.io/remove-0123456789abcdef": "delete:c:/",
		"diskbridge.io/remove-1123456789abcdef": "erase:c:/a", "diskbridge.io/remove-2123456789abcdef": "delete:c:/../a",
		"diskbridge.io/remove-3123456789abcdef": "delete:c:/.diskbridge/x",
		"diskbridge.io/remove-4123456789abcdef": "delete:/nobody",
	})
	if diff := cmp.Diff([]volume.Removal{want}, got); diff != "" {
		t.Error(diff)
	}
}
