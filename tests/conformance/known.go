package main

// Where AWS says so.
const (
	api    = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/"
	codes  = api + "errors-overview.html"
	efsAPI = "https://docs.aws.amazon.com/efs/latest/ug/"
	kmsAPI = "https://docs.aws.amazon.com/kms/latest/APIReference/"
	stsAPI = "https://docs.aws.amazon.com/STS/latest/APIReference/"
)

// known are the differences that are meant, each with where AWS says so.
func known() []explanation {
	var all []explanation
	for _, part := range [][]explanation{notEmulated(), notInMoto(), otherValues(), errorsOnlyMotoGives(), refusedByAWS(), refusedOtherwise(), files(), buckets()} {
		all = append(all, part...)
	}
	return all
}

// notEmulated are fields that a program about disks does not read. The emulator leaves them out.
func notEmulated() []explanation {
	prefixed := func(prefixes, names []string) (out []string) {
		for _, p := range prefixes {
			for _, n := range names {
				out = append(out, p+n)
			}
		}
		return out
	}
	instance := prefixed([]string{"Instances[*].", "Reservations[*].Instances[*]."}, []string{
		"AmiLaunchIndex", "ClientToken", "KernelId", "Monitoring.State", "Placement.GroupName", "Platform", "PublicDnsName", "PublicIpAddress",
		"SourceDestCheck", "StateReason.*", "StateTransitionReason", "VirtualizationType",
		"NetworkInterfaces[*].Association.*", "NetworkInterfaces[*].Attachment.AttachTime", "NetworkInterfaces[*].Attachment.AttachmentId",
		"NetworkInterfaces[*].Attachment.DeleteOnTermination", "NetworkInterfaces[*].Attachment.Status", "NetworkInterfaces[*].Description",
		"NetworkInterfaces[*].Groups*", "NetworkInterfaces[*].OwnerId", "NetworkInterfaces[*].PrivateIpAddresses*", "NetworkInterfaces[*].SourceDestCheck",
	})
	kind := prefixed([]string{"InstanceTypes[*]."}, []string{
		"AutoRecoverySupported", "BurstablePerformanceSupported", "DedicatedHostsSupported", "EbsInfo.EbsOptimizedInfo.*", "FreeTierEligible",
		"HibernationSupported", "InstanceStorageInfo.*", "NetworkInfo.*", "PlacementGroupInfo.*", "ProcessorInfo.SustainedClockSpeedInGhz",
		"SupportedUsageClasses*", "VCpuInfo.*",
	})
	return []explanation{
		{"*", instance, "*", absent, "networks, images and launch details are no part of a disk's life", api + "API_Instance.html"},
		{"instance types: *", kind, "*", absent, "what a type can do beside disks", api + "API_InstanceTypeInfo.html"},
		{"*", prefixed([]string{"Instances[*].", "Reservations[*].Instances[*]."}, []string{"BlockDeviceMappings[/dev/sda1].*"}), "*", absent,
			"root volumes are the image's: the emulator counts them against the limit and shows them nowhere", api + "API_InstanceBlockDeviceMapping.html"},
		{"run*", []string{"Groups*"}, "*", absent, "groups of a reservation are of EC2-Classic, which is no more", api + "API_Reservation.html"},
		{"the second of them", []string{"Groups*"}, "*", absent, "groups of a reservation are of EC2-Classic, which is no more", api + "API_Reservation.html"},
	}
}

