// Package director is a double of BOSH's Director where it deals with disks (cloudfoundry/bosh v283: external_cpi.rb,
// disk_steps, cloud_check, orphan_disk_manager, dynamic disks). It knows a CPI's executable and agents; nothing of ours.
package director
