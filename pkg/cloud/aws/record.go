package aws

import (
	"context"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// watch adds a step after the retryer, so that every attempt is counted and its
// time is the request's own. It also notices an emulator by its header.
func (s *Session) watch(recorder Recorder) func(*middleware.Stack) error {
	step := middleware.DeserializeMiddlewareFunc("diskbridge.Watch", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		start := time.Now()
		out, meta, err := next.HandleDeserialize(ctx, in)
		if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp != nil {
			if profile := resp.Header.Get(emulatorHeader); profile != "" {
				s.emulator.Store(&profile)
			}
		}
		if recorder != nil {
			recorder.AWSRequest(awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx), told(err), Throttled(err), time.Since(start))
		}
		return out, meta, err
	})
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(step, middleware.Before)
	}
}

// told is the error's code for a Recorder.
func told(err error) string {
	if c := code(err); c != "" || err == nil {
		return c
	}
	return "NoAnswer"
}
