// Package all is the list of the kinds of disk that diskbridge serves. It is, with
// cmd, the only place that names concrete kinds.
package all

import (
	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/backend/efs"
	"github.com/diskbridge/diskbridge/pkg/backend/s3"
)

// Kinds returns every kind, one line each.
func Kinds() backend.Registry {
	return backend.Registry{
		ebs.Kind(),
		efs.Kind(),
		s3.Kind(),
	}
}
