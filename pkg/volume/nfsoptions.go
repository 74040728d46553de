package volume

import (
	"fmt"
	"strings"
)

// NFS4 is the file system type of an NFSPlan.
const NFS4 = "nfs4"

// efsOptions are the mount options that EFS recommends, in its order.
// https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-nfs-mount-settings.html
var efsOptions = []string{"nfsvers=4.1", "rsize=1048576", "wsize=1048576", "hard", "timeo=600", "retrans=2", "noresvport"}

// nfsOptions are the user's options, read.
type nfsOptions struct {
	options     MountOptions
	tls         bool
	accessPoint string
}

// parseNFSOptions checks the user's options and puts them over EFS's recommended
// ones. tls and accesspoint=… are mount.efs's words for what a plan says itself.
func parseNFSOptions(flags []string) (o nfsOptions, err error) {
	var plain []string
	for _, flag := range flags {
		for _, option := range splitOptions(flag) {
			name, value, _ := strings.Cut(option, "=")
			switch {
			case option == "tls":
				o.tls = true
			case name == "accesspoint" && accessPoint.MatchString(value):
				o.accessPoint = value
			default:
				plain = append(plain, option)
			}
		}
	}
	user, err := ParseMountOptions(NFS4, plain)
	if err != nil {
		return o, err
	}
	if user.Has("soft") && !user.Has("ro") {
		return o, fmt.Errorf(`mount option "soft" needs ro as well: a soft mount drops writes when the server is slow`)
	}
	given := map[string]bool{}
	for _, option := range user {
		given[replaces(option)] = true
	}
	for _, option := range efsOptions {
		if !given[replaces(option)] {
			o.options = append(o.options, option)
		}
	}
	o.options = append(o.options, user...)
	return o, nil
}

// replaces returns what an option decides, so that the user's takes the recommended one's place.
func replaces(option string) string {
	name, _, _ := strings.Cut(option, "=")
	switch name {
	case "vers":
		return "nfsvers"
	case "soft":
		return "hard"
	default:
		return name
	}
}

// nfsRules is the allow-list of nfs(5) options that make sense with EFS.
func nfsRules(rules map[string]rule) {
	for _, name := range []string{"discard", "lazytime", "dirsync", "strictatime"} {
		delete(rules, name)
	}
	bare(rules, "hard soft noresvport cto nocto ac noac acl noacl sharecache nosharecache rdirplus nordirplus")
	rules["nfsvers"] = oneOf("4.1", "4.0")
	rules["vers"] = rules["nfsvers"]
	for _, name := range []string{"rsize", "wsize"} {
		rules[name] = number(4096, 1048576)
	}
	rules["timeo"] = number(10, 6000)
	rules["retrans"] = number(1, 100)
	for _, name := range []string{"acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo"} {
		rules[name] = number(0, 86400)
	}
	rules["lookupcache"] = oneOf("all", "none", "pos", "positive")
	rules["sec"] = oneOf("sys")
	rules["proto"] = oneOf("tcp", "tcp6")
}

// refusedNFS gives the reason why an option of nfs(5) or mount.efs is never passed on.
func refusedNFS(name string) string {
	switch name {
	case "resvport":
		return "a client that reconnects from another port is locked out; EFS needs noresvport"
	case "iam", "awsprofile", "awscredsuri":
		return "the node has no AWS credentials; use the file system's policy and security groups"
	case "az", "mounttargetip", "region", "crossaccount":
		return "the controller chooses the mount target of the node's zone"
	case "port", "addr", "clientaddr", "mountaddr", "mountport":
		return "the plan says where to mount from"
	case "nconnect", "max_connect":
		return "EFS does not support several connections for one mount"
	case "bg", "fg", "retry":
		return "a mount that hangs is ended by its deadline"
	default:
		return ""
	}
}
