package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics counts RPCs and AWS requests. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	rpcs     *prometheus.HistogramVec
	aws      *prometheus.HistogramVec
}

// NewMetrics makes the metrics on a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		rpcs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "diskbridge_csi_request_duration_seconds", Help: "Time from a CSI request to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 15),
		}, []string{"driver", "method", "code"}),
		aws: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "diskbridge_aws_request_duration_seconds", Help: "Time of each request to AWS, retries counted one by one; code is empty for success.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
		}, []string{"service", "operation", "code"}),
	}
	m.registry.MustRegister(m.rpcs, m.aws, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// RPC counts one CSI request.
func (m *Metrics) RPC(driver, method, code string, took time.Duration) {
	m.rpcs.WithLabelValues(driver, method, code).Observe(took.Seconds())
}

// AWSRequest counts one request to AWS.
func (m *Metrics) AWSRequest(service, operation, code string, took time.Duration) {
	m.aws.WithLabelValues(service, operation, code).Observe(took.Seconds())
}
