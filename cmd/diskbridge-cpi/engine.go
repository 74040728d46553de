package main

import (
	"context"
	"fmt"
	"os"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/cloud/aws"
	"github.com/diskbridge/diskbridge/pkg/cloud/ec2"
	"github.com/diskbridge/diskbridge/pkg/cpi"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// caVariable is what the AWS CPI's own wrapper exports for aws.connection_options.ca_cert.
const caVariable = "BOSH_CA_CERT_FILE"

// open makes the engine that the settings describe. Nothing is asked of AWS yet.
func open(ctx context.Context, s cpi.Settings, caFile string) (*broker.Broker, func(), error) {
	var ca []byte
	if caFile != "" {
		var err error
		if ca, err = os.ReadFile(caFile); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", caVariable, err)
		}
	}
	session, err := aws.NewExplicitSession(aws.Explicit{
		Region: s.AWS.Region, AppID: "diskbridge", AccessKeyID: s.AWS.AccessKeyID, SecretAccessKey: s.AWS.SecretAccessKey, SessionToken: s.AWS.SessionToken,
		RoleARN: s.AWS.RoleARN, EC2: s.Own.Endpoints["ec2"], STS: s.Own.Endpoints["sts"], IMDS: s.Own.Endpoints["imds"],
		Dualstack: bool(s.AWS.Dualstack), CA: ca, Recorder: cpi.NewRecorder(ctx),
	})
	if err != nil {
		return nil, nil, err
	}
	client := ec2.New(session.Config(), ec2.Options{AbsenceInterval: s.Own.AbsenceInterval()})
	disks := ebs.NewDisks(client, ebs.Options{
		Owner: backend.Owner{Driver: ebs.DefaultDriver, Cluster: "bosh:" + s.Director, Tags: s.Own.Tags}, Zone: s.Own.Zone,
	}, ebs.DiskOptions{Director: s.Director, AllowUnknown: s.Own.UnknownLayout == "allow"})
	return broker.New(map[volume.Kind]backend.Backend{volume.EBS: disks}), client.Close, nil
}
