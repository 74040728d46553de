package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// What both servers have.
const (
	region  = "us-east-1"
	zone    = "us-east-1a"
	farZone = "us-east-1b"
	account = "000000000000"
	image   = "ami-12c6146b"      // moto knows it; the emulator takes any
	unknown = "0123456789abcdef0" // the end of an id that nothing has
	role    = "arn:aws:iam::000000000000:role/disks"
)

// row is one call. Rows build on each other: they run in order, on an empty server.
type row struct {
	name string
	call func(*session) (any, error)
	keep map[string]string // name for later rows: the field of this answer that holds the id; * stands for any text
}

// session is a run of the table on one server.
type session struct {
	ctx context.Context
	ec2 *ec2.Client
	efs *efs.Client
	kms *kms.Client
	s3  *s3.Client
	sts *sts.Client
	ids map[string]string // by name
}

// id is an id that an earlier row kept. Where that row failed, it is one that nothing has.
func (s *session) id(name string) *string {
	if id, ok := s.ids[name]; ok {
		return &id
	}
	kind, _, _ := strings.Cut(name, "-")
	return aws.String(kind + "-" + unknown)
}

// ask runs the table on a server, with an SDK that does not retry.
func ask(ctx context.Context, endpoint string, table []row) ([]answer, error) {
	config := aws.Config{
		Region: region, BaseEndpoint: &endpoint, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
	s := &session{ctx: ctx, ec2: ec2.NewFromConfig(config), efs: efs.NewFromConfig(config), kms: kms.NewFromConfig(config), s3: s3.NewFromConfig(config), sts: sts.NewFromConfig(config), ids: map[string]string{}}
	names := map[string]string{}
	answers := make([]answer, 0, len(table))
	for _, r := range table {
		out, err := r.call(s)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for name, field := range r.keep {
			if err != nil {
				break // the comparison shows it
			}
			id := find(out, field)
			if id == "" {
				return nil, fmt.Errorf("%s: the answer has no %s to keep", r.name, field)
			}
			s.ids[name], names[id] = id, name
		}
		answers = append(answers, newAnswer(out, err, names))
	}
	return answers, nil
}

// rows is the whole table.
func rows() []row {
	var all []row
	for _, part := range [][]row{zoneRows(), instanceRows(), createRows(), volumeRows(), attachRows(), modifyRows(), snapshotRows(), tagRows(), refusedRows(), endRows(), keyRows(), identityRows(), fileRows(), bucketRows()} {
		all = append(all, part...)
	}
	return all
}

func filter(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: &name, Values: values}}
}
