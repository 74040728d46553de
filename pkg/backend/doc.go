// Package backend says what a kind of disk can do: the Backend interface, its
// optional roles, declared parameters and the description by which the front doors
// know a kind. It knows no kind, no cloud and no protobuf.
package backend
