package ec2

import (
	"bytes"
	"context"
	"io"
	"net/http"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The shared reads carry hundreds of volumes, and most of what the driver computes is the
// SDK's general decoding of their XML. So the two answers that matter are read here, eight
// times as fast, and only what the driver knows of; and what says no more than that EC2 took
// a call is not read at all. Whatever is not plain XML as EC2 writes
// it (comments, CDATA, attributes below the root, entities other than XML's own, text
// beside elements, a broken number) is left to the SDK, from the first byte.

// quickly decodes a successful answer with read; where that returns false, the SDK does.
func quickly[Out any](read func(body []byte) (Out, bool)) func(*sdk.Options) {
	const id = "OperationDeserializer"
	return func(o *sdk.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			general, ok := stack.Deserialize.Get(id)
			if !ok {
				return nil // the SDK calls it otherwise now: it decodes by itself
			}
			_, err := stack.Deserialize.Swap(id, middleware.DeserializeMiddlewareFunc(id, func(
				ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
			) (middleware.DeserializeOutput, middleware.Metadata, error) {
				out, meta, err := next.HandleDeserialize(ctx, in)
				if response, ok := out.RawResponse.(*smithyhttp.Response); err == nil && ok && response.StatusCode == http.StatusOK {
					var body []byte
					if body, err = readBody(response); err == nil {
						if result, ok := read(body); ok {
							out.Result = result
							return out, meta, nil
						}
					}
				}
				return general.HandleDeserialize(ctx, in, answered{out, meta, err})
			}))
			return err
		})
	}
}

// unread is the reading of an answer that is not looked into: success says it all.
func unread[Out any]([]byte) (*Out, bool) { return new(Out), true }

// readBody takes the whole body and leaves it to be read again.
func readBody(r *smithyhttp.Response) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close() // all that counts is read
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// answered is a handler that has answered already.
type answered struct {
	out  middleware.DeserializeOutput
	meta middleware.Metadata
	err  error
}

func (a answered) HandleDeserialize(context.Context, middleware.DeserializeInput) (middleware.DeserializeOutput, middleware.Metadata, error) {
	return a.out, a.meta, a.err
}
