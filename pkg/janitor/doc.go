// Package janitor removes the directories of volumes that were deleted: it asks which there are, has each one removed
// through a mount, and says that it is done. It must not know the cloud, nor how something is mounted.
package janitor