// notInMoto are fields that AWS documents and moto does not send.
func notInMoto() []explanation {
	volume := []string{
		"AvailabilityZoneId", "FastRestored", "Iops", "MultiAttachEnabled", "OwnerId", "Throughput", "VolumeArn",
		"Volumes[*].AvailabilityZoneId", "Volumes[*].FastRestored", "Volumes[*].Iops", "Volumes[*].MultiAttachEnabled", "Volumes[*].OwnerId",
		"Volumes[*].Throughput", "Volumes[*].VolumeArn",
	}
	return []explanation{
		{"zones: *", []string{"AvailabilityZones[*].GroupName", "AvailabilityZones[*].NetworkBorderGroup", "AvailabilityZones[*].OptInStatus"}, absent, "*",
			"not in moto", api + "API_AvailabilityZone.html"},
		{"instance types: *", []string{"InstanceTypes[*].EbsInfo.AttachmentLimitType", "InstanceTypes[*].EbsInfo.MaximumEbsAttachments", "InstanceTypes[*].EbsInfo.MaximumEbsCards"}, absent, "*",
			"newer than moto's copy of the instance types", api + "API_EbsInfo.html"},
		{"*", []string{"Instances[*].Placement.AvailabilityZoneId", "Reservations[*].Instances[*].Placement.AvailabilityZoneId"}, absent, "id-*", "not in moto", api + "API_Placement.html"},
		{"*", []string{"Instances[*].NetworkInterfaces[*].Attachment.NetworkCardIndex", "Reservations[*].Instances[*].NetworkInterfaces[*].Attachment.NetworkCardIndex"}, absent, "0",
			"not in moto", api + "API_InstanceNetworkInterfaceAttachment.html"},
		{"*", volume, absent, "*", "not in moto: a gp2 volume's baseline and a gp3 volume's default throughput are part of the answer", api + "API_Volume.html"},
		{"*tach: *", []string{"DeleteOnTermination"}, absent, "false", "not in moto", api + "API_VolumeAttachment.html"},
		{"modif*", []string{"*Iops", "*MultiAttachEnabled", "*Throughput"}, absent, "*", "moto knows modifications of size and type only", api + "API_VolumeModification.html"},
		{"snapshot*", []string{"StorageTier", "Snapshots[*].StorageTier", "Snapshots[*].CompletionTime", "KmsKeyId"}, absent, "*", "not in moto", api + "API_Snapshot.html"},
		{"*key*", []string{"KeyMetadata.KeyUsage", "KeyMetadata.MultiRegion"}, absent, "*", "not in moto", kmsAPI + "API_KeyMetadata.html"},
		{"key: *", []string{"KeyMetadata.KeyUsage", "KeyMetadata.MultiRegion"}, absent, "*", "not in moto", kmsAPI + "API_KeyMetadata.html"},
		{"schedule its deletion", []string{"KeyState", "PendingWindowInDays"}, absent, "*", "not in moto", kmsAPI + "API_ScheduleKeyDeletion.html"},
		{"assume a role with a web identity", []string{"SubjectFromWebIdentityToken"}, absent, "web-identity", "not in moto", stsAPI + "API_AssumeRoleWithWebIdentity.html"},
	}
}

// otherValues are fields that both send.
func otherValues() []explanation {
	return []explanation{
		{"*", []string{"Instances[*].RootDeviceName", "Reservations[*].Instances[*].RootDeviceName"}, "/dev/sda1", "/dev/xvda",
			"the image's choice; Amazon Linux has /dev/xvda", "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html"},
		{"create: with the token again", []string{"VolumeId", "State"}, "*", "*", "moto ignores the client token and makes another volume", "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html"},
		{"instances: with a volume", []string{"Reservations[*].Instances[*].BlockDeviceMappings[/dev/xvdba].Ebs.Status"}, "in-use", "attached", "moto shows the volume's state instead of the attachment's", api + "API_EbsInstanceBlockDevice.html"},
		{"volumes: faster", []string{"Volumes[vol-token].Iops"}, "3000", "4000", "moto does not change IOPS", api + "API_ModifyVolume.html"},
		{"snapshot: *", []string{"Progress"}, "60%", "0%", "how far it is at that moment; moto repeats the documentation's example", api + "API_CreateSnapshot.html"},
		{"snapshot: of an encrypted volume", []string{"Description"}, "None", "", "moto sends Python's None", api + "API_Snapshot.html"},
		{"create: from an encrypted snapshot", []string{"KmsKeyId"}, "None", "arn:aws:kms:*", "moto sends Python's None", api + "API_Volume.html"},
		{"create: encrypted with a key", []string{"KmsKeyId"}, "key-a", "arn:aws:kms:*:key/key-a", "the field is the key's ARN, however it was named", api + "API_Volume.html"},
		{"schedule its deletion", []string{"KeyId"}, "key-a", "arn:aws:kms:*:key/key-a", "the field is the key's ARN", kmsAPI + "API_ScheduleKeyDeletion.html"},
		{"who am I", []string{"Arn", "UserId"}, "*", "*", "the user's name, and moto's has an access key for an id", "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"},
		{"assume a role*", []string{"PackedPolicySize"}, "6", absent, "only where a session policy was passed", stsAPI + "API_AssumeRole.html"},
		{"assume a role with a web identity", []string{"AssumedRoleUser.AssumedRoleId"}, "*:conformance", "(principal):conformance", "moto's has no role's id", "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"},
	}
}

var failed = []string{"error"}

// errorsOnlyMotoGives are calls that moto cannot do.
func errorsOnlyMotoGives() []explanation {
	const broken = "not of AWS's form (500)"
	return []explanation{
		{"volume status", failed, broken, absent, "moto lacks the call", api + "API_DescribeVolumeStatus.html"},
		{"copy a volume", failed, broken, absent, "moto lacks the call", api + "API_CopyVolumes.html"},
		{"enable fast restore", failed, broken, absent, "moto lacks the call", api + "API_EnableFastSnapshotRestores.html"},
		{"instances: by their volume's status", failed, broken, absent, "moto lacks the filter", api + "API_DescribeInstances.html"},
		{"detach: no instance named", failed, broken, absent, "the instance may be left out of a volume with one attachment", api + "API_DetachVolume.html"},
		{"modify: nothing", failed, "InvalidParameterValue (400)", absent, "what is not named keeps its value: nothing is required", api + "API_ModifyVolume.html"},
		{"delete: the volume of the ended instance", failed, "VolumeInUse (400)", absent, "a terminated instance's volumes that are kept are detached", "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/preserving-volumes-on-termination.html"},
	}
}

