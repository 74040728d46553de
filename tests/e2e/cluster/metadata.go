package cluster

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// metadataAddress is where EC2 instances find their metadata service.
const metadataAddress = "169.254.169.254"

// serveMetadata answers each node, and its pods, with the metadata of its instance, as long as this process lives.
func (c *Cluster) serveMetadata(ctx context.Context) error {
	if err := c.Paths.lines(ctx, "ip", "addr add "+metadataAddress+"/32 dev lo"); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", metadataAddress+":80")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, n := range c.Nodes {
			if strings.HasPrefix(r.RemoteAddr, n.ip()+":") || strings.HasPrefix(r.RemoteAddr, strings.TrimSuffix(n.pods(), "0/24")) {
				// As on EC2, no forwarding header: it would be refused.
				proxy := httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(n.metadata) }}
				proxy.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, "no instance has the address "+r.RemoteAddr, http.StatusNotFound)
	})}
	go server.Serve(listener) //nolint:errcheck // ends with the namespaces
	return nil
}

func parseURL(text string) *url.URL {
	u, _ := url.Parse(text)
	return u
}
