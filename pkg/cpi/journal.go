package cpi

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// journal is the log of one call: it goes to stderr as it is written and into the answer at the end, without secrets.
type journal struct {
	mu      sync.Mutex
	stderr  io.Writer
	text    strings.Builder
	secrets *strings.Replacer
}

// maxLog bounds the log in an answer, in bytes; stderr gets everything.
const maxLog = 64 << 10

func newJournal(stderr io.Writer) *journal {
	return &journal{stderr: stderr, secrets: strings.NewReplacer()}
}

// logger writes to the journal.
func (j *journal) logger() klog.Logger {
	return textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(j)))
}

// hide replaces values from now on.
func (j *journal) hide(values []string) {
	var pairs []string
	for _, v := range values {
		pairs = append(pairs, v, "<redacted>")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.secrets = strings.NewReplacer(pairs...)
}

// clean is a text without secrets.
func (j *journal) clean(text string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.secrets.Replace(text)
}

// Write implements io.Writer.
func (j *journal) Write(b []byte) (int, error) {
	text := j.clean(string(b))
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.text.Len()+len(text) <= maxLog {
		j.text.WriteString(text)
	}
	_, _ = io.WriteString(j.stderr, text) // the answer has it too
	return len(b), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.ToValidUTF8(j.text.String(), "?")
}

// Recorder is told of the requests that a call makes; the log says which were refused for their rate.
type Recorder struct{ log klog.Logger }

// NewRecorder makes a Recorder that writes to the context's log.
func NewRecorder(ctx context.Context) Recorder { return Recorder{klog.FromContext(ctx)} }

// AWSRequest notes one request. What is refused is logged where it happens: the call may wait for it to pass.
func (r Recorder) AWSRequest(service, operation, code string, throttled bool, took time.Duration) {
	if throttled {
		r.log.Info("The cloud refused a request for its rate; waiting to ask again", "request", service+":"+operation, "code", code)
		return
	}
	if code != "" {
		r.log.Info("The cloud refused a request", "request", service+":"+operation, "code", code)
		return
	}
	r.log.V(2).Info("Asked the cloud", "request", service+":"+operation, "code", code, "took", took.String())
}
