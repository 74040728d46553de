package ec2_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
)

// canned answers every request with the same volumes.
type canned string

func (c canned) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(c))), Request: r}, nil
}

// BenchmarkClient_Volume is one shared read of 200 volumes, which many of the driver's waits do together.
func BenchmarkClient_Volume(b *testing.B) {
	const n = 200
	var text strings.Builder
	text.WriteString(`<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><volumeSet>`)
	for i := range n {
		fmt.Fprintf(&text, `<item><volumeId>vol-0000000000000%04d</volumeId><size>10</size><availabilityZone>us-east-1a</availabilityZone>`+
			`<status>in-use</status><createTime>2026-01-02T03:04:05.000Z</createTime><volumeType>gp3</volumeType><iops>3000</iops>`+
			`<attachmentSet><item><volumeId>vol-0000000000000%04d</volumeId><instanceId>i-00000000000000001</instanceId><device>/dev/xvdba</device>`+
			`<status>attached</status></item></attachmentSet><tagSet><item><key>CSIVolumeName</key><value>pvc-%d</value></item></tagSet></item>`, i, i, i)
	}
	text.WriteString(`</volumeSet></DescribeVolumesResponse>`)
	c := ec2.New(aws.Config{
		Region: "us-east-1", HTTPClient: canned(text.String()), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}, ec2.Options{})
	defer c.Close()
	b.ReportAllocs()
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() {
				if _, found, err := c.Volume(b.Context(), fmt.Sprintf("vol-0000000000000%04d", i)); err != nil || !found {
					b.Error(found, err)
				}
			})
		}
		group.Wait()
	}
}
