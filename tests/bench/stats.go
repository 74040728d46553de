package main

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// sample is one operation on one fleet.
type sample struct {
	took   []time.Duration // of the calls that succeeded, since all were sent
	wall   time.Duration   // until the last one ended
	errors int
	why    string // the last error
	calls  map[string]sandbox.Calls
}

// percentile is the smallest duration that p percent of all do not exceed, in seconds; 0 where there are none.
func (s sample) percentile(p float64) float64 {
	if len(s.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.took))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1].Seconds()
}

// asked is how many AWS calls were made, and how many of them AWS refused for their rate.
func (s sample) asked() (calls, throttled int) {
	for _, c := range s.calls {
		calls += c.OK + c.Throttled + c.Error
		throttled += c.Throttled
	}
	return calls, throttled
}

// difference is what was called in between.
func difference(before, after map[string]sandbox.Calls) map[string]sandbox.Calls {
	out := map[string]sandbox.Calls{}
	for name, a := range after {
		b := before[name]
		if d := (sandbox.Calls{OK: a.OK - b.OK, Throttled: a.Throttled - b.Throttled, Error: a.Error - b.Error}); d != (sandbox.Calls{}) {
			out[name] = d
		}
	}
	return out
}

// median is the middle one, or the mean of the two in the middle; 0 of nothing.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// round keeps milliseconds, or thousandths.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

func medianOf[T any](list []T, value func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = value(v)
	}
	return round(median(values))
}

// perOperation is how often each AWS call was made for one operation.
func perOperation(list []sample, n int) map[string]float64 {
	names := map[string]bool{}
	for _, s := range list {
		for name := range s.calls {
			names[name] = true
		}
	}
	out := map[string]float64{}
	for name := range maps.Keys(names) {
		out[name] = medianOf(list, func(s sample) float64 {
			c := s.calls[name]
			return float64(c.OK+c.Throttled+c.Error) / float64(n)
		})
	}
	return out
}
