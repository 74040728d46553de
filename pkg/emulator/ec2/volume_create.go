package ec2

import (
	"context"
	"errors"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/lifecycle"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// wanted is what a call asks a new volume to be.
type wanted struct {
	store.Volume
	encrypted, encryptedGiven bool
	key                       string // as the caller named it
}

func (s *Service) createVolume(ctx context.Context, p *wire.Params) (any, error) {
	w, err := readVolume(p)
	if err != nil {
		return nil, err
	}
	if w.Zone, err = s.checkZone(p.String("AvailabilityZone"), p.String("AvailabilityZoneId")); err != nil {
		return nil, err
	}
	w.Snapshot, w.InitRateMiBs = p.String("SnapshotId"), p.Int("VolumeInitializationRate")
	if err := checkInitRate(w.InitRateMiBs, w.Snapshot); err != nil {
		return nil, err
	}
	if w.Snapshot != "" {
		if err := checkSnapshotIDs(w.Snapshot); err != nil {
			return nil, err
		}
	} else if w.SizeGiB == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter size/snapshotId")
	}
	v, err := s.addVolume(ctx, p, w, func() error { return s.fromSnapshot(w) })
	if err != nil {
		return nil, err
	}
	return s.volumeItem(v), nil
}

// copyVolumes is EC2's clone: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopyVolumes.html
func (s *Service) copyVolumes(ctx context.Context, p *wire.Params) (any, error) {
	w, err := readVolume(p)
	if err != nil {
		return nil, err
	}
	w.Source = p.Required("SourceVolumeId")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkVolumeIDs("sourceVolumeId", w.Source); err != nil {
		return nil, err
	}
	v, err := s.addVolume(ctx, p, w, func() error { return s.fromVolume(w) })
	if err != nil {
		return nil, err
	}
	return struct {
		Volumes []volumeItem `xml:"volumeSet>item"`
	}{[]volumeItem{s.volumeItem(v)}}, nil
}

