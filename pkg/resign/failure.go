package resign

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"net/http"
)

// failure is an error as S3 tells it.
type failure struct {
	status        int
	code, message string
	err           error // cause; may be nil
}

func (f *failure) Error() string {
	if f.err != nil {
		return f.message + ": " + f.err.Error()
	}
	return f.message
}

func (f *failure) Unwrap() error { return f.err }

func denied(format string, args ...any) *failure {
	return &failure{status: http.StatusForbidden, code: "AccessDenied", message: fmt.Sprintf(format, args...)}
}

// unavailable is a failure after which a program shall repeat its request: s3fs does so at 500 and 503, and at no other status.
func unavailable(err error, format string, args ...any) *failure {
	return &failure{status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: fmt.Sprintf(format, args...), err: err}
}

// refuse answers an error as S3 does: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func refuse(w http.ResponseWriter, f *failure) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Connection", "close") // the body is not read
	w.WriteHeader(f.status)
	var text bytes.Buffer
	_ = xml.EscapeText(&text, []byte(f.Error()))                                                                       // a buffer takes everything
	_, _ = fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>%s</Message></Error>\n", xml.Header, f.code, text.Bytes()) // the caller may be gone
}

// silent drops what net/http would log by itself: it is about callers that went away.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
