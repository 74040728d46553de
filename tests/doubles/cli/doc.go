// Package cli is a double of the bosh CLI's create-env where it calls a CPI (cloudfoundry/bosh-cli v7.10: cloud/,
// cpi_cmd_runner.go). It knows a CPI's executable; nothing of ours.
package cli
