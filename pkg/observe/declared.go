package observe

import "github.com/prometheus/client_golang/prometheus"

// Metric declares one metric: the code, the reference page and the tests of the
// dashboard and the alerts read the same declaration.
type Metric struct {
	Name, Type, Help string // Type is counter, gauge or histogram
	Labels           []string
	buckets          []float64
}

// Declared lists every metric of ours, in the order of the reference page. Labels are
// of few values: never a volume, a claim or a node.
func Declared() []Metric {
	return []Metric{
		rpcDuration(), awsDuration(), awsErrors(), awsThrottles(), batchKeys(),
		pendingDetaches(), oldestDetach(), nodeAttached(), nodeLimit(), nodeFailed(), lostMounts(), unboundedMounts(),
	}
}

func rpcDuration() Metric {
	return Metric{
		Name: "diskbridge_csi_request_duration_seconds", Type: "histogram", Labels: []string{"driver", "method", "code"},
		Help:    "Time from a CSI request to its answer; code is the gRPC code's name, OK for success.",
		buckets: prometheus.ExponentialBuckets(0.005, 2, 15),
	}
}

func awsDuration() Metric {
	return Metric{
		Name: "diskbridge_aws_request_duration_seconds", Type: "histogram", Labels: []string{"service", "operation", "outcome"},
		Help:    "Time of each request to AWS, repeated ones counted one by one; outcome is ok, throttled or error.",
		buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
	}
}

func awsErrors() Metric {
	return Metric{
		Name: "diskbridge_aws_request_errors_total", Type: "counter", Labels: []string{"service", "operation", "code"},
		Help: "Requests that AWS refused, except for their rate; code is AWS's own, NoAnswer where the answer was lost.",
	}
}

func awsThrottles() Metric {
	return Metric{
		Name: "diskbridge_aws_requests_throttled_total", Type: "counter", Labels: []string{"service", "operation"},
		Help: "Requests that AWS refused for their rate; they are repeated.",
	}
}

func batchKeys() Metric {
	return Metric{
		Name: "diskbridge_aws_batch_keys", Type: "histogram", Labels: []string{"batch"},
		Help:    "Keys (ids or names) that callers share in one batched read of AWS.",
		buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200},
	}
}

func pendingDetaches() Metric {
	return Metric{
		Name: "diskbridge_pending_detaches", Type: "gauge", Labels: []string{"driver"},
		Help: "Detachments that were asked for and that EC2 does not show as done yet.",
	}
}

func oldestDetach() Metric {
	return Metric{
		Name: "diskbridge_pending_detach_oldest_seconds", Type: "gauge", Labels: []string{"driver"},
		Help: "Time since the oldest pending detachment was asked for first; 0 if there is none.",
	}
}

func nodeAttached() Metric {
	return Metric{
		Name: "diskbridge_node_attached_volumes", Type: "gauge", Labels: []string{"driver"},
		Help: "Volumes of this driver that the node's kernel shows (sysfs).",
	}
}

func nodeLimit() Metric {
	return Metric{
		Name: "diskbridge_node_attach_limit_volumes", Type: "gauge", Labels: []string{"driver"},
		Help: "Volumes of this driver that the node takes, as NodeGetInfo answers.",
	}
}

func nodeFailed() Metric {
	return Metric{
		Name: "diskbridge_node_failed_volumes", Type: "gauge", Labels: []string{"driver"},
		Help: "Volumes of this driver on the node in whose file system the kernel found an error, or which it made read-only after one.",
	}
}

func lostMounts() Metric {
	return Metric{
		Name: "diskbridge_mounts_lost_total", Type: "counter", Labels: []string{"driver", "reason"},
		Help: "Mounts whose program ended and that were mounted again, by reason (out-of-memory, other); containers that ran may not see them before their pod is restarted.",
	}
}

func unboundedMounts() Metric {
	return Metric{
		Name: "diskbridge_mounts_memory_unbounded", Type: "gauge", Labels: []string{"driver"},
		Help: "1 if the mounter cannot give each mount a memory limit of its own, so that one may end all; its log and an event on the Node say why. Otherwise 0.",
	}
}

func (m Metric) histogram() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: m.buckets}, m.Labels)
}

func (m Metric) counter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

func (m Metric) gauge() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

func (m Metric) desc() *prometheus.Desc { return prometheus.NewDesc(m.Name, m.Help, m.Labels, nil) }
