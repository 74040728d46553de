package ebs

import (
	"fmt"

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
	keyAutoCreate = "allowAutoIOPSPerGBIncrease"
	keyAutoModify = "allowAutoIOPSIncreaseOnModify"
	keyInitRate   = "volumeInitializationRate"
	keyAwaitInit  = "blockAttachUntilInitialized"
	keyExisting   = "existingResourceId"
	keyFSType     = "fstype"
	keyTag        = backend.TagParameter
	keyTagGone    = "tagDeletion"
)

// Parameters declares what a StorageClass may say about EBS volumes. The names are
// the EBS CSI driver's; aliases are BOSH's cloud_properties and REX-Ray's options.
func Parameters() backend.Parameters {
	return append(append(shape(), diskParameters()...),
		backend.Parameter{Key: keyAutoCreate, Type: backend.Bool, Help: "Raise iopsPerGB's result to what the type needs at least, instead of failing."},
		backend.Parameter{Key: keyAutoModify, Type: backend.Bool, Help: "Keep the ratio of iopsPerGB when the volume grows; remembered in the volume's tags."},
		backend.Parameter{Key: keyEncrypted, Type: backend.Bool, Help: "Encrypt the volume. Without it the driver's --default-encrypted decides; an account that encrypts by default always does."},
		backend.Parameter{Key: keyKMSKey, Aliases: []string{"kms_key_arn", "encryptionKey"}, Type: backend.KMSKey, Help: "KMS key (ARN, id or alias) for encryption; implies encrypted=true. Without it the driver's --default-kms-key-id, then the account's default key."},
		backend.Parameter{Key: keyZone, Aliases: []string{"zone", "availability_zone"}, Type: backend.String, Help: "Availability zone. Prefer allowedTopologies with WaitForFirstConsumer; it must agree with the topology where both are given."},
		backend.Parameter{Key: keyInitRate, Type: backend.Int, Help: "MiB/s at which a volume from a snapshot is filled (100 to 300; EC2 charges for it)."},
		backend.Parameter{Key: keyAwaitInit, Type: backend.Bool, Help: "Attach a volume from a snapshot only once all its data is there."},
		backend.Parameter{Key: keyExisting, Type: backend.String, Help: "Id of a volume (vol-…) to adopt instead of making one. It is never formatted nor deleted; deleting the claim only forgets it."},
		backend.Parameter{Key: "blockExpress", Type: backend.Bool, Help: "Accepted and ignored: every io2 volume is Block Express."},
		backend.Parameter{Key: keyFSType, Type: backend.String, Help: "Accepted and ignored: Kubernetes' provisioner reads it, as csi.storage.k8s.io/fstype, which replaced it."},
		tagParameter("volume"),
	)
}

// MutableParameters declares what a VolumeAttributesClass may say.
func MutableParameters() backend.Parameters {
	mutable := shape()
	for i := range mutable {
		mutable[i].Default = "" // what is not said does not change
	}
	return append(mutable,
		backend.Parameter{Key: keyAutoModify, Type: backend.Bool, Mutable: true, Help: "Keep the ratio of iopsPerGB when the volume grows; remembered in the volume's tags."},
		tagParameter("volume"),
		backend.Parameter{Key: keyTagGone, Type: backend.Prefix, Mutable: true, Help: "Each tagDeletion_N=\"key\" removes a tag from the volume."},
	)
}

// SnapshotParameters declares what a VolumeSnapshotClass may say.
func SnapshotParameters() backend.Parameters {
	return backend.Parameters{tagParameter("snapshot")}
}

// shape are the parameters of a volume that may change while it lives.
func shape() backend.Parameters {
	return backend.Parameters{
		{Key: keyType, Aliases: []string{"volumeType"}, Type: backend.String, Default: "gp3", OneOf: volumeTypes(), Mutable: true, Help: "EBS volume type."},
		{Key: keyIOPS, Type: backend.Int, Mutable: true, Help: "Provisioned operations per second (gp3, io1, io2), cut to what the type allows at the size. Excludes iopsPerGB."},
		{Key: keyIOPSPerGB, Type: backend.Int, Mutable: true, Help: "Operations per second for each GiB of size (gp3, io1, io2), cut to what the type allows at the size. Excludes iops."},
		{Key: keyThroughput, Type: backend.Int, Mutable: true, Help: "Provisioned throughput in MiB/s (gp3)."},
	}
}

func tagParameter(of string) backend.Parameter {
	return backend.Parameter{
		Key: keyTag, Type: backend.Prefix, Mutable: true,
		Help: "Each tagSpecification_N=\"key=value\" tags the " + of + ". The value may contain {{ .PVCName }} and the like; see the tagging guide.",
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
	return ratioIOPS(kind, perGB, size, v.Bool(keyAutoCreate)), nil
}

// mostIOPS are the most that a type allows at a size.
func mostIOPS(kind string, size int64) int64 {
	l := typeLimits[kind]
	return max(min(l.maxIOPS, l.iopsPerGiB*size), l.minIOPS)
}

// cutIOPS cuts iops to what the type allows at the size, as the EBS CSI driver does: one
// class serves claims of many sizes.
func cutIOPS(values backend.Values, size int64) {
	kind := values[keyType]
	if most := mostIOPS(kind, size); typeLimits[kind].iopsPerGiB > 0 && values.Int(keyIOPS) > most {
		values[keyIOPS] = fmt.Sprint(most)
	}
}

// ratioIOPS is perGB for each GiB. Too many are cut as the EBS CSI driver does; too
// few are raised where raise is set, and otherwise EC2's to refuse with its own text.
func ratioIOPS(kind string, perGB, size int64, raise bool) int32 {
	l := typeLimits[kind]
	n := min(perGB*size, mostIOPS(kind, size))
	if raise {
		n = max(n, l.minIOPS)
	}
	return int32(n) //nolint:gosec // at most maxIOPS
}
