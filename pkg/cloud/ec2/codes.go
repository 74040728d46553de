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

	"FilterLimitExceeded":         fault.Internal,
	"InvalidID":                   fault.Invalid,
	"InvalidInstanceID":           fault.Invalid,
	"InvalidInstanceID.Malformed": fault.Invalid,
	"InvalidKmsKey.InvalidState":  fault.Denied,
	"InvalidNextToken":            fault.Invalid,
	"InvalidSnapshotID.Malformed": fault.Invalid,
	"InvalidVolume.ZoneMismatch":  fault.Invalid,
	"InvalidVolumeID.Malformed":   fault.Invalid,
	"InvalidZone.NotFound":        fault.Invalid,
	"TagLimitExceeded":            fault.Invalid,
	"UnknownVolumeType":           fault.Invalid,

	"DependencyViolation":    fault.InUse,
	"IncorrectInstanceState": fault.InUse,
	"IncorrectState":         fault.InUse,
	"InvalidSnapshot.InUse":  fault.InUse,
	"VolumeInUse":            fault.InUse,

	// A modification that still runs ends by itself, and a rate that is used up comes back.
	"ConcurrentSnapshotLimitExceeded":         fault.Unavailable,
	"ConcurrentTagAccess":                     fault.Unavailable,
	"IncorrectModificationState":              fault.Pending,
	"SnapshotCreationPerVolumeRateExceeded":   fault.Unavailable,
	"VolumeModificationRateExceeded":          fault.Unavailable,
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

// advice is what to do about a quota, and about a zone that has nothing left.
var advice = func() map[string]string {
	const quota = "delete what is not needed, or ask for a higher quota of EBS in Service Quotas"
	const elsewhere = "allow another zone or another type"
	out := map[string]string{
		"InsufficientVolumeCapacity": elsewhere, "VolumeTypeNotAvailableInZone": elsewhere,
		"TagLimitExceeded": "a resource has at most 50 tags: remove some from it",
	}
	for _, code := range []string{"MaxIOPSLimitExceeded", "ResourceLimitExceeded", "SnapshotLimitExceeded", "VolumeLimitExceeded"} {
		out[code] = quota
	}
	return out
}()

func read(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Codes: codes}
}

func mutate(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Mutates: true, Codes: codes, Advice: advice}
}
