package emulator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator/efs"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/emulator/sts"
	"github.com/diskbridge/diskbridge/pkg/emulator/throttle"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// Header is in every answer of an emulated service; its value is the profile's name.
const Header = "X-Diskbridge-Emulator"

// maxBody is the largest request that is read, in bytes.
const maxBody = 4 << 20

// leastLatency is the least real time between reading a request and answering it. Over a loopback an answer can come
// before AWS's SDK for Go has noticed that it sent all of its request; it then drops the connection, and with it the
// rest of a long answer. No answer of AWS is as fast as that.
const leastLatency = 2 * time.Millisecond

// errNoReply says that the caller gets no answer.
var errNoReply = errors.New("the reply is dropped")

// call is one request to an emulated service.
type call struct {
	service   string // ec2, elasticfilesystem, kms or sts
	action    string
	operation string // as faults and counts name it
	params    *wire.Params
	resource  string // the id in a REST path
	body      []byte
	protocol  wire.Protocol
	requestID string
}

// names says whether a parameter, in whatever form the service takes them, has the value.
func (c call) names(value string) bool {
	return c.params.Names(value) || c.resource == value || bytes.Contains(c.body, []byte(`"`+value+`"`))
}

// handle answers the control endpoints and the emulated services.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control(w, r)
		return
	}
	if scope, err := wire.ParseScope(r); err == nil && scope.Service == wire.S3 && s.s3 != nil {
		s.handleS3(w, r, scope)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the request body cannot be read", http.StatusBadRequest)
		return
	}
	latency := time.NewTimer(leastLatency)
	defer latency.Stop()
	c, scope, scopeErr := s.readCall(r, body)
	answer, err := any(nil), scopeErr
	if err == nil {
		answer, err = s.answer(r, c, scope)
	}
	s.count(c, err)
	<-latency.C
	if errors.Is(err, errNoReply) || errors.Is(err, faults.ErrCleared) || r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // closes the connection
	}
	s.reply(w, c, answer, err)
}

// readCall finds out which service and action a request means. The call can be answered even with the error.
func (s *Server) readCall(r *http.Request, body []byte) (call, wire.Scope, error) {
	c := call{body: body, protocol: wire.EC2{}, requestID: s.requestID(), service: "ec2"}
	values, err := url.ParseQuery(string(body))
	if err != nil || strings.Contains(r.Header.Get("Content-Type"), "json") {
		values = url.Values{}
	}
	for k, v := range r.URL.Query() {
		values[k] = v
	}
	c.params, c.action = wire.NewParams(values), values.Get("Action")
	target, hasTarget := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	scope, err := wire.ParseScope(r)
	switch {
	case scope.Service == "kms" || hasTarget:
		c.service, c.action, c.protocol = "kms", target, wire.JSON{}
	case scope.Service == efs.Name:
		c.service, c.protocol = efs.Name, wire.RESTJSON{}
		c.action, c.resource = efs.Route(r.Method, r.URL.Path)
	case scope.Service == "sts" || err != nil && !sts.NeedsSignature(c.action):
		c.service, c.protocol = "sts", wire.Query{Namespace: sts.Namespace}
	}
	c.operation = c.action
	switch c.service {
	case "ec2":
	case efs.Name:
		c.operation = "efs:" + c.action
	default:
		c.operation = c.service + ":" + c.action
	}
	if c.service == "sts" && !sts.NeedsSignature(c.action) {
		return c, wire.Scope{}, nil
	}
	if err == nil && scope.Service != c.service {
		err = wire.Errorf("UnknownService", "The emulator has no service %q; it has ec2, elasticfilesystem, kms, sts and, with --s3-server, s3.", scope.Service)
	}
	return c, scope, err
}

// answer does what the request asks, or what the faults make of it.
func (s *Server) answer(r *http.Request, c call, scope wire.Scope) (any, error) {
	var who wire.Identity
	if c.service != "sts" || sts.NeedsSignature(c.action) {
		var err error
		if who, err = s.signatures.Check(r.Context(), r, c.body, scope, time.Now()); err != nil {
			return nil, err
		}
	}
	fired := s.faults.Fire(c.operation, c.names)
	if err := s.before(r.Context(), c, fired); err != nil {
		return nil, err
	}
	if !s.admit(c) {
		return nil, wire.Coded("RequestLimitExceeded")
	}
	ctx := r.Context()
	if _, ok := fired.Has(faults.FailLater); ok {
		ctx = ec2.FailLater(ctx)
	}
	body, err := s.do(ctx, c, who)
	if after := s.after(r.Context(), c, fired); after != nil {
		return nil, after
	}
	return body, err
}

