package cpi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"k8s.io/klog/v2"
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

// method is one CPI method: how many arguments it takes and what it does.
type method struct {
	minArgs, maxArgs int
	run              func(ctx context.Context, call request) (any, error)
}

// methods are the ones that work today; anything else is NotImplemented, which
// the Director skips or works around.
func methods() map[string]method {
	return map[string]method{
		"info": {run: info},
	}
}

// Serve reads one request from in, to its end, and writes one response to out.
// Whatever goes wrong with the request is an answer; the error it returns means
// that no answer could be written.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	r := answer(ctx, in)
	text, err := json.Marshal(r)
	if err != nil {
		text, err = json.Marshal(failure(errorf(CPIError, "the result cannot be written as JSON: %v", err)))
	}
	if err != nil {
		return fmt.Errorf("encoding the response: %w", err)
	}
	if _, err := out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("writing the response: %w", err)
	}
	return nil
}

func answer(ctx context.Context, in io.Reader) response {
	r, err := readRequest(in)
	if err != nil {
		return failure(errorf(CPIError, "%v", err))
	}
	result, err := dispatch(ctx, r)
	if err != nil {
		return failure(errorOf(err))
	}
	return response{Result: result}
}

func failure(e *Error) response {
	return response{Error: &responseError{Type: e.Type, Message: e.Message, OKToRetry: e.OKToRetry}}
}

func dispatch(ctx context.Context, r request) (any, error) {
	known := methods()
	m, ok := known[*r.Method]
	if !ok {
		return nil, errorf(NotImplemented, "method %.64q is not implemented; this version serves %s", *r.Method, names(known))
	}
	if n := len(r.Arguments); n < m.minArgs || n > m.maxArgs {
		return nil, errorf(CPIError, "%s takes %s, got %d", *r.Method, arity(m), n)
	}
	return runRecovered(ctx, r, m)
}

// runRecovered runs the method. A panic becomes an error, and its stack goes to the log.
func runRecovered(ctx context.Context, r request, m method) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			klog.FromContext(ctx).Error(nil, "A CPI method panicked", "method", *r.Method, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errorf(CPIError, "%s failed because of a bug in diskbridge; the stack is in the debug log", *r.Method)
		}
	}()
	return m.run(ctx, r)
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
	if m.minArgs == m.maxArgs {
		return fmt.Sprintf("%d arguments", m.maxArgs)
	}
	return fmt.Sprintf("%d to %d arguments", m.minArgs, m.maxArgs)
}

// apiVersion is the contract that we keep: 2, since attach_disk will answer a
// device hint. 3 differs only in create_stemcell, which a disk CPI does not have.
const apiVersion = 2

// info answers at once, without configuration, credentials or cloud: both
// callers send it before every other method.
func info(context.Context, request) (any, error) {
	return map[string]any{"stemcell_formats": []string{}, "api_version": apiVersion}, nil
}
