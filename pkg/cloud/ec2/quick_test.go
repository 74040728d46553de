package ec2

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
)

// says answers every request with a text.
type says string

func (s says) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(s))), Request: r}, nil
}

func clientOf(t *testing.T, text string) *Client {
	t.Helper()
	c := New(aws.Config{
		Region: "us-east-1", HTTPClient: says(text), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}, Options{})
	t.Cleanup(c.Close)
	return c
}

const (
	volumesHead   = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>`
	volumesTail   = `</DescribeVolumesResponse>`
	instancesHead = `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">`
	instancesTail = `</DescribeInstancesResponse>`
	fullVolume    = `<volumeSet>
  <item>
    <volumeId>vol-1</volumeId><size>10</size><snapshotId>snap-1</snapshotId><sourceVolumeId>vol-0</sourceVolumeId>
    <availabilityZone>us-east-1a</availabilityZone><availabilityZoneId>use1-az1</availabilityZoneId><status>in-use</status>
    <createTime>2026-01-02T03:04:05.678Z</createTime><volumeType>io2</volumeType><iops>3000</iops><throughput>125</throughput>
    <encrypted>true</encrypted><kmsKeyId>arn:aws:kms:us-east-1:000000000000:key/1</kmsKeyId><multiAttachEnabled>true</multiAttachEnabled>
    <operator><managed>false</managed><principal/></operator>
    <attachmentSet><item><volumeId>vol-1</volumeId><instanceId>i-1</instanceId><device>/dev/xvdba</device><status>attached</status>
      <attachTime>2026-01-02T03:04:06Z</attachTime><deleteOnTermination>true</deleteOnTermination></item><item><instanceId>i-2</instanceId></item></attachmentSet>
    <tagSet><item><key>a &amp; b</key><value>&lt;&#34;c&#39;&gt; d</value></item><item><key>empty</key><value></value></item></tagSet>
  </item>
  <item><volumeId>vol-2</volumeId><status>creating</status><attachmentSet/><tagSet></tagSet><encrypted>false</encrypted></item>
</volumeSet><nextToken>more&amp;more</nextToken>`
	fullInstance = `<reservationSet><item><reservationId>r-1</reservationId><groupSet/><instancesSet>
  <item><instanceId>i-1</instanceId><instanceType>m5.large</instanceType><vpcId>vpc-1</vpcId><subnetId>subnet-1</subnetId>
    <privateIpAddress>10.0.0.1</privateIpAddress><rootDeviceName>/dev/xvda</rootDeviceName>
    <groupSet><item><groupId>sg-1</groupId><groupName>default</groupName></item><item><groupId>sg-2</groupId></item></groupSet><instanceState><code>16</code><name>running</name></instanceState>
    <placement><availabilityZone>us-east-1a</availabilityZone><tenancy>default</tenancy><availabilityZoneId>use1-az1</availabilityZoneId></placement>
    <monitoring><state>disabled</state></monitoring><networkInterfaceSet><item><attachment><status>attached</status></attachment></item></networkInterfaceSet>
    <blockDeviceMapping><item><deviceName>/dev/xvda</deviceName></item>
      <item><deviceName>/dev/xvdba</deviceName><ebs><volumeId>vol-1</volumeId><status>attaching</status><attachTime>2026-01-02T03:04:06.000Z</attachTime><deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping></item>
</instancesSet></item></reservationSet><nextToken>t</nextToken>`
)

func TestQuick_ReadsWhatTheSDKReads(t *testing.T) {
	for name, text := range map[string]string{"everything": fullVolume, "nothing": "<volumeSet/>", "an empty list": "<volumeSet></volumeSet>"} {
		text = volumesHead + text + volumesTail
		quick, ok := readVolumes([]byte(text))
		if !ok {
			t.Fatalf("%s is left to the SDK", name)
		}
		// The client, whose answers are read quickly, and the SDK alone.
		asked, next, err := clientOf(t, text).describeVolumes(t.Context(), &sdk.DescribeVolumesInput{})
		want, wantErr := clientOf(t, text).api.DescribeVolumes(t.Context(), &sdk.DescribeVolumesInput{})
		if err != nil || wantErr != nil || next != aws.ToString(want.NextToken) || len(quick.Volumes) != len(want.Volumes) || len(asked) != len(want.Volumes) {
			t.Fatalf("%s: %d volumes, %q, %v; want %d, %v", name, len(asked), next, err, len(want.Volumes), wantErr)
		}
		for i := range want.Volumes {
			if diff := cmp.Diff(toVolume(want.Volumes[i]), asked[i]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if len(asked) > 0 {
			whole(t, asked[0])
			seen := asked[0].Attachments[0]
			seen.WithInstance = true // only DescribeInstances is asked for it
			whole(t, seen)
		}
	}
	text := instancesHead + fullInstance + instancesTail
	if _, ok := readInstances([]byte(text)); !ok {
		t.Fatal("the instances are left to the SDK")
	}
	asked, next, err := clientOf(t, text).describeInstances(t.Context(), &sdk.DescribeInstancesInput{})
	want, wantErr := clientOf(t, text).api.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{})
	if err != nil || wantErr != nil || next != "t" || len(asked) != 1 {
		t.Fatalf("%d instances, %q, %v, %v", len(asked), next, err, wantErr)
	}
	if diff := cmp.Diff(toInstance(want.Reservations[0].Instances[0]), asked[0]); diff != "" {
		t.Error(diff)
	}
	whole(t, asked[0])
	whole(t, asked[0].Attachments[0])
}

func TestQuick_ReadsACreatedVolumeAsTheSDKDoes(t *testing.T) {
	_, item, _ := strings.Cut(fullVolume, "<item>")
	item, _, _ = strings.Cut(item, "<operator>")
	text := `<CreateVolumeResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>` + item +
		`<attachmentSet><item><volumeId>vol-1</volumeId></item></attachmentSet><tagSet><item><key>a</key><value>b</value></item></tagSet></CreateVolumeResponse>`
	quick, ok := readCreatedVolume([]byte(text))
	if !ok {
		t.Fatal("it is left to the SDK")
	}
	want, err := clientOf(t, text).api.CreateVolume(t.Context(), &sdk.CreateVolumeInput{})
	if err != nil {
		t.Fatal(err)
	}
	want.ResultMetadata = quick.ResultMetadata
	if !reflect.DeepEqual(quick, want) {
		t.Errorf("read %+v, the SDK reads %+v", quick, want)
	}
	asked, err := clientOf(t, text).CreateVolume(t.Context(), VolumeSpec{})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, asked)
}

