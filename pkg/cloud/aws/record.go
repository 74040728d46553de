package aws

import (
	"context"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// recordRequests adds a step after the retryer, so that every attempt is counted
// and the time is the request's own.
func recordRequests(r Recorder) func(*middleware.Stack) error {
	step := middleware.DeserializeMiddlewareFunc("diskbridge.Record", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		start := time.Now()
		out, meta, err := next.HandleDeserialize(ctx, in)
		r.AWSRequest(awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx), code(err), time.Since(start))
		return out, meta, err
	})
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(step, middleware.Before)
	}
}
