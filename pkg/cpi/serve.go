package cpi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/broker"
)

// response has exactly the keys that the Director's schema demands; log is a
// string and never null.
type response struct {
	Result any            `json:"result"`
	Error  *responseError `json:"error"`
	Log    string         `json:"log"`
}

type responseError struct {
	Type      ErrorType `json:"type"`
	Message   string    `json:"message"`
	OKToRetry bool      `json:"ok_to_retry"`
}

// Server answers one request.
type Server struct {
	Config string // path of the configuration file; may be empty
	// Parameters are what cloud_properties of a disk may say.
	Parameters backend.Parameters
	// Open makes the engine that the settings describe. Nothing is asked of the cloud yet. close may be called once.
	Open        func(ctx context.Context, s Settings) (b *broker.Broker, closeCloud func(), err error)
	Stderr      io.Writer // the log goes here and into the answer
	Environment []string  // a delegate's; nil means this process's
	Delegated   bool      // this process is a delegate itself
}

// call is one request on its way through its method.
type call struct {
	request
	server   *Server
	settings Settings
	broker   *broker.Broker
	wrong    error // with the arguments
}

// method is one CPI method: how many arguments it takes, how long it may take and what it does.
type method struct {
	minArgs, maxArgs int
	limit            time.Duration
	run              func(ctx context.Context, c *call) (any, error)
}

// methods are those about disks. The rest is a delegate's, if there is one; anything else is NotImplemented, which the
// Director skips or works around. The limits are what the cloud may take for it on a very bad day.
func methods() map[string]method {
	return map[string]method{
		"create_disk":       {3, 3, 10 * time.Minute, createDisk},
		"delete_disk":       {1, 1, 10 * time.Minute, deleteDisk},
		"has_disk":          {1, 1, 2 * time.Minute, hasDisk},
		"attach_disk":       {2, 2, 6 * time.Minute, attachDisk},
		"detach_disk":       {2, 2, 10 * time.Minute, detachDisk},
		"get_disks":         {1, 1, 2 * time.Minute, getDisks},
		"resize_disk":       {2, 2, 30 * time.Minute, resizeDisk},
		"update_disk":       {3, 3, 30 * time.Minute, updateDisk},
		"set_disk_metadata": {2, 2, 5 * time.Minute, setDiskMetadata},
		"snapshot_disk":     {2, 2, 25 * time.Minute, snapshotDisk},
		"delete_snapshot":   {1, 1, 5 * time.Minute, deleteSnapshot},
	}
}

// Serve reads one request from in, to its end, and writes one response to out.
// Whatever goes wrong with the request is an answer; the error it returns means
// that no answer could be written, or what a delegate's process ended with.
func (s *Server) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	j := newJournal(s.Stderr)
	ctx = klog.NewContext(ctx, j.logger())
	r, err := s.answer(ctx, in, out, j)
	if errors.Is(err, errForwarded) {
		return errors.Unwrap(err)
	}
	if err != nil {
		e := errorOf(err)
		r = response{Error: &responseError{Type: e.Type, Message: strings.ToValidUTF8(j.clean(e.Message), "?"), OKToRetry: e.OKToRetry}}
		klog.FromContext(ctx).Info("The call failed", "type", e.Type, "error", e.Message)
	}
	r.Log = j.String()
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the response: %w", err)
	}
	if _, err := out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("writing the response: %w", err)
	}
	return nil
}

// answer runs the method that the request names. A delegate writes its answer to out by itself: then the error is
// errForwarded.
func (s *Server) answer(ctx context.Context, in io.Reader, out io.Writer, j *journal) (response, error) {
	r, err := readRequest(in)
	if err != nil {
		return response{}, errorf(CPIError, "%v", err)
	}
	settings, configErr := load(s.Config, r.Context)
	j.hide(settings.secrets())
	if *r.Method == "info" {
		return s.info(ctx, r, settings, configErr)
	}
	known := methods()
	m, ours := known[*r.Method]
	if !ours && !slices.Contains(delegated(), *r.Method) {
		return response{}, errorf(NotImplemented, "method %.64q is not implemented; diskbridge serves info, %s", *r.Method, names(known))
	}
	if configErr != nil {
		return response{}, errorf(CPIError, "%v", configErr)
	}
	if !ours {
		return response{}, s.forward(ctx, r, settings, out)
	}
	if n := len(r.Arguments); n < m.minArgs || n > m.maxArgs {
		return response{}, errorf(CPIError, "%s takes %s, got %d", *r.Method, arity(m), n)
	}
	if r.version() < 2 {
		return response{}, errorf(CPIError, "%s needs CPI API version 2 or later, and the request has %d: diskbridge keeps no registry", *r.Method, r.version())
	}
	result, err := s.runRecovered(ctx, &call{request: r, server: s, settings: settings}, m)
	return response{Result: result}, err
}

// runRecovered runs the method. A panic becomes an error, and its stack goes to the log.
func (s *Server) runRecovered(ctx context.Context, c *call, m method) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			klog.FromContext(ctx).Error(nil, "A CPI method panicked", "method", *c.Method, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errorf(CPIError, "%s failed because of a bug in diskbridge; the stack is in the debug log", *c.Method)
		}
	}()
	if err := c.settings.check(); err != nil {
		return nil, errorf(CPIError, "%v", err)
	}
	limit := m.limit
	if seconds := c.settings.Own.Timeouts[*c.Method]; seconds > 0 {
		limit = time.Duration(seconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b, closeCloud, err := s.Open(ctx, c.settings)
	if err != nil {
		return nil, errorf(CPIError, "%v", err)
	}
	defer closeCloud()
	c.broker = b
	return m.run(ctx, c)
}

func names(known map[string]method) string {
	var list []string
	for name := range known {
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func arity(m method) string {
	switch {
	case m.minArgs != m.maxArgs:
		return fmt.Sprintf("%d to %d arguments", m.minArgs, m.maxArgs)
	case m.maxArgs == 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", m.maxArgs)
}

// apiVersion is the newest contract that we keep. 3 differs from 2 only in create_stemcell, which is a delegate's: its
// own version then counts.
const apiVersion = 2

// info answers at once, without credentials, cloud or delegate: both callers send it before every other method. It
// answers also where the configuration is wrong; the next method says so.
func (s *Server) info(ctx context.Context, r request, settings Settings, configErr error) (response, error) {
	if n := len(r.Arguments); n > 0 {
		return response{}, errorf(CPIError, "info takes 0 arguments, got %d", n)
	}
	if configErr != nil {
		klog.FromContext(ctx).Info("The configuration cannot be used", "reason", configErr.Error())
	}
	version := apiVersion
	formats := []string{}
	if d := settings.Own.Delegate; d.ExecPath != "" {
		formats = append(formats, d.StemcellFormats...)
		if d.APIVersion > 0 {
			version = d.APIVersion
		}
	}
	if settings.APIVersion > 0 {
		version = min(version, settings.APIVersion)
	}
	return response{Result: map[string]any{"stemcell_formats": formats, "api_version": version}}, nil
}
