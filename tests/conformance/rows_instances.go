package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func zoneRows() []row {
	zones := func(name string, in ec2.DescribeAvailabilityZonesInput) row {
		return row{name: "zones: " + name, call: func(s *session) (any, error) { return s.ec2.DescribeAvailabilityZones(s.ctx, &in) }}
	}
	kinds := func(name string, in ec2.DescribeInstanceTypesInput) row {
		return row{name: "instance types: " + name, call: func(s *session) (any, error) { return s.ec2.DescribeInstanceTypes(s.ctx, &in) }}
	}
	return []row{
		keeping(zones("by name", ec2.DescribeAvailabilityZonesInput{ZoneNames: []string{zone, farZone, "us-east-1c"}}),
			"id-a", "AvailabilityZones[us-east-1a].ZoneId", "id-b", "AvailabilityZones[us-east-1b].ZoneId", "id-c", "AvailabilityZones[us-east-1c].ZoneId"),
		{name: "zones: by id", call: func(s *session) (any, error) {
			return s.ec2.DescribeAvailabilityZones(s.ctx, &ec2.DescribeAvailabilityZonesInput{ZoneIds: []string{*s.id("id-b")}})
		}},
		zones("by filter", ec2.DescribeAvailabilityZonesInput{Filters: filter("zone-name", zone)}),
		zones("filter of state", ec2.DescribeAvailabilityZonesInput{Filters: append(filter("state", "available"), filter("zone-name", "us-east-1c")...)}),
		zones("dry run", ec2.DescribeAvailabilityZonesInput{DryRun: aws.Bool(true)}),
		kinds("Nitro", ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceTypeM5Large}}),
		kinds("Nitro with limits of its own", ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m7i.48xlarge"}}),
		kinds("Xen", ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceTypeT2Micro}}),
		kinds("several", ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceTypeC5Large, types.InstanceTypeR5Large, types.InstanceTypeT3Micro, types.InstanceTypeM5Xlarge, "m7i.large"}}),
		kinds("unknown", ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m1.gigantic"}}),
	}
}

// launch starts one instance.
func launch(zone string, more ...func(*ec2.RunInstancesInput)) func(*session) (any, error) {
	in := ec2.RunInstancesInput{
		ImageId: aws.String(image), InstanceType: types.InstanceTypeM5Large, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		Placement: &types.Placement{AvailabilityZone: &zone},
	}
	for _, change := range more {
		change(&in)
	}
	return func(s *session) (any, error) { return s.ec2.RunInstances(s.ctx, &in) }
}

// instances describes what the input and the named ids say.
func instances(name string, in ec2.DescribeInstancesInput, ids ...string) row {
	return row{name: "instances: " + name, call: func(s *session) (any, error) {
		in := in
		for _, id := range ids {
			in.InstanceIds = append(in.InstanceIds, *s.id(id))
		}
		return s.ec2.DescribeInstances(s.ctx, &in)
	}}
}

func instanceRows() []row {
	keep := func(name string) map[string]string { return map[string]string{name: "Instances[*].InstanceId"} }
	return []row{
		{"run an instance", launch(zone, func(in *ec2.RunInstancesInput) {
			in.TagSpecifications = tagged(types.ResourceTypeInstance, "Name", "one")
		}), keep("i-one")},
		{"run another", launch(zone), keep("i-two")},
		{"run one in another zone", launch(farZone), keep("i-far")},
		{"run two to be refused things", launch(zone), keep("i-spare")},
		{"the second of them", launch(zone), keep("i-other")},
		instances("by id", ec2.DescribeInstancesInput{}, "i-one"),
		instances("unknown id", ec2.DescribeInstancesInput{}, "i-nowhere"),
		instances("malformed id", ec2.DescribeInstancesInput{InstanceIds: []string{"i-no-hex"}}),
		instances("by tag", ec2.DescribeInstancesInput{Filters: filter("tag:Name", "one")}),
		instances("by state and zone", ec2.DescribeInstancesInput{Filters: append(filter("instance-state-name", "running"), filter("availability-zone", farZone)...)}, "i-far"),
		instances("filter that fits nothing", ec2.DescribeInstancesInput{Filters: filter("tag:Name", "none")}),
	}
}

// keeping adds names for later rows: name, field, ….
func keeping(r row, pairs ...string) row {
	r.keep = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		r.keep[pairs[i]] = pairs[i+1]
	}
	return r
}

// tagged are the tags that a create call gives: key, value, ….
func tagged(kind types.ResourceType, pairs ...string) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: kind, Tags: tags(pairs...)}}
}

func tags(pairs ...string) []types.Tag {
	var out []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return out
}

// endRows end what the rows before them made.
func endRows() []row {
	each := func(name string, call func(*session, []string) (any, error)) row {
		return row{name: name, call: func(s *session) (any, error) { return call(s, []string{*s.id("i-two")}) }}
	}
	stop := func(s *session, ids []string) (any, error) {
		return s.ec2.StopInstances(s.ctx, &ec2.StopInstancesInput{InstanceIds: ids})
	}
	start := func(s *session, ids []string) (any, error) {
		return s.ec2.StartInstances(s.ctx, &ec2.StartInstancesInput{InstanceIds: ids})
	}
	terminate := func(s *session, ids []string) (any, error) {
		return s.ec2.TerminateInstances(s.ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	}
	return []row{
		each("stop an instance", stop),
		instances("a stopped one", ec2.DescribeInstancesInput{}, "i-two"),
		each("start it", start),
		instances("a started one", ec2.DescribeInstancesInput{}, "i-two"),
		attachRow("to an instance that will end", "vol-a", "i-two", "/dev/xvdbz"),
		each("terminate it", terminate),
		volumes("after its instance ended", ec2.DescribeVolumesInput{}, "vol-a"),
		instances("a terminated one", ec2.DescribeInstancesInput{}, "i-two"),
		attachRow("to a terminated instance", "vol-a", "i-two", "/dev/xvdbz"),
		each("start a terminated one", start),
		{name: "stop an unknown instance", call: func(s *session) (any, error) { return stop(s, []string{"i-" + unknown}) }},
		deleteRow("the volume of the ended instance", "vol-a"),
	}
}
