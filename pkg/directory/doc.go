// Package directory makes, claims and removes the directories of a shared file system that volumes live in. It knows the
// files of a mounted root and their markers; it must not know how the root was mounted, or by whom.
package directory
