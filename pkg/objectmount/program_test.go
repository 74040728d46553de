package objectmount

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// script is a program that says something.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return path
}

func TestPrograms_Command(t *testing.T) {
	b := Bucket{
		Plan: volume.ObjectPlan{
			Handle: "s3://own@my.bucket/a/b/", Bucket: "my.bucket", Prefix: "a/b/", ReadOnly: true, UID: 1000, GID: 2000, Umask: 0o007, Options: volume.MountOptions{"retries=2"},
		},
		Access: Access{URL: "http://127.0.0.1:5000", Region: "eu-west-1", PathStyle: true, AccessKeyID: "throwaway", SecretAccessKey: "hush"},
		Point:  "/staging", Source: "s3://own@my.bucket/a/b/", Dir: "/private", Cache: "/cache", Reserve: 100,
	}
	for name, tc := range map[string]struct {
		program Program
		file    string
		want    []string
	}{
		"s3fs": {S3FS{Path: script(t, "")}, "passwd", []string{
			"my.bucket:/a/b", "-f", "passwd_file=/private/passwd", "url=http://127.0.0.1:5000", "endpoint=eu-west-1", "use_path_request_style", "sigv4",
			"uid=1000", "gid=2000", "umask=0007", "mp_umask=0007", "ro", "allow_other", "tmpdir=/cache", "ensure_diskfree=100", "retries=2", "connect_timeout=10",
			"fsname=s3://own@my.bucket/a/b/", "subtype=s3fs",
		}},
		"rclone": {RClone{Path: script(t, "")}, "rclone.conf", []string{
			"bucket:my.bucket/a/b", "--config=/private/rclone.conf", "--read-only", "--uid=1000", "--gid=2000", "--umask=0007", "--vfs-cache-mode=off", "--devname=s3://own@my.bucket/a/b/",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tc.program.Command(b)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range append(tc.want, "/staging") {
				if !slices.Contains(c.Args, want) {
					t.Errorf("no %q in %q", want, c.Args)
				}
			}
			if slices.Contains(c.Args, "retries=4") {
				t.Error("the user's option is given twice")
			}
			if said := strings.Join(append(c.Args, c.Env...), " "); strings.Contains(said, "hush") || !strings.Contains(c.Files[tc.file], "hush") {
				t.Errorf("the secret is not only in its file: %q", said)
			}
		})
	}
}

func TestS3FS_Check(t *testing.T) {
	old := S3FS{Path: script(t, `case $1 in --help) echo "   retries (default=5)";; *) echo "Amazon Simple Storage Service File System V1.90";; esac`)}
	if err := old.Check(t.Context(), volume.ObjectPlan{Options: volume.MountOptions{"retries=2", "noatime"}}); err != nil {
		t.Error(err)
	}
	err := old.Check(t.Context(), volume.ObjectPlan{Options: volume.MountOptions{"max_thread_count=3"}})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "s3fs 1.90 does not know the option") {
		t.Errorf("an option that it does not know: %v", err)
	}
	if err := (S3FS{Path: "/nonexistent"}).Check(t.Context(), volume.ObjectPlan{}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("no s3fs: %v", err)
	}
	if err := (RClone{}).Check(t.Context(), volume.ObjectPlan{ReadOnly: true, Options: volume.MountOptions{"retries=2"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an option of s3fs for rclone: %v", err)
	}
}

// TestRClone_RefusesWriters: a file that is deleted while it is written came back, or is uploaded after its close.
func TestRClone_RefusesWriters(t *testing.T) {
	r := RClone{Path: script(t, "")}
	if err := r.Check(t.Context(), volume.ObjectPlan{Handle: "s3://bucket"}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "s3fs") {
		t.Errorf("a writer: %v", err)
	}
	if err := r.Check(t.Context(), volume.ObjectPlan{Handle: "s3://bucket", ReadOnly: true}); err != nil {
		t.Errorf("a reader: %v", err)
	}
}

func TestS3FS_Explain(t *testing.T) {
	const at = "2026-11-22T09:04:52.839Z "
	for text, want := range map[string]struct {
		kind  fault.Kind
		words string
	}{
		at + "[INF] s3fs version 1.90\n" + at + "[CRT] s3fs.cpp:s3fs_check_service(3597): unable to connect(host=http://127.0.0.1:9) - result of checking service.\n": {fault.Unavailable, "s3fs says: unable to connect(host=http://127.0.0.1:9); check the endpoint"},
		at + "[CRT] s3fs.cpp:s3fs_check_service(3590): invalid credentials(host=https://x) - result of checking service.":                                             {fault.Denied, "invalid credentials"},
		at + "[CRT] s3fs.cpp:s3fs_check_service(3590): bucket or key not found(host=https://x) - result of checking service.":                                         {fault.NotFound, "does not exist"},
		"fuse: device not found, try 'modprobe fuse' first": {fault.Unsupported, "modprobe fuse"},
		"":                            {fault.Unavailable, "s3fs says: nothing"},
		at + "[INF] nothing to say\n": {fault.Unavailable, "s3fs says: nothing"},
	} {
		if err := (S3FS{}).Explain(text); !fault.Is(err, want.kind) || !strings.Contains(err.Error(), want.words) {
			t.Errorf("%q: got %v, want %s with %q", text, err, want.kind, want.words)
		}
	}
}
