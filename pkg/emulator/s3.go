package emulator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"

	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3"
	"github.com/diskbridge/diskbridge/pkg/emulator/throttle"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// startS3 starts the S3 server if the options name one.
func (s *Server) startS3(ctx context.Context) (err error) {
	o := s.options
	if o.S3Server == "" {
		return nil
	}
	dir := filepath.Join(o.StateDir, "s3")
	if o.StateDir == "" {
		if dir, err = os.MkdirTemp("", "s3-objects-"); err != nil {
			return err
		}
		s.scratch = dir
	}
	s.s3, err = s3.Start(ctx, s3.Config{
		Store: s.store, Signatures: s.signatures, Now: o.Clock.Now, Account: o.AccountID, Region: o.Region, Server: o.S3Server, Dir: dir,
		AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey,
	})
	return err
}

// closeS3 ends the S3 server and drops the objects that nothing shall survive of.
func (s *Server) closeS3() (err error) {
	if s.s3 != nil {
		err = s.s3.Close()
	}
	if s.scratch != "" {
		err = errors.Join(err, os.RemoveAll(s.scratch))
	}
	return err
}

// TakeBucket makes a bucket's name belong to another account.
func (s *Server) TakeBucket(name, account string) error { return s.s3.Take(name, account) }

// handleS3 answers an S3 request, or what the faults make of it. Bodies are streamed.
func (s *Server) handleS3(w http.ResponseWriter, r *http.Request, scope wire.Scope) {
	c := call{service: wire.S3, action: s3.Read(r).Operation, requestID: s.requestID()}
	c.operation = "s3:" + c.action
	w.Header().Set(Header, s.profile.Name)
	w.Header().Set("X-Amz-Request-Id", c.requestID)
	answer := &answerWriter{ResponseWriter: w}
	err := s.doS3(answer, r, c, scope)
	switch {
	case errors.Is(err, errNoReply), errors.Is(err, faults.ErrCleared), r.Context().Err() != nil:
		s.count(c, err)
		panic(http.ErrAbortHandler) // closes the connection
	case err != nil:
		s.count(c, err)
		s.s3.Fail(w, c.requestID, err)
	case answer.status >= http.StatusBadRequest:
		s.counts.Add(c.operation, throttle.Count{Error: 1})
	default:
		s.counts.Add(c.operation, throttle.Count{OK: 1})
	}
}

func (s *Server) doS3(w *answerWriter, r *http.Request, c call, scope wire.Scope) error {
	fired := s.faults.Fire(c.operation, func(string) bool { return false })
	_, late := fired.Has(faults.Late)
	if _, hold := fired.Has(faults.HoldBefore); (hold || late) && r.ContentLength <= maxBody {
		// Only once its body is read does a request notice that its caller went away; and then it can be done without the caller.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if err := s.before(r.Context(), c, fired); err != nil {
		return err
	}
	_, drop := fired.Has(faults.DropReply)
	_, fail := fired.Has(faults.FailAfter)
	_, hold := fired.Has(faults.HoldAfter)
	if !drop && !fail && !hold && !late {
		s.s3.Serve(w, r, scope, c.requestID)
		return nil
	}
	// What it is about is done, whatever becomes of the answer.
	kept := &keptAnswer{header: http.Header{}, status: http.StatusOK}
	s.s3.Serve(kept, r.WithContext(context.WithoutCancel(r.Context())), scope, c.requestID)
	if err := s.after(r.Context(), c, fired); err != nil {
		return err
	}
	maps.Copy(w.Header(), kept.header)
	w.WriteHeader(kept.status)
	_, err := w.Write(kept.body.Bytes())
	return err
}

// answerWriter remembers the status.
type answerWriter struct {
	http.ResponseWriter
	status int
}

func (w *answerWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets a body be flushed.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// keptAnswer keeps an answer until it is known what becomes of it.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *keptAnswer) Header() http.Header         { return a.header }
func (a *keptAnswer) WriteHeader(status int)      { a.status = status }
func (a *keptAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }
