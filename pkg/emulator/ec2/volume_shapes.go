package ec2

import (
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// volumeItem is a volume in an answer.
type volumeItem struct {
	VolumeID       string           `xml:"volumeId"`
	ARN            string           `xml:"volumeArn"`
	Owner          string           `xml:"ownerId"`
	Size           int              `xml:"size"`
	SnapshotID     string           `xml:"snapshotId"`
	SourceVolumeID string           `xml:"sourceVolumeId,omitempty"`
	Zone           string           `xml:"availabilityZone"`
	ZoneID         string           `xml:"availabilityZoneId"`
	Status         string           `xml:"status"`
	CreateTime     wire.Time        `xml:"createTime"`
	Attachments    []attachmentItem `xml:"attachmentSet>item"`
	Tags           []tag            `xml:"tagSet>item"`
	Type           string           `xml:"volumeType"`
	IOPS           int              `xml:"iops,omitempty"`
	Throughput     int              `xml:"throughput,omitempty"`
	InitRate       int              `xml:"volumeInitializationRate,omitempty"`
	Encrypted      bool             `xml:"encrypted"`
	KMSKeyID       string           `xml:"kmsKeyId,omitempty"`
	FastRestored   bool             `xml:"fastRestored"`
	MultiAttach    bool             `xml:"multiAttachEnabled"`
}

type attachmentItem struct {
	VolumeID            string    `xml:"volumeId"`
	InstanceID          string    `xml:"instanceId"`
	Device              string    `xml:"device"`
	Status              string    `xml:"status"`
	AttachTime          wire.Time `xml:"attachTime"`
	DeleteOnTermination bool      `xml:"deleteOnTermination"`
}

func (s *Service) volumeItem(v *store.Volume) volumeItem {
	item := volumeItem{
		VolumeID: v.ID, ARN: "arn:aws:ec2:" + s.Region + ":" + s.Account + ":volume/" + v.ID, Owner: s.Account,
		Size: v.SizeGiB, SnapshotID: v.Snapshot, SourceVolumeID: v.Source,
		Zone: v.Zone, ZoneID: s.zoneID(v.Zone), Status: v.Status(), CreateTime: wire.NewTime(v.Created),
		Tags: tagSet(v.Tags), Type: v.Type, IOPS: v.IOPS, Throughput: v.ThroughputMiBs, InitRate: v.InitRateMiBs,
		Encrypted: v.Encrypted, KMSKeyID: v.KMSKey, FastRestored: v.FastRestored, MultiAttach: v.MultiAttach,
	}
	if v.State == store.Gone { // the answer to its token again
		item.Status = store.Creating
	}
	for _, a := range v.Attachments {
		item.Attachments = append(item.Attachments, newAttachmentItem(v.ID, a))
	}
	return item
}

func newAttachmentItem(volume string, a store.Attachment) attachmentItem {
	return attachmentItem{
		VolumeID: volume, InstanceID: a.Instance, Device: a.Device, Status: a.State,
		AttachTime: wire.NewTime(a.Since), DeleteOnTermination: a.DeleteOnTermination,
	}
}

// modificationItem is a modification in an answer.
type modificationItem struct {
	VolumeID            string    `xml:"volumeId"`
	State               string    `xml:"modificationState"`
	TargetSize          int       `xml:"targetSize"`
	TargetIOPS          int       `xml:"targetIops,omitempty"`
	TargetType          string    `xml:"targetVolumeType"`
	TargetThroughput    int       `xml:"targetThroughput,omitempty"`
	TargetMultiAttach   bool      `xml:"targetMultiAttachEnabled"`
	OriginalSize        int       `xml:"originalSize"`
	OriginalIOPS        int       `xml:"originalIops,omitempty"`
	OriginalType        string    `xml:"originalVolumeType"`
	OriginalThroughput  int       `xml:"originalThroughput,omitempty"`
	OriginalMultiAttach bool      `xml:"originalMultiAttachEnabled"`
	Progress            int       `xml:"progress"`
	StatusMessage       string    `xml:"statusMessage,omitempty"`
	StartTime           wire.Time `xml:"startTime"`
	EndTime             wire.Time `xml:"endTime,omitempty"`
}

func (s *Service) modificationItem(volume string, m store.Modification) modificationItem {
	item := modificationItem{
		VolumeID: volume, State: m.State, StartTime: wire.NewTime(m.Started),
		TargetSize: m.Target.SizeGiB, TargetIOPS: m.Target.IOPS, TargetType: m.Target.Type,
		TargetThroughput: m.Target.ThroughputMiBs, TargetMultiAttach: m.Target.MultiAttach,
		OriginalSize: m.Original.SizeGiB, OriginalIOPS: m.Original.IOPS, OriginalType: m.Original.Type,
		OriginalThroughput: m.Original.ThroughputMiBs, OriginalMultiAttach: m.Original.MultiAttach,
	}
	switch m.State {
	case store.Completed:
		item.Progress, item.EndTime = 100, wire.NewTime(m.Completes)
	case store.Failed:
		item.StatusMessage, item.EndTime = "The modification failed; try again.", wire.NewTime(m.Optimizes)
	case store.Optimizing:
		item.Progress = percent(m.Optimizes, m.Completes, s.Clock.Now())
	}
	return item
}
