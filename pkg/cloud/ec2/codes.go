package ec2

import (
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// codes says what each error code of EC2 means for the caller.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
var codes = map[string]fault.Kind{
	"IdempotentParameterMismatch": fault.Conflict,

	"InvalidAttachment.NotFound":         fault.NotFound,
	"InvalidInstanceID.NotFound":         fault.NotFound,
	"InvalidGroup.NotFound":              fault.NotFound,
	"InvalidSnapshot.NotFound":           fault.NotFound,
	"InvalidSubnetID.NotFound":           fault.NotFound,
	"InvalidVolume.NotFound":             fault.NotFound,
	"InvalidVolumeModification.NotFound": fault.NotFound,

	"FilterLimitExceeded":          fault.Internal,
	"InvalidID":                    fault.Invalid,
	"InvalidInstanceID":            fault.Invalid,
	"InvalidInstanceID.Malformed":  fault.Invalid,
	"CustomerKeyHasBeenRevoked":    fault.Denied,
	"InvalidKmsKey.InvalidState":   fault.Denied,
	"EncryptedVolumesNotSupported": fault.Invalid,
	"InvalidNextToken":             fault.Invalid,
	"InvalidSnapshotID.Malformed":  fault.Invalid,
	"InvalidVolume.ZoneMismatch":   fault.Invalid,
	"InvalidVolumeID.Malformed":    fault.Invalid,
	"InvalidZone.NotFound":         fault.Invalid,
	"TagLimitExceeded":             fault.Invalid,
	"TagPolicyViolation":           fault.Invalid,
	"UnknownVolumeType":            fault.Invalid,

	"DependencyViolation":    fault.InUse,
	"IncorrectInstanceState": fault.InUse,
	"IncorrectState":         fault.InUse,
	"InvalidSnapshot.InUse":  fault.InUse,
	"SnapshotLocked":         fault.InUse,
	"VolumeInUse":            fault.InUse,

	// Definite refusals: nothing was changed, and EC2 names the state or the time that has to pass.
	"IncorrectModificationState":     fault.FailedPrecondition,
	"VolumeModificationRateExceeded": fault.FailedPrecondition,

	// A rate that is used up comes back by itself within seconds.
	"ConcurrentTagAccess":                   fault.Unavailable,
	"SnapshotCreationPerVolumeRateExceeded": fault.Unavailable,

	"ConcurrentSnapshotLimitExceeded":         fault.Limit,
	"PendingSnapshotLimitExceeded":            fault.Limit,
	"InsufficientVolumeCapacity":              fault.Limit,
	"AttachmentLimitExceeded":                 fault.Limit,
	"MaxIOPSLimitExceeded":                    fault.Limit,
	"ResourceLimitExceeded":                   fault.Limit,
	"SnapshotLimitExceeded":                   fault.Limit,
	"VolumeIOPSLimit":                         fault.Limit,
	"VolumeLimitExceeded":                     fault.Limit,
	"VolumeModificationSizeLimitExceeded":     fault.Limit,
	"VolumeTypeNotAvailableInZone":            fault.Limit,
	"InvalidVolumeModification.LimitExceeded": fault.Limit,

	"InternalError":      fault.UnknownOutcome,
	"InternalFailure":    fault.UnknownOutcome,
	"ServerInternal":     fault.UnknownOutcome,
	"ServiceUnavailable": fault.UnknownOutcome,
	"Unavailable":        fault.UnknownOutcome,
}

// advice is what a user can do, where EC2's own text does not say it.
var advice = func() map[string]string {
	const (
		quota     = "delete what is not needed, or ask for a higher quota of EBS in Service Quotas"
		elsewhere = "allow another zone or another type"
		pending   = "wait until snapshots that are still pending are complete"
		key       = "enable the KMS key of the volume, or name another one in kmsKeyId"
	)
	return map[string]string{
		"ConcurrentSnapshotLimitExceeded": pending, "PendingSnapshotLimitExceeded": pending,
		"CustomerKeyHasBeenRevoked": key, "InvalidKmsKey.InvalidState": key,
		"EncryptedVolumesNotSupported": "use an instance type that supports encrypted EBS volumes",
		"InsufficientVolumeCapacity":   elsewhere, "VolumeTypeNotAvailableInZone": elsewhere,
		"MaxIOPSLimitExceeded": quota, "ResourceLimitExceeded": quota, "SnapshotLimitExceeded": quota, "VolumeLimitExceeded": quota,
		"SnapshotLocked":     "unlock the snapshot, or delete it once its lock has expired (aws ec2 describe-locked-snapshots)",
		"TagLimitExceeded":   "a resource has at most 50 tags: remove some from it",
		"TagPolicyViolation": "set the tags that the organization's tag policy asks for (tagSpecification_N, --tags)",
	}
}()

func read(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Codes: codes}
}

func mutate(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Mutates: true, Codes: codes, Advice: advice}
}
