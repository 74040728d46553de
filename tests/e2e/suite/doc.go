// Package suite runs Kubernetes' own External Storage suite against the driver, and tells what it found as a page of the
// documentation; it knows the suite's reports, and nothing of the driver but its driver file.
package suite
