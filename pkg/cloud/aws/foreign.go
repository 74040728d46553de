package aws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// foreign is an answer that AWS did not write, but a proxy, a captive portal or another server.
type foreign struct{ status, content string }

func (f foreign) Error() string {
	return "answered " + f.status + " (" + f.content + "), not as AWS does; if it lasts, " + wayToAWS
}

// wayToAWS is what to look at where AWS is not reached.
const wayToAWS = "look at the network, the proxy, the region and the endpoint"

// proxyAnswered makes a proxy's refusal of a way to AWS an error that says whose it is.
func proxyAnswered(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("the proxy " + proxy.Host + " answers " + answer.Status)}
}

func foreignOf(r *http.Response) foreign {
	f := foreign{status: r.Status, content: "no content type"}
	if f.status == "" {
		f.status = http.StatusText(r.StatusCode)
	}
	if c, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); c != "" {
		f.content = c
	}
	return f
}

// refuseForeign adds the step before decoding: the SDK takes every answer with status 200 for success, also a web page, and
// what it does not find in there for absent.
func refuseForeign(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("diskbridge.Foreign", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, meta, err := next.HandleDeserialize(ctx, in)
		if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && err == nil && resp.StatusCode/100 == 2 && !native(ctx, resp) {
			err = foreignOf(resp.Response)
		}
		return out, meta, err
	}), middleware.After)
}

// native reports whether a successful answer is AWS's: EC2's begins with the name of the operation, and nobody's is a web page,
// but that which somebody keeps in a bucket.
// https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html#response-serialization
func native(ctx context.Context, resp *smithyhttp.Response) bool {
	const beginning = 512
	operation := awsmiddleware.GetOperationName(ctx)
	if awsmiddleware.GetServiceID(ctx) != "EC2" {
		return operation == "GetObject" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
	}
	body := bufio.NewReaderSize(resp.Body, beginning)
	head, err := body.Peek(beginning)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	if err != nil && !errors.Is(err, io.EOF) {
		return true // who decodes it meets the same error
	}
	return bytes.Contains(head, []byte("<"+operation+"Response"))
}
