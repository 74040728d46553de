// Package chart renders the Helm chart as an operator would and judges the objects. `make chart` runs it, with the tag chart and
// the helm of tools/. It must not know how the templates come to their result.
package chart