// refusedByAWS are calls that moto does and AWS refuses.
func refusedByAWS() []explanation {
	const value = "InvalidParameterValue (400)"
	return []explanation{
		{"create: with the token and another size", failed, absent, "IdempotentParameterMismatch (400)", "moto ignores the client token", "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html"},
		{"create: a zone that is not", failed, absent, "InvalidZone.NotFound (400)", "moto takes any zone", codes},
		{"create: gp3 with too many IOPS for its size", failed, absent, value, "500 IOPS per GiB at most", "https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html"},
		{"create: st1, too small", failed, absent, value, "125 GiB at least", api + "API_CreateVolume.html"},
		{"create: from a snapshot, smaller", failed, absent, value, "a volume is at least as large as its snapshot", api + "API_CreateVolume.html"},
		{"create: tags of another kind of resource", failed, absent, value, "only the resource that is made can be tagged", api + "API_TagSpecification.html"},
		{"create: reserved tag", failed, absent, value, "aws: is AWS's own prefix", "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions"},
		{"tag: a reserved key", failed, absent, value, "aws: is AWS's own prefix", "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions"},
		{"volumes: dry run", failed, absent, "DryRunOperation (412)", "every call of EC2 has a dry run", api + "CommonParameters.html"},
		{"volumes: a page of named ids", failed, absent, "InvalidParameterCombination (400)", "MaxResults and ids exclude each other", api + "API_DescribeVolumes.html"},
		{"attach: it to a second instance", failed, absent, "VolumeInUse (400)", "only io1 and io2 volumes can be made to share", "https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html"},
		{"attach: at a device that is taken", failed, absent, value, "one volume at one device", api + "API_AttachVolume.html"},
		{"attach: to an instance in another zone", failed, absent, "InvalidVolume.ZoneMismatch (400)", "volume and instance share a zone", codes},
		{"attach: to a terminated instance", failed, absent, "IncorrectState (400)", "it runs or is stopped", codes},
		{"start a terminated one", failed, absent, "IncorrectInstanceState (400)", "it is no more", codes},
		{"modify: shrink", failed, absent, value, "a volume cannot be made smaller", api + "API_ModifyVolume.html"},
		{"modifications: never modified", failed, absent, "InvalidVolumeModification.NotFound (400)", "there is none to show", codes},
		{"untag: an unknown volume", failed, absent, "InvalidVolume.NotFound (400)", "it does not exist", codes},
		{"create a reserved alias", failed, absent, "InvalidAliasNameException (400)", "alias/aws/ is AWS's own prefix", kmsAPI + "API_CreateAlias.html"},
	}
}

// refusedOtherwise are calls that both refuse, for the reason that AWS gives and for another.
func refusedOtherwise() []explanation {
	const value, combination = "InvalidParameterValue (400)", "InvalidParameterCombination (400)"
	return []explanation{
		{"instances: malformed id", failed, "InvalidInstanceID.NotFound (400)", "InvalidInstanceID.Malformed (400)", "moto does not check the form", codes},
		{"volumes: malformed id", failed, "InvalidVolume.NotFound (400)", value, "moto does not check the form", codes},
		{"snapshots: malformed id", failed, "InvalidSnapshot.NotFound (400)", value, "moto does not check the form", codes},
		{"volumes: where no-such-filter is x", failed, "not of AWS's form (500)", value, "moto breaks on a filter that it does not know", codes},
		{"snapshots: unknown filter", failed, "not of AWS's form (500)", value, "moto breaks on a filter that it does not know", codes},
		{"create: io2 without IOPS", failed, "InvalidParameterDependency (400)", combination, "AWS's words: The parameter iops must be specified for io2 volumes",
			"https://github.com/kubernetes-sigs/aws-ebs-csi-driver/issues/766"},
		{"create: gp2 with IOPS", failed, "InvalidParameterDependency (400)", combination, "AWS's words: The parameter iops is not supported for gp2 volumes",
			"https://github.com/boto/boto3/issues/2474"},
		{"create: io1 with throughput", failed, "InvalidParameterDependency (400)", combination, "AWS's words: throughput can only be specified for volumeType gp3",
			"https://github.com/runs-on/runs-on/issues/426"},
		{"detach: from it again", failed, "InvalidAttachment.NotFound (400)", "IncorrectState (400)", "AWS's words: the volume is in the 'available' state", codes},
	}
}
