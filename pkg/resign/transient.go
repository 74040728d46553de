package resign

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// transientCodes are S3's errors that a later request may not meet, whatever their status is: s3fs repeats a request at
// 500 and 503 only, and ends a write at any other status.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and the codes that AWS's SDK retries:
// https://pkg.go.dev/github.com/aws/aws-sdk-go-v2/aws/retry#pkg-variables
var transientCodes = []string{
	"RequestTimeout", "RequestTimeoutException", "RequestTimeTooSkewed", "InternalError", "InternalFailure", "ServiceUnavailable", "Busy", "ServerBusy",
	"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
	"RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequests", "TooManyRequestsException",
	"OperationAborted", "ConditionalRequestConflict", "PriorRequestNotComplete",
}

// transientStatuses are what gateways on the way answer while there is no S3 behind them.
var transientStatuses = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout}

// maxError bounds what of an error is read, in bytes.
const maxError = 64 << 10

// transient says that the server's answer may be another if it is asked once more; nil where it stands. The answer's body
// can be read afterwards as before.
func (t Target) transient(r *http.Request, answer *http.Response) *failure {
	if slices.Contains(transientStatuses, answer.StatusCode) {
		return unavailable(nil, "the server at %s answers %s", r.URL.Host, answer.Status)
	}
	switch answer.StatusCode {
	case http.StatusInternalServerError, http.StatusServiceUnavailable:
		return nil
	case http.StatusOK:
		if answersLate(r) {
			answer.Body = &lateBody{ReadCloser: answer.Body, report: func(said serverError) error {
				err := fmt.Errorf("%s of bucket %s: the server at %s answers %s, and then %s (%.200s)", r.Method, t.Bucket, r.URL.Host, answer.Status, said.Code, said.Message)
				if t.Report != nil {
					t.Report(err)
				}
				return err
			}}
		}
		return nil
	}
	if answer.StatusCode < http.StatusBadRequest || r.Method == http.MethodHead {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxError))
	if err != nil {
		return unavailable(err, "the answer of the server at %s (%s) breaks off", r.URL.Host, answer.Status)
	}
	rest := answer.Body
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), rest), rest}
	said := readError(text)
	if !slices.Contains(transientCodes, said.Code) {
		return nil
	}
	f := unavailable(nil, "the server at %s answers %s: %s (%.200s)", r.URL.Host, answer.Status, said.Code, said.Message)
	if said.Code == "RequestTimeTooSkewed" {
		f.message += fmt.Sprintf("; its clock says %s: check this machine's clock", answer.Header.Get("Date"))
	}
	return f
}

// serverError is an error as S3 tells it.
type serverError struct {
	XMLName xml.Name
	Code    string
	Message string
}

// readError reads an error; what is none has no code.
func readError(text []byte) (e serverError) {
	if xml.Unmarshal(text, &e) != nil || e.XMLName.Local != "Error" {
		return serverError{}
	}
	return e
}

// answersLate reports whether a request is one that S3 answers with 200 before it knows whether it succeeds: copies, and
// joining an upload's parts. s3fs takes the status for the outcome, and a rename deletes its source then.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func answersLate(r *http.Request) bool {
	return r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "" || r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

// lateBody breaks an answer off that turns out to be an error, so that the program sees no success and asks again.
type lateBody struct {
	io.ReadCloser

	report func(serverError) error
	text   []byte // what was read so far
}

// Read implements io.Reader.
func (b *lateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if len(b.text) < maxError {
		b.text = append(bytes.TrimLeft(b.text, " \r\n\t"), p[:n]...)
	}
	if root(b.text) == "Error" {
		rest, _ := io.ReadAll(io.LimitReader(b.ReadCloser, maxError)) // without it the error has no code
		return 0, b.report(readError(append(b.text, rest...)))
	}
	return n, err
}

// root is the name of the outermost element of what was read of an XML document; "" while it is not there.
func root(text []byte) string {
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		if start, ok := token.(xml.StartElement); ok {
			return start.Name.Local
		}
	}
}
