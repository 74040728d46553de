// Package image makes docker archives of container images without a container engine, from programs that are on this
// machine; it knows which programs each image has, and nothing of clusters.
package image
