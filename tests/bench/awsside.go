package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
	"github.com/diskbridge/diskbridge/pkg/emulator"
)

// inFlight bounds the floor's AWS calls at one time, as a good driver does: more only queue inside AWS.
const inFlight = 64

// awsSide is the emulator as the bench sees it: its controls and its EC2.
type awsSide struct {
	control *sandbox.Emulator
	ec2     *ec2.Client
}

func newAWSSide(endpoint string) *awsSide {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost = inFlight, inFlight
	})
	return &awsSide{control: &sandbox.Emulator{Endpoint: endpoint}, ec2: ec2.NewFromConfig(aws.Config{
		Region: sandbox.Region, BaseEndpoint: &endpoint, HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	})}
}

// profile is how the emulator behaves; it says so in every answer, also to those it refuses.
func (a *awsSide) profile(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.control.Endpoint+"/?Action=DescribeVolumes", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	return resp.Header.Get(emulator.Header), resp.Body.Close()
}

// state is what the emulator holds.
func (a *awsSide) state(ctx context.Context) (emulator.State, error) {
	var s emulator.State
	err := a.control.Control(ctx, http.MethodGet, "state", nil, &s)
	return s, err
}

// nodes returns that many running instances of one zone, and the zone; what is missing is started.
func (a *awsSide) nodes(ctx context.Context, count int) (ids []string, zone string, err error) {
	started := false
	for {
		state, err := a.state(ctx)
		if err != nil {
			return nil, "", err
		}
		ids = ids[:0]
		for _, i := range state.Instances {
			if zone == "" {
				zone = i.Zone
			}
			if i.Zone == zone && i.State == "running" {
				ids = append(ids, i.ID)
			}
		}
		if len(ids) >= count {
			return ids[:count], zone, nil
		}
		if !started {
			more := aws.Int32(int32(count - len(ids))) //nolint:gosec // at most hundreds
			_, err := a.ec2.RunInstances(ctx, &ec2.RunInstancesInput{
				ImageId: aws.String("ami-00000000"), InstanceType: types.InstanceTypeM5Large, MinCount: more, MaxCount: more,
				Placement: &types.Placement{AvailabilityZone: &zone},
			})
			if err != nil {
				return nil, "", err
			}
			started = true
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, "", fmt.Errorf("waiting for instances: %w", err)
		}
	}
}

// settled waits until no volume is being modified.
func (a *awsSide) settled(ctx context.Context) error {
	return a.until(ctx, func(s emulator.State) bool {
		for _, v := range s.Volumes {
			if v.Modification != "" && v.Modification != "completed" {
				return false
			}
		}
		return true
	})
}

// empty waits until nothing is left; what stays after a while is dropped and is an error.
func (a *awsSide) empty(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	left := 0
	err := a.until(limited, func(s emulator.State) bool {
		left = len(s.Volumes) + len(s.Snapshots)
		return left == 0
	})
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("the driver left %d volumes and snapshots behind: %w", left, err),
		a.control.Control(ctx, http.MethodPost, "reset", nil, nil))
}

func (a *awsSide) until(ctx context.Context, fits func(emulator.State) bool) error {
	for {
		s, err := a.state(ctx)
		if err != nil || fits(s) {
			return err
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}

// follow reads the emulator's events until ctx ends. It returns when the first cannot be missed any more;
// ended is closed when nothing is read any more.
func (a *awsSide) follow(ctx context.Context, each func(emulator.Event)) (ended <-chan struct{}, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.control.Endpoint+"/_emulator/events", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // closed by the reader, or below
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(resp.Body)
	if resp.StatusCode != http.StatusOK || !lines.Scan() {
		return nil, errors.Join(fmt.Errorf("the emulator tells no events (%s)", resp.Status), resp.Body.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = resp.Body.Close() }() // it was only read
		for lines.Scan() {
			var e emulator.Event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				each(e)
			}
		}
	}()
	return done, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
