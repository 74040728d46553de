// Package broker is the one disk engine behind both front doors: it routes a
// request to the backend that owns the handle and keeps two operations on one
// volume or one name apart. It knows no protocol and no cloud.
package broker
