package ebs

import (
	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Keys of the declared parameters.
const (
	keyType       = "type"
	keyIOPS       = "iops"
	keyIOPSPerGB  = "iopsPerGB"
	keyThroughput = "throughput"
	keyEncrypted  = "encrypted"
	keyKMSKey     = "kmsKeyId"
	keyZone       = "availabilityZone"
	keyTag        = "tagSpecification_"
)

// Parameters declares what a StorageClass may say about EBS volumes. The names are
// the EBS CSI driver's; aliases are BOSH's cloud_properties and REX-Ray's options.
func Parameters() backend.Parameters {
	return backend.Parameters{
		{Key: keyType, Aliases: []string{"volumeType"}, Type: backend.String, Default: "gp3", OneOf: volumeTypes(), Help: "EBS volume type."},
		{Key: keyIOPS, Type: backend.Int, Help: "Provisioned operations per second (gp3, io1, io2). Excludes iopsPerGB."},
		{Key: keyIOPSPerGB, Type: backend.Int, Help: "Operations per second for each GiB of size (gp3, io1, io2), cut to what the type allows. Excludes iops."},
		{Key: keyThroughput, Type: backend.Int, Help: "Provisioned throughput in MiB/s (gp3)."},
		{Key: keyEncrypted, Type: backend.Bool, Help: "Encrypt the volume. Without it the driver's --default-encrypted decides; an account that encrypts by default always does."},
		{Key: keyKMSKey, Aliases: []string{"kms_key_arn", "encryptionKey"}, Type: backend.String, Help: "KMS key (ARN, id or alias) for encryption; implies encrypted=true. Without it the driver's --default-kms-key-id, then the account's default key."},
		{Key: keyZone, Aliases: []string{"zone", "availability_zone"}, Type: backend.String, Help: "Availability zone. Prefer allowedTopologies with WaitForFirstConsumer; it must agree with the topology where both are given."},
		{Key: keyTag, Type: backend.Prefix, Help: "Each tagSpecification_N=\"key=value\" adds a tag to the volume."},
	}
}

// limits of a volume type: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
type limits struct {
	minGiB, maxGiB   int64
	minIOPS, maxIOPS int64
	iopsPerGiB       int64 // at most so many per GiB; 0 = iops cannot be chosen
	throughput       bool  // throughput can be chosen
}

var typeLimits = map[string]limits{
	"gp3":      {minGiB: 1, maxGiB: 65536, minIOPS: 3000, maxIOPS: 80000, iopsPerGiB: 500, throughput: true},
	"gp2":      {minGiB: 1, maxGiB: 16384},
	"io1":      {minGiB: 4, maxGiB: 16384, minIOPS: 100, maxIOPS: 64000, iopsPerGiB: 50},
	"io2":      {minGiB: 4, maxGiB: 65536, minIOPS: 100, maxIOPS: 256000, iopsPerGiB: 1000},
	"st1":      {minGiB: 125, maxGiB: 16384},
	"sc1":      {minGiB: 125, maxGiB: 16384},
	"standard": {minGiB: 1, maxGiB: 1024},
}

func volumeTypes() []string {
	return []string{"gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"}
}

// defaultGiB is the size of a volume whose request names none, as the EBS CSI driver has it.
const defaultGiB = 100

// sizeGiB chooses a size for the range that is not below the floor (a snapshot's
// size) nor the type's minimum.
func sizeGiB(op, name string, r volume.Range, kind string, floorGiB int64) (int64, error) {
	l := typeLimits[kind]
	floor := max(floorGiB, l.minGiB)
	preferred := int64(defaultGiB)
	if floorGiB > 0 {
		preferred = floorGiB
	}
	size, err := r.SizeGiB(max(preferred, l.minGiB))
	if err != nil {
		return 0, fault.New(fault.OutOfRange, op, name, "%v", err)
	}
	size = max(size, floor)
	switch {
	case r.LimitBytes > 0 && size > r.LimitBytes/volume.GiB:
		return 0, fault.New(fault.OutOfRange, op, name, "at least %d GiB are needed (type %s, source included), more than limit_bytes %d", floor, kind, r.LimitBytes)
	case size > l.maxGiB:
		return 0, fault.New(fault.OutOfRange, op, name, "%d GiB are more than the %d GiB that type %s allows; choose a smaller size or another type", size, l.maxGiB, kind)
	}
	return size, nil
}

// iops returns the operations per second to ask for, 0 to leave them to EC2.
func iops(op, name string, v backend.Values, size int64) (int32, error) {
	kind, l := v[keyType], typeLimits[v[keyType]]
	exact, perGB := v.Int(keyIOPS), v.Int(keyIOPSPerGB)
	switch {
	case exact > 0 && perGB > 0:
		return 0, fault.New(fault.Invalid, op, name, "parameters %s and %s exclude each other; give one", keyIOPS, keyIOPSPerGB)
	case exact == 0 && perGB == 0:
		if kind == "io1" || kind == "io2" {
			return 0, fault.New(fault.Invalid, op, name, "type %s needs the parameter %s or %s", kind, keyIOPS, keyIOPSPerGB)
		}
		return 0, nil
	case l.iopsPerGiB == 0:
		return 0, fault.New(fault.Invalid, op, name, "type %s takes neither %s nor %s", kind, keyIOPS, keyIOPSPerGB)
	case exact > 0:
		return int32(exact), nil //nolint:gosec // Decode bounds it to int32
	}
	// Too many are cut as the EBS CSI driver does; too few are EC2's to refuse, with its own text.
	ceiling := max(min(l.maxIOPS, l.iopsPerGiB*size), l.minIOPS)
	return int32(min(perGB*size, ceiling)), nil //nolint:gosec // at most maxIOPS
}
