package s3

import (
	"net/http"
	"net/url"
	"strings"
)

// Request is what an S3 request means.
type Request struct {
	Operation   string // AWS's name of it, empty for none
	Bucket, Key string
	Source      string // bucket that a copy reads from, empty where there is none
}

// Read finds out what a request means. Buckets are in the path, as with every endpoint that is an address.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
func Read(r *http.Request) Request {
	var q Request
	q.Bucket, q.Key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q.Source = sourceBucket(r.Header.Get(copySource))
	switch {
	case q.Bucket == "" && r.Method == http.MethodGet:
		q.Operation = "ListBuckets"
	case q.Bucket == "":
	case q.Key == "":
		q.Operation = bucketOperation(r)
	default:
		q.Operation = objectOperation(r)
	}
	return q
}

// copySource is "bucket/key", with or without a slash before it, in percent-encoding.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
const copySource = "X-Amz-Copy-Source"

// sourceBucket is the bucket of a copy's source. What cannot be read is left to the server behind, which refuses it.
func sourceBucket(source string) string {
	path, err := url.PathUnescape(source)
	if err != nil {
		return ""
	}
	bucket, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return bucket
}

// subresources are the parts of a bucket that have operations of their own: Get, Put and Delete before the name.
func subresources() map[string]string {
	return map[string]string{
		"tagging": "BucketTagging", "publicAccessBlock": "PublicAccessBlock", "ownershipControls": "BucketOwnershipControls",
		"encryption": "BucketEncryption", "versioning": "BucketVersioning", "object-lock": "ObjectLockConfiguration",
		"location": "BucketLocation", "policy": "BucketPolicy", "acl": "BucketAcl",
	}
}

func bucketOperation(r *http.Request) string {
	query := r.URL.Query()
	verbs := map[string]string{http.MethodGet: "Get", http.MethodPut: "Put", http.MethodDelete: "Delete"}
	for key, name := range subresources() {
		if query.Has(key) && verbs[r.Method] != "" {
			return verbs[r.Method] + name
		}
	}
	if query.Has("lifecycle") {
		return map[string]string{
			http.MethodGet: "GetBucketLifecycleConfiguration", http.MethodPut: "PutBucketLifecycleConfiguration", http.MethodDelete: "DeleteBucketLifecycle",
		}[r.Method]
	}
	switch {
	case r.Method == http.MethodPost && query.Has("delete"):
		return "DeleteObjects"
	case r.Method == http.MethodGet && query.Has("versions"):
		return "ListObjectVersions"
	case r.Method == http.MethodGet && query.Has("uploads"):
		return "ListMultipartUploads"
	case r.Method == http.MethodGet && query.Get("list-type") == "2":
		return "ListObjectsV2"
	}
	return map[string]string{
		http.MethodGet: "ListObjects", http.MethodPut: "CreateBucket", http.MethodDelete: "DeleteBucket", http.MethodHead: "HeadBucket",
	}[r.Method]
}

func objectOperation(r *http.Request) string {
	query := r.URL.Query()
	has := query.Has("uploadId")
	switch {
	case query.Has("retention") || query.Has("legal-hold") || query.Has("tagging") || query.Has("acl"):
		return "ObjectProperties"
	case r.Method == http.MethodPost && query.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && has:
		return "CompleteMultipartUpload"
	case r.Method == http.MethodPut && has && r.Header.Get(copySource) != "":
		return "UploadPartCopy"
	case r.Method == http.MethodPut && has:
		return "UploadPart"
	case r.Method == http.MethodDelete && has:
		return "AbortMultipartUpload"
	case r.Method == http.MethodGet && has:
		return "ListParts"
	case r.Method == http.MethodPut && r.Header.Get(copySource) != "":
		return "CopyObject"
	}
	return map[string]string{
		http.MethodGet: "GetObject", http.MethodPut: "PutObject", http.MethodDelete: "DeleteObject", http.MethodHead: "HeadObject",
	}[r.Method]
}
