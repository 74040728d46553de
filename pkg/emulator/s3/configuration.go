package s3

import (
	"encoding/xml"
	"io"
	"net/http"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

const namespace = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`

// What new buckets are: https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html and
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-encryption-faq.html
const (
	allBlocked = "<PublicAccessBlockConfiguration" + namespace + "><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>" +
		"<BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
	plainEncryption = "<ServerSideEncryptionConfiguration" + namespace + "><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>" +
		"</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
)

// configuration is a part of a bucket that the server behind does not keep.
type configuration struct {
	root    string // of its XML
	missing string // error code where there is none
	field   func(*store.Bucket) *string
	empty   string // what an unset one reads as, if that is no error
}

func configurations() map[string]configuration {
	return map[string]configuration{
		"PublicAccessBlock": {root: "PublicAccessBlockConfiguration", missing: "NoSuchPublicAccessBlockConfiguration",
			field: func(b *store.Bucket) *string { return &b.PublicAccess }},
		"BucketEncryption": {root: "ServerSideEncryptionConfiguration", empty: plainEncryption,
			field: func(b *store.Bucket) *string { return &b.Encryption }},
		"BucketLifecycle": {root: "LifecycleConfiguration", missing: "NoSuchLifecycleConfiguration",
			field: func(b *store.Bucket) *string { return &b.Lifecycle }},
	}
}

// split cuts an operation into its verb and what it is about.
func split(operation string) (verb string, c configuration, ok bool) {
	for _, verb := range []string{"Get", "Put", "Delete"} {
		if name, found := strings.CutPrefix(operation, verb); found {
			if name != "PublicAccessBlock" && name != "BucketEncryption" {
				name = strings.TrimSuffix(name, "Configuration")
			}
			c, ok = configurations()[name]
			return verb, c, ok
		}
	}
	return "", c, false
}

// answered reports whether this package answers an operation itself.
func answered(operation string) bool {
	_, _, ok := split(operation)
	return ok
}

// configure answers the operations on what the server behind does not keep.
func (s *Service) configure(w http.ResponseWriter, r *http.Request, q Request, b *store.Bucket) error {
	if b == nil {
		return &wire.Error{Code: "NoSuchBucket", Message: "The specified bucket does not exist", Status: http.StatusNotFound}
	}
	verb, c, _ := split(q.Operation)
	if verb == "Get" {
		text := *c.field(b)
		switch {
		case text == "" && c.empty == "":
			return &wire.Error{Code: c.missing, Message: "The configuration does not exist", Status: http.StatusNotFound}
		case text == "":
			text = c.empty
		}
		w.Header().Set("Content-Type", "application/xml")
		_, err := io.WriteString(w, xml.Header+strings.TrimPrefix(text, xml.Header))
		return err
	}
	text, status := "", http.StatusNoContent
	if verb == "Put" {
		body, err := readConfiguration(w, r)
		if err != nil {
			return err
		}
		if !strings.Contains(body, "<"+c.root) {
			return malformed()
		}
		text, status = body, http.StatusOK
	}
	err := s.Store.Update(func() error {
		now, ok := s.Store.Buckets.Edit(q.Bucket)
		if !ok {
			return &wire.Error{Code: "NoSuchBucket", Message: "The specified bucket does not exist", Status: http.StatusNotFound}
		}
		*c.field(now) = text
		return nil
	})
	if err == nil {
		w.WriteHeader(status)
	}
	return err
}
