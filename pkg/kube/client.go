package kube

import (
	"context"
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// requestTimeout bounds one request; everything here answers in milliseconds.
const requestTimeout = 10 * time.Second

// Client talks to one API server.
type Client struct{ core rest.Interface }

// New makes a Client from a kubeconfig file or, where none is named, from the pod's own service account. No request is made yet.
func New(kubeconfig, userAgent string) (*Client, error) {
	const op = "read the access to Kubernetes"
	load := rest.InClusterConfig
	if kubeconfig != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	c, err := load()
	if err != nil {
		return nil, fault.New(fault.Invalid, op, kubeconfig, "%v", err)
	}
	core, scheme := schema.GroupVersion{Version: "v1"}, runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, core) // for refusals; objects are read by read
	c.APIPath, c.GroupVersion = "/api", &core
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.Timeout, c.UserAgent, c.QPS, c.Burst = requestTimeout, userAgent, 20, 40
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fault.New(fault.Invalid, op, kubeconfig, "%v", err)
	}
	return &Client{client}, nil
}

// ClusterID is what tells this cluster from all others, for its whole life: the UID of the namespace kube-system.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	var namespace object
	err := read(ctx, c.core.Get().Resource("namespaces").Name("kube-system"), &namespace)
	return namespace.Metadata.UID, problem("read namespace", "kube-system", err)
}

// object is what every object of Kubernetes says of itself. The few fields that are needed here are declared here: the module
// with all of them, k8s.io/api, would be an eighth of the program, and of its memory.
type object struct {
	Metadata metadata `json:"metadata"`
}

type metadata struct {
	Name            string            `json:"name"`
	Namespace       string            `json:"namespace,omitempty"`
	UID             string            `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
}

// read decodes what is asked for.
func read(ctx context.Context, request *rest.Request, into any) error {
	text, err := request.Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// problem gives an answer of the API server a kind. nil stays nil.
func problem(op, subject string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return &fault.Error{Op: op, Subject: subject, Kind: fault.NotFound, Err: err}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return &fault.Error{Op: op, Subject: subject, Kind: fault.Denied, Err: err, Message: "Kubernetes does not allow it; compare the service account's roles with the chart's"}
	case apierrors.IsConflict(err), apierrors.IsInvalid(err):
		return &fault.Error{Op: op, Subject: subject, Kind: fault.Conflict, Err: err}
	default:
		return &fault.Error{Op: op, Subject: subject, Kind: fault.Unavailable, Err: err}
	}
}

// Patiently asks again until the answer is there, in growing intervals, and says once what it waits for. It ends with the last
// error when ctx does.
func Patiently[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	for delay, told := 200*time.Millisecond, false; ; delay = min(2*delay, 5*time.Second) {
		answer, err := ask(ctx)
		if err == nil || ctx.Err() != nil {
			return answer, err
		}
		if !told {
			klog.FromContext(ctx).Info("Waiting for Kubernetes", "reason", err.Error())
			told = true
		}
		if !pause(ctx, delay) {
			return answer, err
		}
	}
}

// pause reports whether ctx still runs after a while.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