// before applies the faults that come before the work.
func (s *Server) before(ctx context.Context, c call, fired faults.Fired) error {
	if f, ok := fired.Has(faults.Delay); ok {
		if err := s.wait(ctx, f); err != nil {
			return err
		}
	}
	if f, ok := fired.Has(faults.Late); ok {
		if err := s.wait(context.WithoutCancel(ctx), f); err != nil {
			return err
		}
	}
	if _, ok := fired.Has(faults.HoldBefore); ok {
		if err := s.faults.Hold(ctx, c.operation, faults.HoldBefore, s.options.Clock.Now()); err != nil {
			return err
		}
	}
	if _, ok := fired.Has(faults.Throttle); ok {
		return wire.Coded("RequestLimitExceeded")
	}
	if f, ok := fired.Has(faults.Refuse); ok {
		return wire.Coded(orInternal(f.Code))
	}
	return nil
}

// wait waits as long as the fault says, in the emulator's time. When the emulator closes, the call comes to nothing.
func (s *Server) wait(ctx context.Context, f faults.Rule) error {
	until := s.options.Clock.Now().Add(time.Duration(f.DelayMS) * time.Millisecond)
	if err := s.options.Clock.Wait(ctx, until, s.closing); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return errNoReply
	default:
		return nil
	}
}

// after applies the faults that come after the work.
func (s *Server) after(ctx context.Context, c call, fired faults.Fired) error {
	if _, ok := fired.Has(faults.HoldAfter); ok {
		if err := s.faults.Hold(ctx, c.operation, faults.HoldAfter, s.options.Clock.Now()); err != nil {
			return err
		}
	}
	if _, ok := fired.Has(faults.DropReply); ok {
		return errNoReply
	}
	if f, ok := fired.Has(faults.FailAfter); ok {
		return wire.Coded(orInternal(f.Code))
	}
	return nil
}

func orInternal(code string) string {
	if code == "" {
		return "InternalError"
	}
	return code
}

// admit takes a token from the action's bucket. KMS and STS are not throttled.
func (s *Server) admit(c call) bool {
	if !s.profile.Throttled || c.service != "ec2" && c.service != efs.Name {
		return true
	}
	if c.service == efs.Name {
		return s.buckets.Take(c.operation, throttle.EFSLimit(c.action), s.options.Clock.Now())
	}
	unpaged := c.params.Unpaged()
	bucket := c.action
	if unpaged {
		bucket += " without a page"
	}
	return s.buckets.Take(bucket, throttle.EC2Limit(c.action, unpaged), s.options.Clock.Now())
}

// do runs the action. What a caller began is ended even if it goes away, as on AWS.
func (s *Server) do(ctx context.Context, c call, who wire.Identity) (any, error) {
	ctx = context.WithoutCancel(ctx)
	switch c.service {
	case "kms":
		return s.kms.Do(ctx, c.action, c.body)
	case "sts":
		return s.sts.Do(ctx, c.action, who, c.params)
	case efs.Name:
		return s.efs.Do(ctx, c.action, c.resource, c.params, c.body)
	}
	return s.ec2.Do(ctx, c.action, c.params)
}

func (s *Server) count(c call, err error) {
	var e *wire.Error
	switch {
	case c.action == "": // nothing that could be counted
	case err == nil:
		s.counts.Add(c.operation, throttle.Count{OK: 1})
	case errors.As(err, &e) && e.Code == "RequestLimitExceeded":
		s.counts.Add(c.operation, throttle.Count{Throttled: 1})
	default:
		s.counts.Add(c.operation, throttle.Count{Error: 1})
	}
}

func (s *Server) reply(w http.ResponseWriter, c call, answer any, err error) {
	status, contentType, data := http.StatusOK, "", []byte(nil)
	if err == nil {
		contentType, data, err = c.protocol.Success(c.action, c.requestID, answer)
	}
	if err != nil {
		e := wire.AsError(err)
		e = wire.ForService(c.service, e)
		status = e.Status
		contentType, data = c.protocol.Failure(c.requestID, e)
		if c.service == efs.Name {
			w.Header().Set("X-Amzn-Errortype", e.Code)
		}
		if status >= http.StatusInternalServerError && !strings.HasPrefix(e.Message, "Request limit") {
			s.logger.V(2).Info("Answered a server error", "operation", c.operation, "code", e.Code, "message", e.Message)
		}
	}
	h := w.Header()
	h.Set(Header, s.profile.Name)
	h.Set("X-Amzn-Requestid", c.requestID)
	h.Set("Content-Type", contentType)
	if c.service == efs.Name {
		status = efs.Status(c.action, status)
	}
	w.WriteHeader(status)
	_, _ = w.Write(data) // a caller that went away is its own affair
}
