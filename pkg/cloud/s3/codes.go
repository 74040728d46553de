package s3

import (
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

// codes says what each error code of S3 means for the caller.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var codes = map[string]fault.Kind{
	"NoSuchBucket": fault.NotFound,
	"NoSuchKey":    fault.NotFound,
	"NoSuchUpload": fault.NotFound,
	"NotFound":     fault.NotFound, // of HEAD, which has no body

	"BucketAlreadyExists":     fault.Conflict,
	"BucketAlreadyOwnedByYou": fault.Conflict,
	"PreconditionFailed":      fault.Conflict,

	"BucketNotEmpty":     fault.InUse,
	"InvalidBucketState": fault.InUse,

	"TooManyBuckets": fault.Limit,

	"ConditionalRequestConflict": fault.Pending,
	"OperationAborted":           fault.Pending, // another operation on the bucket is in progress

	"AuthorizationHeaderMalformed":       fault.Invalid, // another region
	"IllegalLocationConstraintException": fault.Invalid,
	"InvalidArgument":                    fault.Invalid,
	"InvalidBucketName":                  fault.Invalid,
	"InvalidLocationConstraint":          fault.Invalid,
	"InvalidRequest":                     fault.Invalid,
	"InvalidTag":                         fault.Invalid,
	"MalformedXML":                       fault.Unsupported, // ours is well-formed: the server does not know it
	"MethodNotAllowed":                   fault.Unsupported,
	"NotImplemented":                     fault.Unsupported,

	"AllAccessDisabled":    fault.Denied,
	"Forbidden":            fault.Denied, // of HEAD
	"InvalidAccessKeyId":   fault.Denied,
	"InvalidToken":         fault.Denied,
	"RequestTimeTooSkewed": fault.Denied,

	"InternalError":      fault.UnknownOutcome,
	"ServiceUnavailable": fault.Unavailable,
}

func read(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Codes: codes}
}

func mutate(op, subject string) aws.Call {
	return aws.Call{Op: op, Subject: subject, Mutates: true, Codes: codes}
}
