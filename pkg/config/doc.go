// Package config is the validated settings of diskbridge-csi. It declares the
// flags but reads neither arguments nor environment; that is cmd's.
package config
