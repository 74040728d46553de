package emulator_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/emulator"
)

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

func (c *cloud) volumesBy(filters ...types.Filter) ([]string, error) {
	out, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{Filters: filters})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, v := range out.Volumes {
		ids = append(ids, *v.VolumeId)
	}
	return ids, nil
}

func TestDescribeVolumes_filters(t *testing.T) {
	c := start(t, emulator.Options{})
	instance := c.Instances()[0].ID
	tagged := c.createVolume(func(in *create) {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: []types.Tag{{Key: aws.String("a/b"), Value: aws.String("x/y[1]")}}}}
	})
	attached := c.createVolume(func(in *create) { in.Size, in.Encrypted = aws.Int32(20), aws.Bool(true) })
	c.advance(time.Second)
	other := c.createVolume(func(in *create) { in.AvailabilityZone = aws.String("us-east-1b") })
	if err := c.attach(attached, instance, "/dev/xvdba"); err != nil {
		t.Fatal(err)
	}
	unknown := "vol-0123456789abcdef0"
	for name, row := range map[string]struct {
		filters []types.Filter
		want    []string
	}{
		"id, one unknown":      {[]types.Filter{filter("volume-id", tagged, unknown)}, []string{tagged}},
		"tag":                  {[]types.Filter{filter("tag:a/b", "x/y[1]")}, []string{tagged}},
		"tag with a wildcard":  {[]types.Filter{filter("tag:a/b", "x*[?]")}, []string{tagged}},
		"tag, other value":     {[]types.Filter{filter("tag:a/b", "x")}, nil},
		"tag key":              {[]types.Filter{filter("tag-key", "a/*")}, []string{tagged}},
		"status":               {[]types.Filter{filter("status", "in-use")}, []string{attached}},
		"attached to":          {[]types.Filter{filter("attachment.instance-id", instance)}, []string{attached}},
		"attachment's status":  {[]types.Filter{filter("attachment.status", "attached")}, []string{attached}},
		"attachment's device":  {[]types.Filter{filter("attachment.device", "/dev/xvdba")}, []string{attached}},
		"zone":                 {[]types.Filter{filter("availability-zone", "us-east-1b")}, []string{other}},
		"zone's id":            {[]types.Filter{filter("availability-zone-id", "use1-az2")}, []string{other}},
		"encrypted":            {[]types.Filter{filter("encrypted", "true")}, []string{attached}},
		"size":                 {[]types.Filter{filter("size", "20")}, []string{attached}},
		"created":              {[]types.Filter{filter("create-time", "2026-01-02T03:04:06.*")}, []string{other}},
		"both must hold":       {[]types.Filter{filter("size", "10"), filter("availability-zone", "us-east-1a")}, []string{tagged}},
		"a filter of no value": {[]types.Filter{filter("size")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cloud{ec2: c.ec2, ctx: t.Context(), t: t}
			if got := must(c.volumesBy(row.filters...))(c); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
	_, err := c.volumesBy(filter("colour", "red"))
	c.wantText(err, "InvalidParameterValue", "The filter 'colour' is invalid")
	_, err = c.volumesBy(filter("volume-id", slices.Repeat([]string{unknown}, 200)...))
	c.wantCode(err, "")
	_, err = c.volumesBy(filter("volume-id", slices.Repeat([]string{unknown}, 200)...), filter("size", "1"))
	c.wantText(err, "FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
}

func TestDescribeVolumes_byID(t *testing.T) {
	c := start(t, emulator.Options{})
	known, unknown, alsoUnknown := c.createVolume(), "vol-0123456789abcdef0", "vol-12345678"
	by := func(ids ...string) error {
		_, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: ids})
		return err
	}
	c.wantText(by(known, unknown), "InvalidVolume.NotFound", "The volume '"+unknown+"' does not exist.")
	c.wantText(by(known, unknown, alsoUnknown), "InvalidVolume.NotFound", "The volumes '"+unknown+", "+alsoUnknown+"' do not exist.")
	c.wantText(by("vol-nonsense"), "InvalidParameterValue", "Value (vol-nonsense) for parameter volumes is invalid. Expected: 'vol-...'.")
	_, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{known}, MaxResults: aws.Int32(5)})
	c.wantCode(err, "InvalidParameterCombination")
	status := must(c.ec2.DescribeVolumeStatus(c.ctx, &ec2.DescribeVolumeStatusInput{VolumeIds: []string{known}}))(c)
	if s := status.VolumeStatuses[0]; s.VolumeStatus.Status != types.VolumeStatusInfoStatusOk || len(s.VolumeStatus.Details) != 3 {
		t.Errorf("status %+v", s)
	}
}

