package walk

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// ownNode is the node that is the lane's alone, so that it can be stopped and terminated.
const ownNode = nodes - 1

// operator is whoever starts and ends instances, beside the driver.
func operator(e *sandbox.Emulator) *ec2.Client {
	return ec2.New(ec2.Options{
		Region: sandbox.Region, BaseEndpoint: &e.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
}

// insist repeats what AWS's faults make fail; the lane fails where that does not help.
func (l *lane) insist(ctx context.Context, what string, do func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	for range 50 {
		if err = do(ctx); err == nil || ctx.Err() != nil {
			break
		}
		<-time.After(20 * time.Millisecond) // it may be starting or stopping
	}
	if err != nil {
		l.wrong("%s: %v", what, err)
	}
	return err == nil
}

// startOwn gives the lane an instance.
func (l *lane) startOwn(ctx context.Context) bool {
	l.made++
	token := fmt.Sprintf("walk-%d-%d", l.number, l.made)
	l.stopped, l.toggled = false, time.Now()
	return l.insist(ctx, "start an instance", func(ctx context.Context) error {
		out, err := l.operator.RunInstances(ctx, &ec2.RunInstancesInput{
			ImageId: aws.String("ami-1"), InstanceType: types.InstanceTypeM5Large, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: &token,
			Placement: &types.Placement{AvailabilityZone: &l.emulator.Instances[0].Zone},
		})
		if err == nil {
			l.own = aws.ToString(out.Instances[0].InstanceId)
		}
		return err
	})
}

// toggleOwn stops the lane's instance, or starts it again. What is attached stays so.
func (l *lane) toggleOwn(ctx context.Context) {
	ids := []string{l.own}
	l.stopped = !l.stopped
	l.toggled = time.Now()
	l.insist(ctx, "stop or start an instance", func(ctx context.Context) error {
		var err error
		if l.stopped {
			_, err = l.operator.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids})
		} else {
			_, err = l.operator.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: ids})
		}
		return err
	})
}

// askTerminated ends the lane's instance and asks the driver at once to unpublish from it.
func (l *lane) askTerminated(ctx context.Context, c csi.ControllerClient, o *outcome) {
	if l.insist(ctx, "terminate an instance", func(ctx context.Context) error {
		_, err := l.operator.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{l.own}})
		return err
	}) {
		_, o.err = c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: l.disk.id, NodeId: l.own})
	}
}

// terminated waits until AWS has taken the volume from the instance, which it does by itself, and starts another.
func (l *lane) terminated(ctx context.Context, o outcome) {
	held := func() (bool, error) {
		truth, err := l.truth(ctx)
		for _, v := range truth.Volumes {
			if _, on := v.On(l.own); on && v.ID == l.disk.id {
				return true, err
			}
		}
		return false, err
	}
	for first, deadline := true, time.Now().Add(patience); ; first = false {
		is, err := held()
		switch {
		case err == nil && !is:
			l.disk.on[ownNode] = no
			l.startOwn(ctx)
			return
		case err == nil && first && o.code == codes.OK:
			l.wrong("unpublish from a terminated instance answered OK, and EC2 holds the attachment")
			return
		case time.Now().After(deadline):
			l.wrong("EC2 still holds the attachment to a terminated instance (%v)", err)
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

// changing says that the lane's instance may be neither running nor stopped yet.
func (l *lane) changing(node int) bool { return node == ownNode && time.Since(l.toggled) < patience }
