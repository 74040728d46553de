package ec2

import (
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// volumeType holds the rules of one volume type:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html and
// https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
type volumeType struct {
	minGiB, maxGiB         int
	minIOPS, maxIOPS       int
	iopsPerGiB             int // how many may be asked for
	iopsRequired           bool
	defaultIOPS            int
	minMiBs, maxMiBs       int // throughput
	multiAttach            bool
	baseline, baselineTop  int // gp2: IOPS per GiB given, at least 100
	iopsAllowed, mibsKnown bool
}

func volumeTypes() map[string]volumeType {
	return map[string]volumeType{
		"gp3": {minGiB: 1, maxGiB: 65536, minIOPS: 3000, maxIOPS: 80000, iopsPerGiB: 500, defaultIOPS: 3000,
			minMiBs: 125, maxMiBs: 2000, iopsAllowed: true, mibsKnown: true},
		"gp2": {minGiB: 1, maxGiB: 16384, baseline: 3, baselineTop: 16000},
		"io1": {minGiB: 4, maxGiB: 16384, minIOPS: 100, maxIOPS: 64000, iopsPerGiB: 50, iopsRequired: true,
			multiAttach: true, iopsAllowed: true},
		"io2": {minGiB: 4, maxGiB: 65536, minIOPS: 100, maxIOPS: 256000, iopsPerGiB: 1000, iopsRequired: true,
			multiAttach: true, iopsAllowed: true},
		"st1":      {minGiB: 125, maxGiB: 16384},
		"sc1":      {minGiB: 125, maxGiB: 16384},
		"standard": {minGiB: 1, maxGiB: 1024},
	}
}

// checkShape completes a wanted shape with defaults and checks it against its type's rules.
func checkShape(w store.Shape) (store.Shape, error) {
	t, ok := volumeTypes()[w.Type]
	switch {
	case !ok:
		return w, wire.Errorf("UnknownVolumeType", "Unknown volume type: %s", w.Type)
	case w.SizeGiB < t.minGiB:
		return w, wire.Errorf("InvalidParameterValue", "Volume of %dGiB is too small for volume type %s; minimum is %dGiB", w.SizeGiB, w.Type, t.minGiB)
	case w.SizeGiB > t.maxGiB:
		return w, wire.Errorf("InvalidParameterValue", "Volume of %dGiB is too large for volume type %s; maximum is %dGiB", w.SizeGiB, w.Type, t.maxGiB)
	case w.MultiAttach && !t.multiAttach:
		return w, wire.Errorf("InvalidParameterCombination", "The parameter MultiAttachEnabled is not supported for %s volumes.", w.Type)
	}
	var err error
	if w, err = checkIOPS(w, t); err != nil {
		return w, err
	}
	return checkThroughput(w, t)
}

func checkIOPS(w store.Shape, t volumeType) (store.Shape, error) {
	switch {
	case w.IOPS != 0 && !t.iopsAllowed:
		return w, wire.Errorf("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", w.Type)
	case w.IOPS == 0 && t.iopsRequired:
		return w, wire.Errorf("InvalidParameterCombination", "The parameter iops must be specified for %s volumes.", w.Type)
	case w.IOPS == 0:
		w.IOPS = t.defaultIOPS
		if t.baseline > 0 {
			w.IOPS = min(max(100, w.SizeGiB*t.baseline), t.baselineTop)
		}
		return w, nil
	case w.IOPS < t.minIOPS:
		return w, wire.Errorf("InvalidParameterValue", "Volume iops of %d is too low; minimum is %d", w.IOPS, t.minIOPS)
	case w.IOPS > t.maxIOPS:
		return w, wire.Errorf("InvalidParameterValue", "Volume iops of %d is too high; maximum is %d", w.IOPS, t.maxIOPS)
	case w.IOPS > max(t.defaultIOPS, w.SizeGiB*t.iopsPerGiB):
		return w, wire.Errorf("InvalidParameterValue", "Iops to volume size ratio of %f is too high; maximum is %d iops per GiB",
			float64(w.IOPS)/float64(w.SizeGiB), t.iopsPerGiB)
	}
	return w, nil
}

func checkThroughput(w store.Shape, t volumeType) (store.Shape, error) {
	switch {
	case w.ThroughputMiBs != 0 && !t.mibsKnown:
		return w, wire.Errorf("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", w.Type)
	case w.ThroughputMiBs == 0:
		w.ThroughputMiBs = t.minMiBs
	case w.ThroughputMiBs < t.minMiBs:
		return w, wire.Errorf("InvalidParameterValue", "Throughput (MiB/s) of %d is too low; minimum is %d.", w.ThroughputMiBs, t.minMiBs)
	case w.ThroughputMiBs > t.maxMiBs:
		return w, wire.Errorf("InvalidParameterValue", "Throughput (MiB/s) of %d is too high; maximum is %d.", w.ThroughputMiBs, t.maxMiBs)
	case w.ThroughputMiBs*4 > w.IOPS:
		return w, wire.Errorf("InvalidParameterValue", "Throughput (MiBps) to iops ratio of %f is too high; maximum is 0.250000 MiBps per iops.",
			float64(w.ThroughputMiBs)/float64(w.IOPS))
	}
	return w, nil
}
