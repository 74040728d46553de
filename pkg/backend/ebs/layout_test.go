package ebs_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// with is a request with more parameters.
func with(name string, parameters map[string]string) volume.CreateRequest {
	r := request(name, 1)
	r.Parameters = maps.Clone(r.Parameters)
	if r.Parameters == nil {
		r.Parameters = map[string]string{}
	}
	maps.Copy(r.Parameters, parameters)
	return r
}

func TestCreate_TellsTheNodeHowToFormat(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	r := with("v", map[string]string{"layout": "bosh", "blocksize": "1k", "ext4BigAlloc": "true", "ext4EncryptionSupport": "false"})
	v, err := b.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{volume.ContextMayFormat: "true", volume.ContextLayout: "bosh", "blocksize": "1024", "ext4bigalloc": "true"}
	if diff := cmp.Diff(want, v.Context); diff != "" {
		t.Error(diff)
	}
	if tag := c.volume(v.Handle).Tags[ebs.TagLayout]; tag != "bosh" {
		t.Errorf("the layout tag is %q", tag)
	}
	plan, err := volume.NewBlockPlan(v.Handle, v.Context, r.Capabilities[0], volume.Ext4)
	if err != nil || plan.Layout != volume.LayoutBosh || plan.Format != (volume.Format{BlockBytes: 1024, BigAlloc: true}) || !plan.MayFormat {
		t.Errorf("the node plans %+v, %v", plan, err)
	}
	again, err := b.Create(t.Context(), r)
	if err != nil || cmp.Diff(v.Context, again.Context) != "" {
		t.Errorf("the same request again tells the node %v, %v", again.Context, err)
	}
}

func TestCreate_CopiesKeepTheLayoutOfTheirSource(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	source, err := b.Create(t.Context(), with("source", map[string]string{"layout": "bosh"}))
	if err != nil {
		t.Fatal(err)
	}
	copied := request("copy", 1)
	copied.Source = volume.Source{Volume: source.Handle}
	v, err := b.Create(t.Context(), copied)
	if err != nil || v.Context[volume.ContextLayout] != "bosh" || v.Context[volume.ContextMayFormat] != "false" || c.volume(v.Handle).Tags[ebs.TagLayout] != "bosh" {
		t.Errorf("the copy's context is %v, its tags are %v, %v", v.Context, c.volume(v.Handle).Tags, err)
	}
	other := with("other", map[string]string{"layout": "raw"})
	other.Source = volume.Source{Volume: source.Handle}
	if _, err := b.Create(t.Context(), other); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "layout=raw") {
		t.Errorf("another layout than the source's: %v", err)
	}
}

func TestCreate_RefusesWhatCannotStandOnTheDisk(t *testing.T) {
	t.Parallel()
	c := instant(t)
	b := c.backend()
	for says, change := range map[string]func(*volume.CreateRequest){
		`"blockSize"`:      func(r *volume.CreateRequest) { r.Parameters["blocksize"] = "3000" },
		"raw, bosh":        func(r *volume.CreateRequest) { r.Parameters["layout"] = "mbr" },
		"only ext4":        func(r *volume.CreateRequest) { r.Parameters["ext4BigAlloc"] = "true"; r.Capabilities[0].FSType = "xfs" },
		"ext4 and xfs":     func(r *volume.CreateRequest) { r.Parameters["layout"] = "bosh"; r.Capabilities[0].FSType = "btrfs" },
		"shapes a file":    func(r *volume.CreateRequest) { r.Parameters["inodeSize"] = "512"; r.Capabilities[0].Block = true },
		"is a partition":   func(r *volume.CreateRequest) { r.Parameters["layout"] = "bosh"; r.Capabilities[0].Block = true },
		"ext4BigAlloc=tru": func(r *volume.CreateRequest) { r.Parameters["ext4ClusterSize"] = "64k" },
	} {
		r := with("v", nil)
		change(&r)
		if _, err := b.Create(t.Context(), r); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error with %q, got %v", says, err)
		}
	}
	if len(c.ours()) != 0 {
		t.Errorf("in the cloud: %v", c.ours())
	}
}
