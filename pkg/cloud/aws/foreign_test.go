package aws

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// TestProxyAnswered: a proxy that lets nobody through has sent nothing to AWS, and its password is nobody's business.
func TestProxyAnswered(t *testing.T) {
	proxy := &url.URL{Scheme: "http", User: url.UserPassword("user", "word"), Host: "proxy:3128"}
	if err := proxyAnswered(context.Background(), proxy, nil, &http.Response{StatusCode: 200, Status: "200 Connection established"}); err != nil {
		t.Error(err)
	}
	err := Classify(proxyAnswered(context.Background(), proxy, nil, &http.Response{StatusCode: 407, Status: "407 Proxy Authentication Required"}), Call{Op: "DeleteVolume", Mutates: true})
	if !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "word") ||
		!strings.HasPrefix(err.Error(), "DeleteVolume: proxyconnect tcp: the proxy proxy:3128 answers 407 Proxy Authentication Required; look at") {
		t.Errorf("%v (%v)", err, fault.KindOf(err))
	}
}
