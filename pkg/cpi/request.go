package cpi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxRequest bounds a request in bytes. The largest real ones (create_vm with a
// whole deployment's env) stay far below it.
const MaxRequest = 4 << 20

// request is what a Director or the bosh CLI sends
// (https://bosh.io/docs/cpi-api-rpc/). Unknown keys are ignored.
type request struct {
	Method     *string           `json:"method"`
	Arguments  []json.RawMessage `json:"arguments"`
	Context    object            `json:"context"`
	APIVersion *int              `json:"api_version"`

	text []byte // as it came
}

// readRequest reads to EOF and decodes exactly one request. Its errors name the
// key that is wrong.
func readRequest(in io.Reader) (request, error) {
	var r request
	text, err := io.ReadAll(io.LimitReader(in, MaxRequest+1))
	switch {
	case err != nil:
		return r, fmt.Errorf("reading the request: %w", err)
	case len(text) > MaxRequest:
		return r, fmt.Errorf("the request is longer than %d bytes", MaxRequest)
	case len(bytes.TrimSpace(text)) == 0:
		return r, errors.New(`the request is empty; expected one JSON object such as {"method":"info","arguments":[],"context":{}}`)
	}
	r.text = text
	if err := json.Unmarshal(text, &r); err != nil {
		return r, requestError(err)
	}
	switch {
	case r.Method == nil || *r.Method == "":
		return r, errors.New(`the request has no "method"`)
	case r.APIVersion != nil && *r.APIVersion < 1:
		return r, fmt.Errorf(`"api_version" is %d; it starts at 1`, *r.APIVersion)
	}
	return r, nil
}

// requestError puts the decoder's error in the words of the contract. It never
// quotes the request: create_disk's arguments may hold secrets.
func requestError(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return fmt.Errorf("the request is a JSON %s; expected an object", wrongType.Value)
	case errors.As(err, &wrongType):
		want := map[string]string{"method": "a string", "arguments": "an array", "context": "an object", "api_version": "an integer"}
		return fmt.Errorf("%q is a JSON %s; expected %s", wrongType.Field, wrongType.Value, want[wrongType.Field])
	default:
		return fmt.Errorf("the request is no JSON: %w", err)
	}
}

// version is the contract that the caller speaks; a request without one speaks the first.
func (r request) version() int {
	if r.APIVersion == nil {
		return 1
	}
	return *r.APIVersion
}
