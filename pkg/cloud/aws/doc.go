// Package aws loads the SDK's configuration and turns AWS errors into outcomes
// (pkg/fault). It knows no service; SDK types never leave pkg/cloud.
package aws