// readVolume reads what CreateVolume and CopyVolumes have in common.
func readVolume(p *wire.Params) (*wanted, error) {
	w := &wanted{
		encrypted: p.Bool("Encrypted"), encryptedGiven: p.Has("Encrypted"), key: p.String("KmsKeyId"),
		Volume: store.Volume{Shape: store.Shape{
			Type: p.String("VolumeType"), SizeGiB: p.Int("Size"), IOPS: p.Int("Iops"),
			ThroughputMiBs: p.Int("Throughput"), MultiAttach: p.Bool("MultiAttachEnabled"),
		}},
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if w.Type == "" {
		w.Type = "gp2"
	}
	if w.key != "" && !w.encrypted {
		return nil, wire.Errorf("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	var err error
	w.Tags, err = tagSpecifications(p, "volume")
	return w, err
}

func checkInitRate(rate int, snapshot string) error {
	switch {
	case rate == 0:
		return nil
	case snapshot == "":
		return wire.Errorf("InvalidParameterCombination", "The parameter VolumeInitializationRate can only be used with a snapshot.")
	case rate < 100 || rate > 300:
		return wire.Errorf("InvalidParameterValue", "Value (%d) for parameter volumeInitializationRate is invalid. Expected a value between 100 and 300.", rate)
	}
	return nil
}

// addVolume makes the volume unless its token was used before. complete adds what the source says; it runs within the update.
func (s *Service) addVolume(ctx context.Context, p *wire.Params, w *wanted, complete func() error) (*store.Volume, error) {
	v := &w.Volume
	v.TokenRequest = p.Fingerprint("ClientToken", "DryRun", "Version")
	if token := p.String("ClientToken"); token != "" {
		v.Token = p.String("Action") + ":" + token
	}
	var prior *store.Volume
	err := s.Store.Update(func() (err error) {
		if prior, err = s.priorVolume(v.Token, v.TokenRequest); err != nil || prior != nil {
			return err
		}
		if err := complete(); err != nil {
			return err
		}
		if v.Shape, err = checkShape(v.Shape); err != nil {
			return err
		}
		s.encrypt(w)
		if err := allowed(p); err != nil {
			return err
		}
		v.ID, v.State, v.Created, v.Fails = s.Store.NewID("vol"), store.Creating, s.Clock.Now(), FailsLater(ctx)
		s.Store.Volumes.Put(v)
		return nil
	})
	if err != nil || prior != nil {
		return prior, err
	}
	if err := s.Life.PrepareVolume(ctx, v.ID); err != nil {
		// Forget it, so that its token can be used again.
		return nil, errors.Join(err, s.Store.Update(func() error { s.Store.Volumes.Drop(v.ID); return nil }))
	}
	s.Life.Step(context.WithoutCancel(ctx), store.Volumes, v.ID)
	return v, nil
}

// priorVolume is the volume that the token made, also if it is no more:
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
func (s *Service) priorVolume(token, request string) (*store.Volume, error) {
	if token == "" {
		return nil, nil
	}
	v, ok := s.Store.VolumeByToken(token)
	if !ok || s.Clock.Now().Sub(v.Created) > lifecycle.TokenLife {
		return nil, nil
	}
	if v.TokenRequest != request {
		return nil, wire.Errorf("IdempotentParameterMismatch",
			"The client token you have provided is associated with a resource that has already been created with different parameters. Please use a different client token for each unique request.")
	}
	return v, nil
}

func (s *Service) fromSnapshot(w *wanted) error {
	if w.Snapshot == "" {
		return nil
	}
	snap, err := s.snapshot(w.Snapshot)
	if err != nil {
		return err
	}
	if snap.State != store.Completed {
		return wire.Errorf("IncorrectState", "Snapshot is in invalid state - %s", snap.State)
	}
	if w.SizeGiB == 0 {
		w.SizeGiB = snap.SizeGiB
	}
	if w.SizeGiB < snap.SizeGiB {
		return wire.Errorf("InvalidParameterValue", "The volume size '%d' is smaller than snapshot size '%d'.", w.SizeGiB, snap.SizeGiB)
	}
	if fast, ok := snap.FastRestore[w.Zone]; ok && w.InitRateMiBs == 0 {
		w.FastRestored = fastRestoreState(fast, s.Clock.Now()) == "enabled"
	}
	w.inherit(snap.Encrypted, snap.KMSKey)
	return nil
}

func (s *Service) fromVolume(w *wanted) error {
	source, err := s.volume(w.Source)
	if err != nil {
		return err
	}
	if source.State != store.Available {
		return wire.Errorf("IncorrectState", "The volume '%s' is in the '%s' state.", w.Source, source.State)
	}
	if w.SizeGiB == 0 {
		w.SizeGiB = source.SizeGiB
	}
	if w.SizeGiB < source.SizeGiB {
		return wire.Errorf("InvalidParameterValue", "The volume size '%d' is smaller than source volume size '%d'.", w.SizeGiB, source.SizeGiB)
	}
	w.Zone = source.Zone
	w.inherit(source.Encrypted, source.KMSKey)
	return nil
}

// inherit takes a source's encryption: it can be added or given another key, never taken away.
func (w *wanted) inherit(encrypted bool, key string) {
	if encrypted && w.key == "" {
		w.encrypted, w.key = true, key
	}
}

// encrypt settles the volume's key. AWS looks at the key only after it has answered: with one that is unknown,
// disabled, to be deleted or refused, the volume is created and then vanishes.
func (s *Service) encrypt(w *wanted) {
	if !w.encrypted {
		return
	}
	if w.key == "" {
		w.key = "alias/aws/ebs"
	}
	w.Encrypted, w.KMSKey, w.Doomed = true, w.key, true
	if k, ok := s.Store.FindKey(w.key); ok {
		w.KMSKey, w.Doomed = k.ARN, k.State != "Enabled" || k.Denied
	} else if !strings.HasPrefix(w.key, "arn:") {
		kind := "key/"
		if strings.HasPrefix(w.key, "alias/") {
			kind = ""
		}
		w.KMSKey = "arn:aws:kms:" + s.Region + ":" + s.Account + ":" + kind + w.key
	}
}
