package main

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/config"
)

func TestEndpointOf(t *testing.T) {
	e, err := endpointOf("minio", config.S3Profile{Endpoint: "https://minio:9000", Region: "us-east-1", Lacks: []string{"lifecycle"}})
	if err != nil || !e.PathStyle || !e.Lacks["lifecycle"] || e.Name != "minio" {
		t.Errorf("%+v, %v", e, err)
	}
	for part, want := range map[string]string{"tagging": "whose a bucket is", "lifecicle": `"lifecicle" is not one of`} {
		if _, err := endpointOf("minio", config.S3Profile{Lacks: []string{part}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %s: %v, want %q", part, err, want)
		}
	}
}
