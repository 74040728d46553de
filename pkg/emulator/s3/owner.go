package s3

import (
	"net/http"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// The headers that say which account a bucket must belong to: the request's bucket, and the one that a copy reads from.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
const (
	expectedOwner       = "X-Amz-Expected-Bucket-Owner"
	expectedSourceOwner = "X-Amz-Source-Expected-Bucket-Owner"
)

var ownerHeaders = []string{expectedOwner, expectedSourceOwner}

// namesOwner reports whether a request says which account a bucket must belong to. The server behind has accounts of its
// own, so that such a request is judged here.
func namesOwner(h http.Header) bool {
	return slices.ContainsFunc(ownerHeaders, func(name string) bool { return h.Get(name) != "" })
}

// permit finds the bucket of a request and whether the request may use it, and the bucket that it copies from; nil where
// there is none.
func (s *Service) permit(r *http.Request, q Request) (*store.Bucket, error) {
	var b, source *store.Bucket
	s.Store.Read(func() {
		b, _ = s.Store.Buckets.Get(q.Bucket)
		source, _ = s.Store.Buckets.Get(q.Source)
	})
	if b != nil && q.Operation == "CreateBucket" && b.Owner != s.Account {
		return nil, &wire.Error{Code: "BucketAlreadyExists", Status: http.StatusConflict,
			Message: "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."}
	}
	if !s.usable(b, r.Header.Get(expectedOwner)) || !s.usable(source, r.Header.Get(expectedSourceOwner)) {
		return nil, &wire.Error{Code: "AccessDenied", Message: "Access Denied", Status: http.StatusForbidden}
	}
	return b, nil
}

// usable reports whether a bucket is the caller's, and of the account that the caller expects. One that does not exist is
// left to the server behind.
func (s *Service) usable(b *store.Bucket, expected string) bool {
	return b == nil || b.Owner == s.Account && (expected == "" || expected == b.Owner)
}
