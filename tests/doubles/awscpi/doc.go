// Package awscpi is a double of bosh-aws-cpi v107 as far as disks, VMs and their tags go (cloud_v1.rb, cloud_core.rb,
// sdk_helpers), its gaps included. It knows EC2's API and BOSH's; nothing of ours.
package awscpi
