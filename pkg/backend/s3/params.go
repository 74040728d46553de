package s3

import (
	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// The keys of a StorageClass.
const (
	keyBucket     = "bucket"
	keyBase       = "basePrefix"
	keyNamePrefix = "bucketNamePrefix"
	keyProfile    = "endpointProfile"
	keyRegion     = "region"
	keyEncryption = "encryption"
	keyKMSKey     = "kmsKeyId"
	keyBucketKey  = "bucketKey"
	keyVersioning = "versioning"
	keyUploadDays = "abortUploadsAfterDays"
	keyOnDelete   = "onDelete"
	keyExisting   = "existingResourceId"
	keyUID        = "uid"
	keyGID        = "gid"
	keyUmask      = "umask"
	keyPerms      = "permissions"
	keyCache      = "cacheSizeMiB"
)

// Values of onDelete and of encryption.
const (
	fateDelete = "delete"
	fateRetain = "retain"
	withS3     = "sse-s3"
	withKMS    = "sse-kms"
)

// Parameters declares what a StorageClass may say.
func Parameters() backend.Parameters {
	return append(placeParameters(), useParameters()...)
}

// placeParameters say what is made, and where.
func placeParameters() backend.Parameters {
	return backend.Parameters{
		{Key: keyBucket, Type: backend.String, Help: "Bucket that exists, in which each volume is a prefix. Without it each volume is a bucket of its own."},
		{Key: keyBase, Aliases: []string{"prefix"}, Type: backend.String, Help: "Prefix in the given bucket below which the volumes' prefixes lie. It may contain ${.PVC.name}, ${.PVC.namespace} and ${.PV.name}."},
		{Key: keyNamePrefix, Aliases: []string{"namePrefix"}, Type: backend.String, Help: "Beginning of the names of new buckets; the volume's name and 16 digits that follow from it come after."},
		{Key: keyProfile, Aliases: []string{"profile"}, Type: backend.String, Help: "Endpoint profile of the driver's --s3-profiles: which S3 server. Without it AWS, or the profile \"default\"."},
		{Key: keyRegion, Type: backend.String, Help: "Region of the bucket; without it the driver's, or the profile's."},
		{Key: keyEncryption, Aliases: []string{"sse"}, Type: backend.String, OneOf: []string{withS3, withKMS}, Help: "Default encryption of a new bucket; sse-s3 where no KMS key is named."},
		{Key: keyKMSKey, Aliases: []string{"encryptionKey", "kms_key_arn"}, Type: backend.KMSKey, Help: "KMS key of a new bucket (id, ARN or alias); implies sse-kms."},
		{Key: keyBucketKey, Type: backend.Bool, Default: "true", Help: "Use an S3 bucket key with sse-kms, which saves most requests to KMS."},
		{Key: keyVersioning, Type: backend.Bool, Default: "false", Help: "Keep what is overwritten or deleted in a new bucket, until the volume is deleted."},
		{Key: keyUploadDays, Type: backend.Int, Default: "7", Help: "Drop uploads to a new bucket that nobody finished within so many days; 0 keeps them."},
		{Key: keyExisting, Type: backend.String, Help: "Use this bucket (s3://bucket) or prefix (s3://bucket/prefix/) as the volume; it is never deleted."},
		{Key: backend.TagParameter, Type: backend.Prefix, Help: "Tag of a new bucket, as key=value with placeholders such as {{ .PVCName }}; any text may follow the parameter's name."},
	}
}

// useParameters say what becomes of a volume and how nodes show it.
func useParameters() backend.Parameters {
	return backend.Parameters{
		{Key: keyOnDelete, Type: backend.String, Default: fateDelete, OneOf: []string{fateDelete, fateRetain}, Help: "What becomes of the objects when the volume is deleted."},
		{Key: keyUID, Type: backend.String, Help: "Numeric user that files appear to belong to; 0 where it is not given."},
		{Key: keyGID, Type: backend.String, Help: "Numeric group of them; without it the pod's fsGroup."},
		{Key: keyUmask, Type: backend.String, Help: "Permission bits that files lack, in octal; 0007 where a user or group is known, otherwise 0022."},
		{Key: keyPerms, Type: backend.String, OneOf: []string{volume.PermissionsVolume, volume.PermissionsFile}, Help: "Whose files are: volume, as uid, gid and umask say for all; file, as chmod and chown say for each, without uid, gid, umask and fsGroup."},
		{Key: keyCache, Type: backend.Int, Help: "Most of a node's disk, in MiB, that files being read and written may take for one mount."},
	}
}
