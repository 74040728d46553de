package efs

import (
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// codes says what each error code of EFS means for the caller.
// https://docs.aws.amazon.com/efs/latest/ug/API_Operations.html
var codes = map[string]fault.Kind{
	"AccessPointNotFound": fault.NotFound,
	"FileSystemNotFound":  fault.NotFound,
	"MountTargetNotFound": fault.NotFound,
	"PolicyNotFound":      fault.NotFound,

	"AccessPointAlreadyExists": fault.Conflict,
	"FileSystemAlreadyExists":  fault.Conflict,
	"MountTargetConflict":      fault.Conflict,

	"AvailabilityZonesMismatch":   fault.Invalid,
	"BadRequest":                  fault.Invalid,
	"InvalidPolicyException":      fault.Invalid,
	"SecurityGroupNotFound":       fault.Invalid,
	"SubnetNotFound":              fault.Invalid,
	"UnsupportedAvailabilityZone": fault.Invalid,

	"FileSystemInUse":   fault.InUse,
	"IpAddressInUse":    fault.InUse,
	"ConflictException": fault.InUse,

	"IncorrectFileSystemLifeCycleState": fault.Pending,
	"IncorrectMountTargetState":         fault.Pending,

	"AccessPointLimitExceeded":       fault.Limit,
	"FileSystemLimitExceeded":        fault.Limit,
	"InsufficientThroughputCapacity": fault.Limit,
	"NetworkInterfaceLimitExceeded":  fault.Limit,
	"NoFreeAddressesInSubnet":        fault.Limit,
	"SecurityGroupLimitExceeded":     fault.Limit,
	"ThroughputLimitExceeded":        fault.Limit,

	// Throughput may be lowered, and its mode changed, once in 24 hours: nothing was done.
	"TooManyRequests": fault.FailedPrecondition,

	"DependencyTimeout": fault.Unavailable,

	"InternalServerError": fault.UnknownOutcome,
}

// quotas explains the refusals for want of quota: which one it is and what counts towards it.
// https://docs.aws.amazon.com/efs/latest/ug/limits.html
var quotas = map[string]string{
	"FileSystemLimitExceeded":       "the quota is 1,000 file systems for each account and region, and every volume of provisioningMode filesystem is one; raise it in Service Quotas, or use provisioningMode directory",
	"NetworkInterfaceLimitExceeded": "the quota is 400 mount targets for each VPC (one for each file system and zone in use, so 133 file systems in three zones), or the region's network interfaces; raise it in Service Quotas, or use provisioningMode directory",
	"AccessPointLimitExceeded":      "the quota is 10,000 access points for each file system; give several file systems in fileSystemId, or use provisioningMode directory",
	"NoFreeAddressesInSubnet":       "every mount target needs a free address in its subnet; free some, or name another subnet of the zone in subnetIds",
	"SecurityGroupLimitExceeded":    "a mount target has at most 5 security groups; name fewer in securityGroupIds",
	"ThroughputLimitExceeded":       "provisioned throughput is limited for each account and region; raise it in Service Quotas, or ask for less",
}

func read(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Codes: codes}
}

func mutate(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Mutates: true, Codes: codes, Advice: quotas}
}
