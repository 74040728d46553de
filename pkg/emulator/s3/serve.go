package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// maxConfiguration is the largest body of a bucket's configuration, in bytes.
const maxConfiguration = 64 << 10

// Serve answers a request that is known to be S3's.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, scope wire.Scope, requestID string) {
	if err := s.serve(w, r, scope); err != nil {
		s.Fail(w, requestID, err)
	}
}

// Fail answers an error as S3 does.
func (s *Service) Fail(w http.ResponseWriter, requestID string, err error) {
	e := wire.ForService(wire.S3, wire.AsError(err))
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.Status)
	var text bytes.Buffer
	_ = xml.EscapeText(&text, []byte(e.Message))
	_, _ = fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>%s</Message><RequestId>%s</RequestId></Error>", xml.Header, e.Code, text.Bytes(), requestID)
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request, scope wire.Scope) error {
	q := Read(r)
	ours := answered(q.Operation)
	// The server behind checks what is signed with the lasting key and goes to it unchanged. It has accounts of its own, so
	// that what says whose the bucket must be is judged here.
	again := !s.Signatures.Lasting(scope) || namesOwner(r.Header)
	if ours || again {
		if _, err := s.Signatures.Check(r.Context(), r, nil, scope, time.Now()); err != nil {
			return err
		}
	}
	b, err := s.permit(r, q)
	if err != nil {
		return err
	}
	if ours {
		return s.configure(w, r, q, b)
	}
	if again {
		if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-AWS4") {
			return &wire.Error{Code: "NotImplemented", Message: "The emulator takes no body in signed chunks with temporary credentials or an expected owner.", Status: http.StatusNotImplemented}
		}
		for _, name := range ownerHeaders {
			r.Header.Del(name)
		}
		r.Header.Del("Connection") // the proxy drops it
		if err := s.Signatures.Resign(r.Context(), r, scope, time.Now()); err != nil {
			return err
		}
	}
	switch q.Operation {
	case "CreateBucket":
		return s.create(w, r, q, b)
	case "DeleteBucket":
		return s.change(w, r, func() { s.Store.Buckets.Drop(q.Bucket) })
	case "ListObjects", "ListObjectsV2":
		if r.URL.Query().Get("delimiter") != "" && s.keepsVersions(q.Bucket) {
			s.list(r.Context(), w, r, q, scope)
			return nil
		}
	}
	s.proxy.ServeHTTP(w, r)
	return nil
}

// create makes a bucket. https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
func (s *Service) create(w http.ResponseWriter, r *http.Request, q Request, b *store.Bucket) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConfiguration))
	if err != nil {
		return err
	}
	var asked struct {
		LocationConstraint string
	}
	if len(body) > 0 {
		if err := xml.Unmarshal(body, &asked); err != nil {
			return malformed()
		}
	}
	const first = "us-east-1" // the region that has no location
	switch {
	case s.Region == first && asked.LocationConstraint == first:
		return wire.Errorf("InvalidLocationConstraint", "The specified location-constraint is not valid")
	case s.Region == first && asked.LocationConstraint != "", s.Region != first && asked.LocationConstraint != s.Region:
		return wire.Errorf("IllegalLocationConstraintException", "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", asked.LocationConstraint)
	case b != nil && s.Region == first:
		w.Header().Set("Location", "/"+q.Bucket)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return s.change(w, r, func() {
		s.Store.Buckets.Put(&store.Bucket{Name: q.Bucket, Owner: s.Account, Created: s.Now(), PublicAccess: allBlocked})
	})
}

// change lets the server answer, and if that is a success notes it before the caller learns of it.
func (s *Service) change(w http.ResponseWriter, r *http.Request, note func()) error {
	proxy := *s.proxy
	failed := error(nil)
	proxy.ModifyResponse = func(answer *http.Response) error {
		if answer.StatusCode < http.StatusMultipleChoices {
			failed = s.Store.Update(func() error { note(); return nil })
		}
		return failed
	}
	// What a caller began is ended even if it goes away, as on AWS.
	proxy.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	return nil
}

// readConfiguration reads a body and whether it is what was signed.
func readConfiguration(w http.ResponseWriter, r *http.Request) (string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConfiguration))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	if said := r.Header.Get("X-Amz-Content-Sha256"); said != hex.EncodeToString(sum[:]) && said != "UNSIGNED-PAYLOAD" {
		return "", wire.Errorf("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	for decoder := xml.NewDecoder(bytes.NewReader(body)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) && len(body) > 0 {
			return string(body), nil
		} else if err != nil {
			return "", malformed()
		}
	}
}

func malformed() error {
	return wire.Errorf("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}
