package kms

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// Key states: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
const (
	Enabled         = "Enabled"
	Disabled        = "Disabled"
	PendingDeletion = "PendingDeletion"
)

// EBSAlias is the alias of the key that encrypts volumes for which no key is named.
const EBSAlias = "alias/aws/ebs"

// Days until a key is deleted: https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html
const (
	minDays     = 7
	maxDays     = 30
	defaultDays = 30
)

// Config is what the service stands on.
type Config struct {
	Store           *store.Store
	Clock           *clock.Clock
	Account, Region string
}

// Service answers KMS actions.
type Service struct{ Config }

// New makes a service.
func New(c Config) *Service { return &Service{c} }

// EnsureDefaultKey makes the key for EBS if there is none.
func (s *Service) EnsureDefaultKey() error {
	return s.Store.Update(func() error {
		if _, ok := s.Store.FindKey(EBSAlias); !ok {
			k := s.newKey("Default key that protects EBS volumes when no other key is defined")
			k.Aliases, k.AWSManaged = []string{EBSAlias}, true
		}
		return nil
	})
}

// newKey adds a key within the running update.
func (s *Service) newKey(description string) *store.Key {
	hex := strings.TrimPrefix(s.Store.NewID("key"), "key-") + strings.TrimPrefix(s.Store.NewID("key"), "key-")
	id := fmt.Sprintf("%s-%s-%s-%s-%s", hex[0:8], hex[8:12], hex[12:16], hex[16:20], hex[20:32])
	k := &store.Key{
		ID: id, ARN: "arn:aws:kms:" + s.Region + ":" + s.Account + ":key/" + id,
		Description: description, State: Enabled, Created: s.Clock.Now(),
	}
	s.Store.Keys.Put(k)
	return k
}

type request struct {
	KeyID       string `json:"KeyId"`
	Description string
	Policy      string
	AliasName   string
	TargetKeyID string `json:"TargetKeyId"`
	Days        int    `json:"PendingWindowInDays"`
}

// Do answers an action.
func (s *Service) Do(_ context.Context, action string, body []byte) (any, error) {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, wire.Errorf("SerializationException", "The request body is not valid JSON.")
	}
	switch action {
	case "CreateKey":
		return s.createKey(r)
	case "DescribeKey":
		return s.describeKey(r)
	case "CreateAlias":
		return s.createAlias(r)
	case "ListAliases":
		return s.listAliases(r)
	case "EnableKey":
		return s.changeKey(r, func(k *store.Key) error { return setState(k, Enabled) })
	case "DisableKey":
		return s.changeKey(r, func(k *store.Key) error { return setState(k, Disabled) })
	case "ScheduleKeyDeletion":
		return s.scheduleDeletion(r)
	}
	return nil, wire.Errorf("UnknownOperationException", "The operation %s is not known.", action)
}

func (s *Service) createKey(r request) (any, error) {
	var k *store.Key
	err := s.Store.Update(func() error {
		k = s.newKey(r.Description)
		k.Denied = denies(r.Policy)
		return nil
	})
	return map[string]any{"KeyMetadata": s.metadata(k)}, err
}

// denies says whether a key policy refuses anything: such a key cannot be used by EC2.
func denies(policy string) bool {
	var p struct{ Statement []struct{ Effect string } }
	return json.Unmarshal([]byte(policy), &p) == nil &&
		slices.ContainsFunc(p.Statement, func(s struct{ Effect string }) bool { return s.Effect == "Deny" })
}

func (s *Service) describeKey(r request) (any, error) {
	k, err := s.find(r.KeyID)
	if err != nil {
		return nil, err
	}
	return map[string]any{"KeyMetadata": s.metadata(k)}, nil
}

func (s *Service) find(name string) (k *store.Key, err error) {
	s.Store.Read(func() { k, err = s.findNow(name) })
	return k, err
}

func (s *Service) findNow(name string) (*store.Key, error) {
	k, ok := s.Store.FindKey(name)
	switch {
	case ok:
		return k, nil
	case strings.Contains(name, "alias/"):
		return nil, wire.Errorf("NotFoundException", "Alias %s is not found.", name)
	}
	return nil, wire.Errorf("NotFoundException", "Key '%s' does not exist", name)
}

func (s *Service) metadata(k *store.Key) map[string]any {
	m := map[string]any{
		"AWSAccountId": s.Account, "KeyId": k.ID, "Arn": k.ARN, "CreationDate": k.Created.Unix(), "Enabled": k.State == Enabled,
		"Description": k.Description, "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": k.State, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
		"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": []string{"SYMMETRIC_DEFAULT"}, "MultiRegion": false,
	}
	if k.AWSManaged {
		m["KeyManager"] = "AWS"
	}
	if k.State == PendingDeletion {
		m["DeletionDate"] = k.Deletion.Unix()
	}
	return m
}

func (s *Service) createAlias(r request) (any, error) {
	if !strings.HasPrefix(r.AliasName, "alias/") || strings.HasPrefix(r.AliasName, "alias/aws/") {
		return nil, wire.Errorf("InvalidAliasNameException", "Alias must start with the prefix \"alias/\" and not with \"alias/aws/\".")
	}
	return struct{}{}, s.Store.Update(func() error {
		if _, ok := s.Store.FindKey(r.AliasName); ok {
			return wire.Errorf("AlreadyExistsException", "An alias with the name %s already exists", r.AliasName)
		}
		k, err := s.findNow(r.TargetKeyID)
		if err != nil {
			return err
		}
		k, _ = s.Store.Keys.Edit(k.ID)
		k.Aliases = append(k.Aliases, r.AliasName)
		return nil
	})
}

func (s *Service) listAliases(r request) (any, error) {
	type alias struct {
		AliasName, AliasArn string
		TargetKeyID         string `json:"TargetKeyId"`
	}
	aliases := []alias{}
	s.Store.Read(func() {
		for _, k := range s.Store.Keys.All(store.Truth) {
			if r.KeyID != "" && r.KeyID != k.ID && r.KeyID != k.ARN {
				continue
			}
			for _, a := range k.Aliases {
				aliases = append(aliases, alias{a, "arn:aws:kms:" + s.Region + ":" + s.Account + ":" + a, k.ID})
			}
		}
	})
	return map[string]any{"Aliases": aliases, "Truncated": false}, nil
}

func setState(k *store.Key, state string) error {
	if k.State == PendingDeletion {
		return wire.Errorf("KMSInvalidStateException", "%s is pending deletion.", k.ARN)
	}
	k.State = state
	return nil
}

func (s *Service) changeKey(r request, change func(*store.Key) error) (any, error) {
	return struct{}{}, s.Store.Update(func() error {
		k, err := s.findNow(r.KeyID)
		if err != nil {
			return err
		}
		k, _ = s.Store.Keys.Edit(k.ID)
		return change(k)
	})
}

func (s *Service) scheduleDeletion(r request) (any, error) {
	if r.Days == 0 {
		r.Days = defaultDays
	}
	if r.Days < minDays || r.Days > maxDays {
		return nil, wire.Errorf("ValidationException", "PendingWindowInDays %d is not between %d and %d", r.Days, minDays, maxDays)
	}
	var answer map[string]any
	_, err := s.changeKey(r, func(k *store.Key) error {
		if err := setState(k, PendingDeletion); err != nil {
			return err
		}
		k.Deletion = s.Clock.Now().AddDate(0, 0, r.Days)
		answer = map[string]any{"KeyId": k.ARN, "DeletionDate": k.Deletion.Unix(), "KeyState": k.State, "PendingWindowInDays": r.Days}
		return nil
	})
	return answer, err
}
