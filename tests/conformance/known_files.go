package main

// files are the known differences about EFS and the networks that it stands in.
func files() []explanation {
	const broken, making, there = "not of AWS's form (500)", "creating", "available"
	return []explanation{
		{"*", []string{"Instances[*].SecurityGroups[*].*", "Reservations[*].Instances[*].SecurityGroups[*].*"}, absent, "*",
			"an instance that names none has its VPC's default group; moto's has none", "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-security-groups.html"},
		{"subnets: *", []string{"Subnets[*].AssignIpv6AddressOnCreation", "Subnets[*].Ipv6Native", "Subnets[*].MapPublicIpOnLaunch", "Subnets[*].SubnetArn"}, "*", absent,
			"not read by a program about disks", api + "API_Subnet.html"},
		{"subnets: *", []string{"Subnets[*].AvailableIpAddressCount"}, "*", "4091", "how many instances the rows have made there; the emulator's have addresses of their own", api + "API_Subnet.html"},

		{"files: *", []string{"*SizeInBytes.Value", "*SizeInBytes.ValueInStandard"}, "0", "6144", "the metadata of an empty file system is metered: AWS's examples have 6144", efsAPI + "metered-sizes.html"},
		{"files: *", []string{"*SizeInBytes.ValueInArchive"}, absent, "0", "newer than moto", efsAPI + "API_FileSystemSize.html"},
		{"files: *", []string{"Name", "FileSystems[*].Name"}, "", absent, "only where the tag Name is set", efsAPI + "API_FileSystemDescription.html"},
		{"files: make one of one zone", []string{"KmsKeyId"}, absent, "arn:aws:kms:*", "an encrypted file system shows its key", efsAPI + "API_FileSystemDescription.html"},
		{"files: *", []string{"LifeCycleState"}, there, making, "what was just made is not there yet", efsAPI + "API_CreateFileSystem.html"},
		{"files: elastic", failed, broken, absent, "moto breaks on a change of throughput", efsAPI + "API_UpdateFileSystem.html"},
		{"files: reach it from no subnet", failed, "SubnetNotFound (404)", "SubnetNotFound (400)", "AWS documents 400", efsAPI + "API_CreateMountTarget.html"},
		{"files: its groups", []string{"SecurityGroups[*]"}, absent, "*", "a mount target that names none has its VPC's default group", efsAPI + "API_CreateMountTarget.html"},
		{"files: enter an unknown one", failed, absent, "FileSystemNotFound (404)", "moto takes any file system", efsAPI + "API_CreateAccessPoint.html"},
	}
}
