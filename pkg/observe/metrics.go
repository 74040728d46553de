package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics counts RPCs and AWS requests. It is safe for concurrent use.
type Metrics struct {
	registry  *prometheus.Registry
	rpcs      *prometheus.HistogramVec
	aws       *prometheus.HistogramVec
	errors    *prometheus.CounterVec
	throttles *prometheus.CounterVec
	batches   *prometheus.HistogramVec
	lost      *prometheus.CounterVec
	unbounded *prometheus.GaugeVec
	failed    *prometheus.GaugeVec
}

// NewMetrics makes the metrics on a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		rpcs:     rpcDuration().histogram(), aws: awsDuration().histogram(), errors: awsErrors().counter(),
		throttles: awsThrottles().counter(), batches: batchKeys().histogram(), lost: lostMounts().counter(),
		unbounded: unboundedMounts().gauge(), failed: nodeFailed().gauge(),
	}
	m.registry.MustRegister(m.rpcs, m.aws, m.errors, m.throttles, m.batches, m.lost, m.unbounded, m.failed,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// RPC counts one CSI request.
func (m *Metrics) RPC(driver, method, code string, took time.Duration) {
	m.rpcs.WithLabelValues(driver, method, code).Observe(took.Seconds())
}

// AWSRequest counts one request to AWS. code is "" for success; throttled says that
// AWS refused the request for its rate.
func (m *Metrics) AWSRequest(service, operation, code string, throttled bool, took time.Duration) {
	outcome := "ok"
	switch {
	case throttled:
		outcome = "throttled"
		m.throttles.WithLabelValues(service, operation).Inc()
	case code != "":
		outcome = "error"
		m.errors.WithLabelValues(service, operation, code).Inc()
	}
	m.aws.WithLabelValues(service, operation, outcome).Observe(took.Seconds())
}

// LostMounts counts mounts of a driver that were lost and are there again: for want of memory, and for other reasons. None are
// counted too: then the metric is there.
func (m *Metrics) LostMounts(driver string, outOfMemory, other int) {
	m.lost.WithLabelValues(driver, "out-of-memory").Add(float64(outOfMemory))
	m.lost.WithLabelValues(driver, "other").Add(float64(other))
}

// UnboundedMounts shows whether mounts of a driver share one limit of memory.
func (m *Metrics) UnboundedMounts(driver string, yes bool) {
	value := 0.0
	if yes {
		value = 1
	}
	m.unbounded.WithLabelValues(driver).Set(value)
}

// FailedFileSystems sets how many volumes of a driver have a file system that the kernel ended after an error.
func (m *Metrics) FailedFileSystems(driver string, n int) {
	m.failed.WithLabelValues(driver).Set(float64(n))
}

// Batch counts one batched read and its keys.
func (m *Metrics) Batch(name string, keys int) {
	m.batches.WithLabelValues(name).Observe(float64(keys))
}

// WatchDetaches shows how many detachments of a driver are pending and since when the
// oldest is. read is asked at each scrape.
func (m *Metrics) WatchDetaches(driver string, read func() (pending int, oldest time.Duration)) {
	m.registry.MustRegister(pair{driver, pendingDetaches().desc(), oldestDetach().desc(), func() (float64, float64, error) {
		pending, oldest := read()
		return float64(pending), oldest.Seconds(), nil
	}})
}

// WatchNode shows how many volumes of a driver are attached to this node, and how many
// it takes. read is asked at each scrape; where it fails, the metrics are absent.
func (m *Metrics) WatchNode(driver string, read func() (attached, limit int64, err error)) {
	m.registry.MustRegister(pair{driver, nodeAttached().desc(), nodeLimit().desc(), func() (float64, float64, error) {
		attached, limit, err := read()
		return float64(attached), float64(limit), err
	}})
}

// pair is two gauges of one driver that are read together.
type pair struct {
	driver        string
	first, second *prometheus.Desc
	read          func() (float64, float64, error)
}

var _ prometheus.Collector = pair{}

// Describe sends nothing, so that each driver can have a pair: the values are checked
// when they are gathered.
func (p pair) Describe(chan<- *prometheus.Desc) {}

// Collect reads the two values.
func (p pair) Collect(out chan<- prometheus.Metric) {
	first, second, err := p.read()
	if err != nil {
		return
	}
	out <- prometheus.MustNewConstMetric(p.first, prometheus.GaugeValue, first, p.driver)
	out <- prometheus.MustNewConstMetric(p.second, prometheus.GaugeValue, second, p.driver)
}