func TestDescribeVolumes_pages(t *testing.T) {
	c := start(t, emulator.Options{})
	made := map[string]bool{}
	for range 12 {
		made[c.createVolume()] = true
	}
	pages := 0
	for p := ec2.NewDescribeVolumesPaginator(c.ec2, &ec2.DescribeVolumesInput{MaxResults: aws.Int32(5)}); p.HasMorePages(); pages++ {
		for _, v := range must(p.NextPage(c.ctx))(c).Volumes {
			if !made[*v.VolumeId] {
				t.Errorf("%s came twice", *v.VolumeId)
			}
			delete(made, *v.VolumeId)
		}
	}
	if pages != 3 || len(made) != 0 {
		t.Errorf("%d pages, %d volumes missing", pages, len(made))
	}
	_, err := c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{MaxResults: aws.Int32(4)})
	c.wantCode(err, "InvalidParameterValue")
	_, err = c.ec2.DescribeVolumes(c.ctx, &ec2.DescribeVolumesInput{NextToken: aws.String("nonsense")})
	c.wantCode(err, "InvalidParameterValue")
}

func TestTags_createDeleteDescribe(t *testing.T) {
	c := start(t, emulator.Options{})
	id, instance := c.createVolume(), c.Instances()[0].ID
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	must(c.ec2.CreateTags(c.ctx, &ec2.CreateTagsInput{Resources: []string{id, instance}, Tags: []types.Tag{tag("a", "1"), tag("b", "2")}}))(c)
	must(c.ec2.CreateTags(c.ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{tag("a", "3")}}))(c)
	must(c.ec2.DeleteTags(c.ctx, &ec2.DeleteTagsInput{Resources: []string{id}, Tags: []types.Tag{tag("a", "1"), {Key: aws.String("b")}}}))(c)
	if tags := c.volume(id).Tags; len(tags) != 1 || *tags[0].Value != "3" {
		t.Errorf("tags %+v: one with another value must stay, one without a value must go", tags)
	}
	out := must(c.ec2.DescribeTags(c.ctx, &ec2.DescribeTagsInput{Filters: []types.Filter{filter("resource-type", "instance"), filter("key", "a")}}))(c)
	if len(out.Tags) != 1 || *out.Tags[0].ResourceId != instance {
		t.Errorf("tags %+v", out.Tags)
	}
	for id, want := range map[string]string{
		"vol-0123456789abcdef0": "InvalidVolume.NotFound", "snap-0123456789abcdef0": "InvalidSnapshot.NotFound",
		"i-0123456789abcdef0": "InvalidInstanceID.NotFound", "nonsense": "InvalidID",
	} {
		_, err := c.ec2.CreateTags(c.ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{tag("a", "1")}})
		c.wantCode(err, want)
	}
	must(c.ec2.DeleteTags(c.ctx, &ec2.DeleteTagsInput{Resources: []string{id}}))(c)
	if tags := c.volume(id).Tags; len(tags) != 0 {
		t.Errorf("tags %+v are left", tags)
	}
}

func TestDescribeAvailabilityZones(t *testing.T) {
	c := start(t, emulator.Options{})
	zones := must(c.ec2.DescribeAvailabilityZones(c.ctx, &ec2.DescribeAvailabilityZonesInput{}))(c).AvailabilityZones
	if len(zones) != 3 || *zones[1].ZoneName != "us-east-1b" || *zones[1].ZoneId != "use1-az2" || *zones[1].RegionName != "us-east-1" {
		t.Errorf("zones %+v", zones)
	}
	_, err := c.ec2.DescribeAvailabilityZones(c.ctx, &ec2.DescribeAvailabilityZonesInput{DryRun: aws.Bool(true)})
	c.wantCode(err, "DryRunOperation")
	_, err = c.ec2.DescribeAvailabilityZones(c.ctx, &ec2.DescribeAvailabilityZonesInput{ZoneNames: []string{"us-east-1z"}})
	c.wantCode(err, "InvalidParameterValue")
}

func TestUnknownAction(t *testing.T) {
	c := start(t, emulator.Options{})
	_, err := c.ec2.DescribeVpcs(c.ctx, &ec2.DescribeVpcsInput{})
	c.wantText(err, "InvalidAction", "The action DescribeVpcs is not valid for this web service.")
}
