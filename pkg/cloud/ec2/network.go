package ec2

import (
	"context"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
)

// Subnets reads subnets by id; one that does not exist is merely absent.
func (c *Client) Subnets(ctx context.Context, ids []string) ([]Subnet, error) {
	return c.subnets(ctx, filter("subnet-id", ids...))
}

// SubnetsIn reads the subnets of a VPC in one zone.
func (c *Client) SubnetsIn(ctx context.Context, vpc, zone string) ([]Subnet, error) {
	return c.subnets(ctx, filter("vpc-id", vpc), filter("availability-zone", zone))
}

func (c *Client) subnets(ctx context.Context, filters ...types.Filter) ([]Subnet, error) {
	return allPages(func(token string) ([]Subnet, string, error) {
		out, err := aws.Do(ctx, c.gate, read("DescribeSubnets", ""), func(ctx context.Context) (*sdk.DescribeSubnetsOutput, error) {
			return c.api.DescribeSubnets(ctx, &sdk.DescribeSubnetsInput{Filters: filters, MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token)})
		})
		if err != nil {
			return nil, "", err
		}
		var list []Subnet
		for _, s := range out.Subnets {
			list = append(list, Subnet{
				ID: sdkaws.ToString(s.SubnetId), VPC: sdkaws.ToString(s.VpcId), Zone: sdkaws.ToString(s.AvailabilityZone), Default: sdkaws.ToBool(s.DefaultForAz),
			})
		}
		return list, sdkaws.ToString(out.NextToken), nil
	})
}

// SecurityGroups reads security groups by id; one that does not exist is merely absent.
func (c *Client) SecurityGroups(ctx context.Context, ids []string) ([]SecurityGroup, error) {
	return c.groups(ctx, filter("group-id", ids...))
}

// DefaultSecurityGroup reads the default security group of a VPC, of which there is at most one.
func (c *Client) DefaultSecurityGroup(ctx context.Context, vpc string) ([]SecurityGroup, error) {
	return c.groups(ctx, filter("vpc-id", vpc), filter("group-name", "default"))
}

func (c *Client) groups(ctx context.Context, filters ...types.Filter) ([]SecurityGroup, error) {
	return allPages(func(token string) ([]SecurityGroup, string, error) {
		out, err := aws.Do(ctx, c.gate, read("DescribeSecurityGroups", ""), func(ctx context.Context) (*sdk.DescribeSecurityGroupsOutput, error) {
			return c.api.DescribeSecurityGroups(ctx, &sdk.DescribeSecurityGroupsInput{Filters: filters, MaxResults: sdkaws.Int32(pageSize), NextToken: optional(token)})
		})
		if err != nil {
			return nil, "", err
		}
		var list []SecurityGroup
		for _, g := range out.SecurityGroups {
			list = append(list, toSecurityGroup(g))
		}
		return list, sdkaws.ToString(out.NextToken), nil
	})
}

func toSecurityGroup(g types.SecurityGroup) SecurityGroup {
	out := SecurityGroup{ID: sdkaws.ToString(g.GroupId), VPC: sdkaws.ToString(g.VpcId)}
	for _, p := range g.IpPermissions {
		r := Rule{
			Protocol: sdkaws.ToString(p.IpProtocol), From: sdkaws.ToInt32(p.FromPort), To: sdkaws.ToInt32(p.ToPort),
			Opaque: len(p.PrefixListIds)+len(p.Ipv6Ranges) > 0,
		}
		for _, c := range p.IpRanges {
			r.CIDRs = append(r.CIDRs, sdkaws.ToString(c.CidrIp))
		}
		for _, pair := range p.UserIdGroupPairs {
			r.Groups = append(r.Groups, sdkaws.ToString(pair.GroupId))
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}
