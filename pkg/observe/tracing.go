package observe

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/stats"
)

// Tracing sends one span per RPC to an OTLP gRPC collector at endpoint, HOST:PORT.
// Call stop to flush what is not sent yet.
func Tracing(ctx context.Context, endpoint string) (handler stats.Handler, stop func(context.Context) error, err error) {
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure())
	if err != nil {
		return nil, nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	return otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(provider)), provider.Shutdown, nil
}
