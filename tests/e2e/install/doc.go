// Package install puts into a cluster what a user's cluster has: snapshots' definitions and controller, and the driver from
// its chart with Helm. It knows the chart's values, and nothing of how the cluster runs.
package install
