package wire

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Time is a timestamp as the Query protocols write it; the zero time is left out where the field says omitempty.
type Time string

// NewTime writes t, or nothing if it is zero.
func NewTime(t time.Time) Time {
	if t.IsZero() {
		return ""
	}
	return Time(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// Protocol writes answers.
type Protocol interface {
	// Success is the body of an answer.
	Success(action, requestID string, body any) (contentType string, data []byte, err error)
	// Failure is the body of an error.
	Failure(requestID string, e *Error) (contentType string, data []byte)
}

// The protocols.
var (
	_ Protocol = EC2{}
	_ Protocol = Query{}
	_ Protocol = JSON{}
	_ Protocol = RESTJSON{}
)

const xmlType = "text/xml;charset=UTF-8"

// EC2 is the EC2 Query protocol: https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html
type EC2 struct{}

// Success is <ActionResponse><requestId/>fields of body…</ActionResponse>.
func (EC2) Success(action, requestID string, body any) (string, []byte, error) {
	const namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
	data, err := element(action+"Response", namespace, body)
	if err != nil {
		return "", nil, err
	}
	head, rest, _ := bytes.Cut(data, []byte(">"))
	return xmlType, fmt.Appendf(nil, "%s%s><requestId>%s</requestId>%s", xml.Header, head, requestID, rest), nil
}

// Failure is <Response><Errors><Error/></Errors><RequestID/></Response>.
func (EC2) Failure(requestID string, e *Error) (string, []byte) {
	return xmlType, fmt.Appendf(nil,
		"%s<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>",
		xml.Header, escape(e.Code), escape(e.Message), requestID)
}

// Query is the AWS Query protocol: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
type Query struct{ Namespace string }

// Success is <ActionResponse><ActionResult>…</ActionResult><ResponseMetadata/></ActionResponse>.
func (q Query) Success(action, requestID string, body any) (string, []byte, error) {
	data, err := element(action+"Result", "", body)
	if err != nil {
		return "", nil, err
	}
	return xmlType, fmt.Appendf(nil,
		"%s<%sResponse xmlns=%q>%s<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>",
		xml.Header, action, q.Namespace, data, requestID, action), nil
}

// Failure is <ErrorResponse><Error/><RequestId/></ErrorResponse>.
func (q Query) Failure(requestID string, e *Error) (string, []byte) {
	fault := "Sender"
	if e.Status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	return xmlType, fmt.Appendf(nil,
		"%s<ErrorResponse xmlns=%q><Error><Type>%s</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>",
		xml.Header, q.Namespace, fault, escape(e.Code), escape(e.Message), requestID)
}

// JSON is the JSON 1.1 protocol: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
type JSON struct{}

const jsonType = "application/x-amz-json-1.1"

// Success is the body as JSON.
func (JSON) Success(_, _ string, body any) (string, []byte, error) {
	data, err := json.Marshal(body)
	return jsonType, data, err
}

// Failure is {"__type":…,"message":…}.
func (JSON) Failure(_ string, e *Error) (string, []byte) {
	data, _ := json.Marshal(map[string]string{"__type": e.Code, "message": e.Message}) // strings always marshal
	return jsonType, data
}

// RESTJSON is the REST JSON protocol: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
type RESTJSON struct{}

// Success is the body as JSON; nil has no body.
func (RESTJSON) Success(_, _ string, body any) (string, []byte, error) {
	if body == nil {
		return "application/json", nil, nil
	}
	data, err := json.Marshal(body)
	return "application/json", data, err
}

// Failure is {"ErrorCode":…,"Message":…} and what else the error's shape has, as EFS writes it.
func (RESTJSON) Failure(_ string, e *Error) (string, []byte) {
	members := map[string]string{"ErrorCode": e.Code, "Message": e.Message}
	maps.Copy(members, e.Fields)
	data, _ := json.Marshal(members) // strings always marshal
	return "application/json", data
}

func element(name, namespace string, body any) ([]byte, error) {
	start := xml.StartElement{Name: xml.Name{Local: name}}
	if namespace != "" {
		start.Attr = []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}
	}
	var b bytes.Buffer
	if err := xml.NewEncoder(&b).EncodeElement(body, start); err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return b.Bytes(), nil
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}
