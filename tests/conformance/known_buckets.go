package main

// buckets are the known differences about S3.
func buckets() []explanation {
	const s3API = "https://docs.aws.amazon.com/AmazonS3/latest/API/"
	regions := s3API + "API_CreateBucketConfiguration.html"
	return []explanation{
		{"buckets: make *", []string{"BucketArn"}, absent, "arn:aws:s3:::*", "newer than moto", s3API + "API_CreateBucket.html"},
		{"buckets: make *", []string{"Location"}, absent, "/*", "the answer has the header", s3API + "API_CreateBucket.html"},
		{"buckets: make one with tags", failed, "MalformedXML (400)", absent, "moto takes a configuration for a region; it may have nothing but tags", regions},
		{"buckets: tags of its making", failed, "NoSuchBucket (404)", absent, "moto has not made the bucket with tags", regions},
		{"buckets: make one elsewhere", failed, absent, "IllegalLocationConstraintException (400)", "the emulator is one region; AWS's first one answers otherwise, others as it does", s3API + "API_CreateBucket.html"},
		{"buckets: make one of no region", failed, absent, "IllegalLocationConstraintException (400)", "moto takes any region", regions},
		{"buckets: make one of a wrong name", failed, absent, "InvalidBucketName (400)", "moto takes any name", "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"},
		{"buckets: look at it*", []string{"AccessPointAlias"}, absent, "false", "not in moto", s3API + "API_HeadBucket.html"},
		{"buckets: look at it as another's", failed, absent, "Forbidden (403)", "moto does not read the expected owner", "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html"},
		{"buckets: list", []string{"Buckets[*].BucketRegion"}, absent, region, "newer than moto", s3API + "API_Bucket.html"},
		{"buckets: list", []string{"Buckets[Wrong_Name].*", "Buckets[far-bucket].*", "Buckets[lost-bucket].*"}, "*", absent, "the emulator has refused to make it", regions},
		{"buckets: list", []string{"Buckets[tagged-bucket].*"}, absent, "*", "moto has refused to make it", regions},
		{"buckets: *", []string{"*Owner.ID", "*Owner.DisplayName", "*Initiator.ID", "*Initiator.DisplayName"}, "*", "*", "who it is: names are each server's own", s3API + "API_Owner.html"},
		{"buckets: write *", []string{"BucketKeyEnabled", "SSEKMSKeyId", "ServerSideEncryption"}, "*", absent, "the emulator keeps what the bucket says of encryption, and encrypts nothing", s3API + "API_PutObject.html"},
		{"buckets: write *", []string{"ChecksumCRC64NVME", "ChecksumType", "Size"}, absent, "*", "newer than moto", s3API + "API_PutObject.html"},
		{"buckets: *", []string{"Contents[*].Checksum*", "Versions[*].Checksum*"}, absent, "*", "newer than moto", s3API + "API_Object.html"},
		{"buckets: list one of all", []string{"NextContinuationToken"}, "*", "*", "each server's own", s3API + "API_ListObjectsV2.html"},
		{"buckets: list one of all", []string{"Prefix"}, "", absent, "none was asked for", s3API + "API_ListObjectsV2.html"},
		{"buckets: *", []string{"Delimiter", "NextKeyMarker", "NextVersionIdMarker", "NextUploadIdMarker"}, "*", "", "there is none; moto leaves it out, or sends Python's None", s3API + "API_ListObjectVersions.html"},
		{"buckets: uploads *", []string{"Prefix"}, absent, "prod/", "the prefix that was asked for is part of the answer", s3API + "API_ListMultipartUploads.html"},
		{"buckets: delete versions and a marker", []string{"Deleted[kept/a].DeleteMarker", "Deleted[kept/a].DeleteMarkerVersionId"}, absent, "*", "a deleted delete marker is named; moto leaves it out", s3API + "API_DeletedObject.html"},
	}
}
