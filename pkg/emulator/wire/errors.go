package wire

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is an error that a caller of AWS sees.
// Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
type Error struct {
	Code, Message string
	Status        int               // HTTP
	Fields        map[string]string // further members that the error's shape has; JSON protocols only
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf is a client error (HTTP 400) with that code.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

// Coded is the error that AWS gives with a code where only the code is known, as in injected faults.
func Coded(code string) *Error {
	switch code {
	case "RequestLimitExceeded", "Throttling":
		return &Error{Code: code, Message: "Request limit exceeded.", Status: http.StatusServiceUnavailable}
	case "InternalError", "InternalFailure":
		return &Error{Code: code, Message: "An internal error has occurred", Status: http.StatusInternalServerError}
	case "Unavailable", "ServiceUnavailable":
		return &Error{Code: code, Message: "The service is unavailable. Please try again shortly.", Status: http.StatusServiceUnavailable}
	case "UnauthorizedOperation":
		return &Error{Code: code, Message: "You are not authorized to perform this operation.", Status: http.StatusForbidden}
	case "AuthFailure":
		return &Error{Code: code, Message: "AWS was not able to validate the provided access credentials", Status: http.StatusUnauthorized}
	case "DryRunOperation":
		return &Error{Code: code, Message: "Request would have succeeded, but DryRun flag is set.", Status: http.StatusPreconditionFailed}
	case "InsufficientVolumeCapacity", "InsufficientInstanceCapacity":
		return &Error{Code: code, Message: "There is not enough capacity to fulfill your request.", Status: http.StatusInternalServerError}
	case "VolumeLimitExceeded":
		return Errorf(code, "You have exceeded your maximum gp3 storage limit in this region.")
	}
	e := Errorf(code, "An error of kind %s was requested of the emulator.", code)
	if status, ok := s3Statuses[code]; ok {
		e.Status = status
	}
	return e
}

// s3Statuses are those of S3's codes that are not 400.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
var s3Statuses = map[string]int{
	"AccessDenied": http.StatusForbidden, "AccountProblem": http.StatusForbidden, "AllAccessDisabled": http.StatusForbidden,
	"InvalidAccessKeyId": http.StatusForbidden, "InvalidObjectState": http.StatusForbidden, "RequestTimeTooSkewed": http.StatusForbidden, "SignatureDoesNotMatch": http.StatusForbidden,
	"NoSuchBucket": http.StatusNotFound, "NoSuchKey": http.StatusNotFound, "NoSuchUpload": http.StatusNotFound, "NoSuchVersion": http.StatusNotFound,
	"MethodNotAllowed":    http.StatusMethodNotAllowed,
	"BucketAlreadyExists": http.StatusConflict, "BucketAlreadyOwnedByYou": http.StatusConflict, "BucketNotEmpty": http.StatusConflict,
	"ConditionalRequestConflict": http.StatusConflict, "OperationAborted": http.StatusConflict,
	"MissingContentLength": http.StatusLengthRequired, "PreconditionFailed": http.StatusPreconditionFailed, "InvalidRange": http.StatusRequestedRangeNotSatisfiable,
	"NotImplemented": http.StatusNotImplemented,
	"SlowDown":       http.StatusServiceUnavailable, "Busy": http.StatusServiceUnavailable,
}

// AsError is what a caller sees of an error: an AWS error as it is, everything else as an internal one
// whose text says what went wrong inside the emulator.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: "InternalError", Message: "An internal error has occurred (emulator: " + err.Error() + ")", Status: http.StatusInternalServerError}
}

// ForService gives an authentication error the code that the service has for it.
// https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html, https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func ForService(service string, e *Error) *Error {
	codes := map[string]map[string]string{
		"ec2": {"SignatureDoesNotMatch": "AuthFailure"},
		"kms": {
			"MissingAuthenticationToken": "MissingAuthenticationTokenException", "IncompleteSignature": "IncompleteSignatureException",
			"SignatureDoesNotMatch": "InvalidSignatureException", "RequestExpired": "InvalidSignatureException",
			"AuthFailure": "UnrecognizedClientException", "ExpiredToken": "ExpiredTokenException",
			"InternalError": "KMSInternalException", "RequestLimitExceeded": "ThrottlingException",
		},
		"elasticfilesystem": {
			"MissingAuthenticationToken": "MissingAuthenticationTokenException", "IncompleteSignature": "IncompleteSignatureException",
			"SignatureDoesNotMatch": "InvalidSignatureException", "RequestExpired": "InvalidSignatureException",
			"AuthFailure": "UnrecognizedClientException", "ExpiredToken": "ExpiredTokenException",
			"InternalError": "InternalServerError", "RequestLimitExceeded": "ThrottlingException", "UnauthorizedOperation": "AccessDeniedException",
		},
		"s3": {
			"MissingAuthenticationToken": "AccessDenied", "IncompleteSignature": "AuthorizationHeaderMalformed", "AuthFailure": "InvalidAccessKeyId",
			"RequestExpired": "RequestTimeTooSkewed", "RequestLimitExceeded": "SlowDown", "UnauthorizedOperation": "AccessDenied",
		},
		"sts": {"AuthFailure": "InvalidClientTokenId", "RequestExpired": "SignatureDoesNotMatch", "RequestLimitExceeded": "Throttling"},
	}
	code, ok := codes[service][e.Code]
	if !ok {
		return e
	}
	status := e.Status
	switch code {
	case "AuthFailure":
		status = http.StatusUnauthorized
	case "InvalidAccessKeyId", "RequestTimeTooSkewed":
		status = http.StatusForbidden
	}
	return &Error{Code: code, Message: e.Message, Status: status, Fields: e.Fields}
}
