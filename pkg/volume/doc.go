// Package volume is the vocabulary that every layer of diskbridge shares:
// handles, capacities, capabilities, topology, requests and the plans a node
// executes. It knows no cloud, no protobuf and no JSON, only the standard library.
package volume