func TestQuick_ReadsModificationsAsTheSDKDoes(t *testing.T) {
	const text = `<DescribeVolumesModificationsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><volumeModificationSet>
  <item><volumeId>vol-1</volumeId><modificationState>failed</modificationState><statusMessage>no room</statusMessage><targetVolumeType>gp3</targetVolumeType>
    <targetSize>11</targetSize><targetIops>3500</targetIops><targetThroughput>125</targetThroughput><originalSize>10</originalSize><progress>99</progress>
    <startTime>2026-01-02T03:04:05.678Z</startTime></item>
  <item><volumeId>vol-2</volumeId><modificationState>optimizing</modificationState></item></volumeModificationSet><nextToken></nextToken></DescribeVolumesModificationsResponse>`
	if _, ok := readModifications([]byte(text)); !ok {
		t.Fatal("they are left to the SDK")
	}
	asked, found, err := clientOf(t, text).Modification(t.Context(), "vol-1")
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if second, found, err := clientOf(t, text).Modification(t.Context(), "vol-2"); err != nil || !found || second.State != "optimizing" {
		t.Error(second, found, err)
	}
	whole(t, asked)
	whole(t, asked.Target)
	out, err := clientOf(t, text).api.DescribeVolumesModifications(t.Context(), &sdk.DescribeVolumesModificationsInput{})
	if err != nil {
		t.Fatal(err)
	}
	want := out.VolumesModifications[0]
	if diff := cmp.Diff(Modification{
		Volume: *want.VolumeId, State: string(want.ModificationState), StatusMessage: *want.StatusMessage, Started: *want.StartTime,
		Target: Change{Type: string(want.TargetVolumeType), SizeGiB: int64(*want.TargetSize), IOPS: *want.TargetIops, Throughput: *want.TargetThroughput},
	}, asked); diff != "" {
		t.Error(diff)
	}
}

// whole fails where the sample says nothing of a field: a field that is new must be in it, and be read.
func whole(t *testing.T, v any) {
	t.Helper()
	for value, i := reflect.ValueOf(v), 0; i < value.NumField(); i++ {
		if value.Field(i).IsZero() {
			t.Errorf("the sample leaves %T.%s empty", v, value.Type().Field(i).Name)
		}
	}
}

func TestQuick_LeavesToTheSDKWhatIsNotPlain(t *testing.T) {
	item := func(inner string) string {
		return volumesHead + "<volumeSet><item><volumeId>vol-1</volumeId>" + inner + "</item></volumeSet>" + volumesTail
	}
	for name, text := range map[string]string{
		"a comment":        item("<!-- c -->"),
		"CDATA":            item("<tagSet><item><key><![CDATA[a]]></key><value>b</value></item></tagSet>"),
		"an attribute":     item(`<size unit="GiB">1</size>`),
		"another entity":   item("<snapshotId>&#x41;</snapshotId>"),
		"a broken number":  item("<size>many</size>"),
		"no time":          item("<createTime>today</createTime>"),
		"text and element": item("text<size>1</size>"),
		"umlauts":          item("<tagSet><item><key>ä</key><value>b</value></item></tagSet>"),
		"a wrong end":      item("<size>1</iops>"),
		"half an answer":   item("")[:200],
		"another answer":   "<Response><Errors/></Response>",
		"nothing":          "",
	} {
		if _, ok := readVolumes([]byte(text)); ok {
			t.Errorf("%s is not left to the SDK", name)
		}
	}
	// It then reads the same bytes.
	list, _, err := clientOf(t, item("<!-- c --><tagSet><item><key>ä</key><value>b</value></item></tagSet>")).describeVolumes(t.Context(), &sdk.DescribeVolumesInput{})
	if err != nil || len(list) != 1 || list[0].ID != "vol-1" || list[0].Tags["ä"] != "b" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, _, err := clientOf(t, item("")[:200]).describeVolumes(t.Context(), &sdk.DescribeVolumesInput{}); err == nil {
		t.Error("half an answer was taken for a whole one")
	}
}
