package volume

// S3FS is the file system type of an ObjectPlan: the program that mounts it, and its words for options.
const S3FS = "s3fs"

// s3fsRules is the allow-list of s3fs options. Which of them an installed s3fs knows is the node's to find out.
// https://github.com/s3fs-fuse/s3fs-fuse/blob/master/doc/man/s3fs.1.in
func s3fsRules(rules map[string]rule) {
	clear(rules)
	bare(rules, "defaults ro rw noatime nosuid nodev noexec enable_noobj_cache disable_noobj_cache enable_content_md5 requester_pays "+
		"compat_dir notsup_compat_dir complement_stat use_xattr nocopyapi norenameapi noxmlns nomixupload update_parent_dir_stat")
	rules["max_thread_count"] = number(1, 64)
	rules["parallel_count"] = number(1, 64)
	rules["multireq_max"] = number(1, 64)
	rules["multipart_size"] = number(5, 5120)      // MiB
	rules["multipart_copy_size"] = number(5, 5120) // MiB
	rules["multipart_threshold"] = number(5, 5120) // MiB
	rules["max_dirty_data"] = number(50, 1<<20)    // MiB
	rules["max_stat_cache_size"] = number(0, 10_000_000)
	rules["stat_cache_expire"] = number(0, 86_400)
	rules["stat_cache_interval_expire"] = number(0, 86_400)
	rules["connect_timeout"] = number(1, 300)
	rules["readwrite_timeout"] = number(1, 300)
	rules["retries"] = number(1, 20) // s3fs refuses 0
	rules["list_object_max_keys"] = number(1, 1000)
	rules["storage_class"] = oneOf("standard", "standard_ia", "onezone_ia", "intelligent_tiering", "glacier_ir")
	rules["uid"] = rule{value: isID, help: "a numeric user id"}
	rules["gid"] = rule{value: isID, help: "a numeric group id"}
	rules["umask"] = rule{value: isMask, help: "permission bits in octal, such as 0027"}
}

func isID(v string) bool { _, err := ParseID(v); return err == nil }

func isMask(v string) bool { m, err := ParsePerms(v); return err == nil && m <= 0o777 }

// refusedS3FS gives the reason why an option of s3fs is never passed on.
func refusedS3FS(name string) string {
	switch name {
	case "passwd_file", "profile", "iam_role", "ecs", "ibm_iam_auth", "ibm_iam_endpoint", "credlib", "credlib_opts", "imdsv1only", "use_session_token", "ahbe_conf":
		return "credentials are the mounter's, or come from a secret: csi.storage.k8s.io/node-stage-secret-name"
	case "url", "host", "endpoint", "region", "sigv2", "sigv4", "use_path_request_style", "no_check_certificate", "ssl_verify_hostname", "ssl_client_cert", "proxy", "proxy_cred_file", "public_bucket", "curldbg", "http":
		return "where S3 is, and how it is spoken to, is said by the endpoint profile; see --s3-profiles"
	case "allow_other", "nonempty", "allow_root", "default_permissions", "mp_umask", "dev", "fd", "f", "d", "o":
		return "the mounter decides it"
	case "use_cache", "tmpdir", "del_cache", "ensure_diskfree", "free_space_ratio", "bucket_size", "streamupload":
		return "the space on the node's disk is the mounter's; bound it with the parameter cacheSizeMiB"
	case "logfile", "dbglevel", "set_check_cache_sigusr1", "instance_name", "mime", "host_style", "servicepath":
		return "it is for a program that somebody watches on its own"
	case "default_acl":
		return "ACLs are switched off in the buckets that the driver makes, and could open others to everybody"
	case "use_sse", "load_sse_c":
		return "the bucket's own encryption applies: parameters encryption and kmsKeyId"
	default:
		return ""
	}
}
