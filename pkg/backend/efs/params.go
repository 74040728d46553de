package efs

import (
	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Keys of the declared parameters.
const (
	keyMode        = "provisioningMode"
	keyFileSystem  = "fileSystemId"
	keyPerformance = "performanceMode"
	keyThroughput  = "throughputMode"
	keyMiBs        = "provisionedThroughputInMibps"
	keyEncrypted   = "encrypted"
	keyKMSKey      = "kmsKeyId"
	keyOneZone     = "oneZone"
	keyZone        = "availabilityZone"
	keyToIA        = "transitionToIA"
	keyToArchive   = "transitionToArchive"
	keyToPrimary   = "transitionToPrimaryStorageClass"
	keyBackup      = "backup"
	keyGroups      = volume.ContextSecurityGroups
	keySubnets     = volume.ContextSubnets
	keyUID         = "uid"
	keyGID         = "gid"
	keyGIDStart    = "gidRangeStart"
	keyGIDEnd      = "gidRangeEnd"
	keyPerms       = "directoryPerms"
	keyBasePath    = "basePath"
	keySubPath     = "subPathPattern"
	keyUnique      = "ensureUniqueDirectory"
	keyOnDelete    = "onDelete"
	keyTLS         = "encryptInTransit"
	keyExisting    = "existingResourceId"
	keyNamePrefix  = "namePrefix"
)

// Provisioning modes.
const (
	modeFileSystem  = "filesystem"
	modeDirectory   = "directory"
	modeAccessPoint = "accesspoint"
	modeEFSDriver   = "efs-ap" // the EFS CSI driver's word for accesspoint
)

// Parameters declares what a StorageClass may say about EFS volumes. Names that the
// EFS CSI driver has are its own; aliases are REX-Ray's options and EBS's names.
func Parameters() backend.Parameters {
	return append(append(append(shapeParameters(), throughput()...), placeParameters()...), ownerParameters()...)
}

// shapeParameters say what a volume is.
func shapeParameters() backend.Parameters {
	after := []string{"AFTER_1_DAY", "AFTER_7_DAYS", "AFTER_14_DAYS", "AFTER_30_DAYS", "AFTER_60_DAYS", "AFTER_90_DAYS", "AFTER_180_DAYS", "AFTER_270_DAYS", "AFTER_365_DAYS"}
	return backend.Parameters{
		{Key: keyMode, Type: backend.String, Default: modeFileSystem, OneOf: []string{modeFileSystem, modeDirectory, modeAccessPoint, modeEFSDriver},
			Help: "What a volume is: a file system of its own, a directory of the file system fileSystemId, or (experimental) an access point there; efs-ap means accesspoint."},
		{Key: keyFileSystem, Type: backend.String, Help: "File system (fs-…) in which directories or access points are made; for access points several, separated by commas."},
		{Key: keyPerformance, Aliases: []string{"volumeType", "type"}, Type: backend.String, Default: "generalPurpose", OneOf: []string{"generalPurpose", "maxIO"},
			Help: "Performance mode of a new file system; maxIO excludes elastic throughput and One Zone."},
		{Key: keyEncrypted, Type: backend.Bool, Default: "true", Help: "Encrypt a new file system at rest."},
		{Key: keyKMSKey, Aliases: []string{"encryptionKey", "kms_key_arn"}, Type: backend.KMSKey, Help: "KMS key (ARN, id or alias) for encryption at rest. Without it the driver's --default-kms-key-id, then the account's key for EFS."},
		{Key: keyToIA, Type: backend.String, OneOf: after, Help: "When files that nobody reads move to Infrequent Access."},
		{Key: keyToArchive, Type: backend.String, OneOf: after, Help: "When files that nobody reads move to Archive; later than transitionToIA."},
		{Key: keyToPrimary, Type: backend.String, OneOf: []string{"AFTER_1_ACCESS"}, Help: "Move files back to Standard when they are read."},
		{Key: keyBackup, Type: backend.Bool, Help: "Back a new file system up daily with AWS Backup. Without it EFS decides: One Zone yes, others no."},
		{Key: keyTLS, Type: backend.Bool, Default: "false", Help: "Mount through a TLS tunnel; access points are always mounted so."},
		{Key: keyExisting, Type: backend.String, Help: "File system (fs-…) or access point (fs-…::fsap-…) to adopt instead of making one. It is never deleted; deleting the claim only forgets it."},
		{Key: keyNamePrefix, Aliases: []string{"tag"}, Type: backend.String, Help: "Begins the tag Name of what is made, before a slash and the volume's name."},
		{Key: keyOnDelete, Type: backend.String, OneOf: []string{"delete", "retain", "archive"},
			Help: "What deleting a volume does. A file system: delete (default), retain, or archive, which keeps it without mount targets. A directory: retain (default); delete and archive are done by diskbridge-csi janitor. An access point: its directory is always retained."},
		{Key: backend.TagParameter, Type: backend.Prefix, Help: "Each tagSpecification_N=\"key=value\" tags the file system or access point. The value may contain {{ .PVCName }} and the like; see the tagging guide."},
	}
}

// placeParameters say where a volume is reachable.
func placeParameters() backend.Parameters {
	return backend.Parameters{
		{Key: keyOneZone, Type: backend.Bool, Help: "Make a One Zone file system, in the zone of the topology (WaitForFirstConsumer: the pod's)."},
		{Key: keyZone, Aliases: []string{"availabilityZoneName", "zone", "availability_zone"}, Type: backend.String, Help: "Make a One Zone file system in this availability zone."},
		{Key: keySubnets, Aliases: []string{"subnets"}, Type: backend.String, Help: "Subnets (subnet-…) for mount targets, separated by commas, at most one in a zone. Without it a mount target is made in the subnet of the first node of each zone that uses the volume."},
		{Key: keyGroups, Aliases: []string{"securityGroups"}, Type: backend.String, Help: "Security groups (sg-…) of new mount targets, separated by commas, at most 5; they must let TCP 2049 in from the nodes. Without it the node's own groups, or the VPC's default group, whichever lets the node in."},
		{Key: "az", Type: backend.String, Help: "Accepted and ignored: every node uses the mount target of its own zone."},
		{Key: "enableTagging", Type: backend.Bool, Help: "Accepted and ignored: what is made is always tagged."},
	}
}

// ownerParameters say who may use a volume, and where it lies in a given file system.
func ownerParameters() backend.Parameters {
	return backend.Parameters{
		{Key: keyUID, Type: backend.String, Help: "Numeric owner of the directory, or of a new file system's root; 0 where it is not given."},
		{Key: keyGID, Type: backend.String, Help: "Numeric group of it; 0 where it is not given. Excludes gidRangeStart and gidRangeEnd."},
		{Key: keyGIDStart, Type: backend.String, Help: "First of a range of groups; a volume's group follows from its name. Needs gidRangeEnd."},
		{Key: keyGIDEnd, Type: backend.String, Help: "Last of the range of groups."},
		{Key: keyPerms, Type: backend.String, Help: "Mode of it in octal, such as 0770. Without it 0777, or 0770 where a user or group is given."},
		{Key: keyBasePath, Type: backend.String, Help: "Directory of the given file system below which directories are made; it may have the placeholders of subPathPattern. They and what leads to them are made by the node."},
		{Key: keySubPath, Type: backend.String, Help: "Name of the directory, of ${.PVC.name}, ${.PVC.namespace} and ${.PV.name} (needs --extra-create-metadata), with / between parts. Without it the volume's name."},
		{Key: keyUnique, Type: backend.Bool, Default: "true", Help: "End the name that subPathPattern makes with letters that follow from the volume's name, so that no two volumes have one directory."},
	}
}

// MutableParameters declares what a VolumeAttributesClass may say.
func MutableParameters() backend.Parameters { return throughput() }

func throughput() backend.Parameters {
	return backend.Parameters{
		{Key: keyThroughput, Type: backend.String, OneOf: []string{"bursting", "provisioned", "elastic"}, Mutable: true,
			Help: "Throughput mode of a file system; a new one is bursting, or provisioned where MiB/s are given. EFS lets it change once in 24 hours."},
		{Key: keyMiBs, Aliases: []string{"provisionedThroughput"}, Type: backend.Int, Mutable: true, Help: "Provisioned throughput in MiB/s, 1 to 3414. EFS lets it fall once in 24 hours."},
	}
}
