package wire_test

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

func TestParams_lists(t *testing.T) {
	values, err := url.ParseQuery("Id.10=k&Id.2=b&Id.1=a&Id.x=no&Filter.1.Name=n&Filter.1.Value.1=v&Filter.1.Value.2=w&Size=7&Flag=true&Bad=seven")
	if err != nil {
		t.Fatal(err)
	}
	p := wire.NewParams(values)
	if got := p.List("Id"); !slices.Equal(got, []string{"a", "b", "k"}) {
		t.Errorf("list %v", got)
	}
	if f := p.Filters(); len(f) != 1 || f[0].Name != "n" || !slices.Equal(f[0].Values, []string{"v", "w"}) {
		t.Errorf("filters %+v", f)
	}
	if p.Int("Size") != 7 || !p.Bool("Flag") || p.Int("None") != 0 || p.Err() != nil {
		t.Errorf("size %d, flag %v, error %v", p.Int("Size"), p.Bool("Flag"), p.Err())
	}
	if p.Int("Bad"); p.Err() == nil || !strings.Contains(p.Err().Error(), "bad") {
		t.Errorf("error %v does not name the parameter", p.Err())
	}
}

// Whatever a caller sends, reading it must neither panic nor make an answer that is not XML.
func FuzzRequest(f *testing.F) {
	f.Add("Action=CreateVolume&Size=1&TagSpecification.1.Tag.1.Key=<a>", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=x")
	f.Add("Filter.1.Name=\x00&Filter.99999999999999999999.Name=x", "AWS4-HMAC-SHA256")
	f.Fuzz(func(t *testing.T, body, authorization string) {
		scope, err := wire.ParseScope(&http.Request{Header: http.Header{"Authorization": {authorization}}})
		if err == nil && strings.Contains(scope.Service, "/") {
			t.Errorf("service %q", scope.Service)
		}
		values, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		p := wire.NewParams(values)
		for _, spec := range p.Items("TagSpecification") {
			spec.Items("Tag")
		}
		p.Filters()
		p.Int("Size")
		p.Time("ExpirationDate")
		_, answer := wire.EC2{}.Failure("id", wire.Errorf("Code", "%s", body))
		if err := xml.Unmarshal(answer, &struct{ XMLName xml.Name }{}); err != nil {
			t.Errorf("the answer is not XML: %v", err)
		}
	})
}
