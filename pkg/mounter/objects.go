package mounter

import (
	"context"
	"net/http"
	"time"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Objects mounts buckets. Its methods are idempotent; own are the credentials of a secret, nil stands for the mounter's.
type Objects interface {
	Stage(ctx context.Context, plan volume.ObjectPlan, stagingPath string, own *volume.ObjectCredentials) error
	Unstage(ctx context.Context, handle, stagingPath string) error
	Publish(ctx context.Context, plan volume.ObjectPlan, stagingPath, targetPath string, readOnly bool) error
	Unpublish(ctx context.Context, handle, targetPath string) error
}

// objectCall is what is asked about a bucket.
type objectCall struct {
	Plan        volume.ObjectPlan         `json:"plan,omitzero"`
	Handle      string                    `json:"handle,omitempty"`
	Staging     string                    `json:"staging,omitempty"`
	Target      string                    `json:"target,omitempty"`
	ReadOnly    bool                      `json:"readOnly,omitempty"`
	Credentials *volume.ObjectCredentials `json:"credentials,omitempty"`
	Within      time.Duration             `json:"within,omitempty"` // the caller waits no longer; zero: as long as it likes
}

func serveObjects(mux *http.ServeMux, objects Objects) {
	for name, do := range map[string]func(context.Context, objectCall) error{
		"stage": func(ctx context.Context, c objectCall) error {
			return objects.Stage(ctx, c.Plan, c.Staging, c.Credentials)
		},
		"unstage": func(ctx context.Context, c objectCall) error { return objects.Unstage(ctx, c.Handle, c.Staging) },
		"publish": func(ctx context.Context, c objectCall) error {
			return objects.Publish(ctx, c.Plan, c.Staging, c.Target, c.ReadOnly)
		},
		"unpublish": func(ctx context.Context, c objectCall) error { return objects.Unpublish(ctx, c.Handle, c.Target) },
	} {
		mux.HandleFunc("POST /objects/"+name, handle(func(r *http.Request, in objectCall) (struct{}, error) {
			ctx := r.Context()
			if in.Within > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, in.Within)
				defer cancel()
			}
			return struct{}{}, do(ctx, in)
		}))
	}
}

// ObjectStager is the node's stager of buckets: it leaves all to the mounter, so that nothing of a mount ends with the node.
type ObjectStager struct{ client *Client }

// Objects is the stager of buckets.
func (c *Client) Objects() ObjectStager { return ObjectStager{c} }

// StageWith mounts a bucket, with the credentials among the secrets.
func (s ObjectStager) StageWith(ctx context.Context, plan volume.ObjectPlan, stagingPath string, secrets map[string]string) error {
	own, err := plan.Credentials(secrets)
	if err != nil {
		return fault.New(fault.Invalid, "stage", plan.Handle, "%v", err)
	}
	return s.call(ctx, "stage", objectCall{Plan: plan, Staging: stagingPath, Credentials: own})
}

// Stage mounts a bucket with the mounter's own credentials.
func (s ObjectStager) Stage(ctx context.Context, plan volume.ObjectPlan, stagingPath string) error {
	return s.StageWith(ctx, plan, stagingPath, nil)
}

// Unstage takes a mount away, after all that was written is in the bucket.
func (s ObjectStager) Unstage(ctx context.Context, handle, stagingPath string) error {
	return s.call(ctx, "unstage", objectCall{Handle: handle, Staging: stagingPath})
}

// Publish makes a mount visible at a target.
func (s ObjectStager) Publish(ctx context.Context, plan volume.ObjectPlan, stagingPath, targetPath string, readOnly bool) error {
	return s.call(ctx, "publish", objectCall{Plan: plan, Staging: stagingPath, Target: targetPath, ReadOnly: readOnly})
}

// Unpublish takes a target away.
func (s ObjectStager) Unpublish(ctx context.Context, handle, targetPath string) error {
	return s.call(ctx, "unpublish", objectCall{Handle: handle, Target: targetPath})
}

func (s ObjectStager) call(ctx context.Context, name string, c objectCall) error {
	if deadline, ok := ctx.Deadline(); ok {
		c.Within = time.Until(deadline) * 9 / 10 // so that the reason still arrives
	}
	return s.client.call(ctx, http.MethodPost, "/objects/"+name, c, &struct{}{})
}
