package resign

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// What may be asked of an object and of the bucket: the parts of S3 that reading, writing and listing need. Policies, ACLs,
// locks, versioning and the like are nobody's business who mounts a bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
var (
	objectQueries = []string{"uploads", "uploadId", "partNumber", "max-parts", "part-number-marker", "x-id"}
	bucketQueries = []string{"list-type", "prefix", "delimiter", "marker", "max-keys", "start-after", "continuation-token",
		"encoding-type", "fetch-owner", "location", "uploads", "key-marker", "upload-id-marker", "max-uploads", "x-id"}
)

// split cuts a path into bucket and key.
func split(path string) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return bucket, key
}

// allows refuses what is not about the target's own objects.
func (t Target) allows(r *http.Request) *failure {
	bucket, key := split(r.URL.Path)
	if bucket != t.Bucket {
		return denied("this mount is of the bucket %s, and of no other", t.Bucket)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &failure{status: http.StatusBadRequest, code: "InvalidURI", message: "the query cannot be read", err: err}
	}
	for name, values := range r.Header {
		if len(values) > 1 && strings.HasPrefix(name, "X-Amz-") {
			return denied("the header %s is there twice", name) // a server might read the other one
		}
	}
	known := objectQueries
	if key == "" {
		known = bucketQueries
	}
	for name, values := range query {
		if !slices.Contains(known, name) || len(values) > 1 {
			return denied("a mount may not ask for %.40q", name)
		}
	}
	if key == "" {
		return t.allowsBucket(r, query)
	}
	return t.allowsObject(r, key)
}

// allowsBucket lets the bucket be looked at, below the prefix.
func (t Target) allowsBucket(r *http.Request, query url.Values) *failure {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return denied("a mount may not change the bucket itself (%s)", r.Method)
	case query.Has("location") && len(query) > 1: // a server might take it for a list
	case r.Method == http.MethodHead, query.Get("prefix") == "", t.holds(query.Get("prefix")):
		return nil
	}
	return denied("this mount is of the prefix %s; it lists nothing else", t.Prefix)
}

// narrowed is a listing's query with the prefix, where it has none: before it mounts a prefix, s3fs asks for all objects.
func (t Target) narrowed(query string) string {
	values, err := url.ParseQuery(query)
	if err != nil || values.Has("location") || values.Get("prefix") != "" {
		return query
	}
	values.Set("prefix", t.Prefix)
	return values.Encode()
}

// allowsObject lets objects below the prefix be read and written, and be copied from there.
func (t Target) allowsObject(r *http.Request, key string) *failure {
	if !t.holds(key) {
		return denied("the object does not lie under the prefix %s of this mount", t.Prefix)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		return denied("a mount may not ask for %.20q", r.Method)
	}
	for name, values := range r.Header {
		if name == "X-Amz-Acl" && values[0] != "private" || strings.HasPrefix(name, "X-Amz-Grant-") || name == "X-Amz-Bypass-Governance-Retention" {
			return denied("a mount may not say %s", name)
		}
	}
	source := r.Header.Get("X-Amz-Copy-Source")
	if source == "" {
		return nil
	}
	path, err := url.PathUnescape(source)
	if err != nil {
		return &failure{status: http.StatusBadRequest, code: "InvalidArgument", message: "the source of the copy cannot be read", err: err}
	}
	if bucket, key := split(path); bucket != t.Bucket || !t.holds(key) {
		return denied("a mount may copy only what lies in it")
	}
	return nil
}

// holds reports whether a key lies in the target. Servers that keep objects as files might take dots for folders.
func (t Target) holds(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return strings.HasPrefix(key, t.Prefix)
}
