package sts

import (
	"context"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// Namespace is STS's XML namespace.
const Namespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// Durations of temporary credentials: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const (
	defaultSeconds = 3600
	minSeconds     = 900
	maxSeconds     = 43200
)

// Config is what the service stands on.
type Config struct {
	Signatures *wire.Signatures
	Account    string
	Now        func() time.Time // real time, for it is what clients compare expiry with
	Unique     func() string    // differs at every call
}

// Service answers STS actions.
type Service struct{ Config }

// New makes a service.
func New(c Config) *Service { return &Service{c} }

type credentials struct {
	AccessKeyID  string    `xml:"AccessKeyId"`
	Secret       string    `xml:"SecretAccessKey"`
	SessionToken string    `xml:"SessionToken"`
	Expiration   wire.Time `xml:"Expiration"`
}

type assumed struct {
	Credentials credentials `xml:"Credentials"`
	ARN         string      `xml:"AssumedRoleUser>Arn"`
	ID          string      `xml:"AssumedRoleUser>AssumedRoleId"`
	Subject     string      `xml:"SubjectFromWebIdentityToken,omitempty"`
}

// NeedsSignature says whether the action must be signed; a web identity's token stands for a signature.
func NeedsSignature(action string) bool { return action != "AssumeRoleWithWebIdentity" }

// Do answers an action for a caller.
func (s *Service) Do(_ context.Context, action string, caller wire.Identity, p *wire.Params) (any, error) {
	switch action {
	case "GetCallerIdentity":
		return struct {
			ARN     string `xml:"Arn"`
			UserID  string `xml:"UserId"`
			Account string
		}{caller.ARN, caller.UserID, s.Account}, nil
	case "AssumeRole":
		return s.assume(p, "")
	case "AssumeRoleWithWebIdentity":
		if p.Required("WebIdentityToken"); p.Err() != nil {
			return nil, p.Err()
		}
		return s.assume(p, "web-identity")
	}
	return nil, wire.Errorf("InvalidAction", "The action %s is not valid for this endpoint.", action)
}

func (s *Service) assume(p *wire.Params, subject string) (any, error) {
	role, session, seconds := p.Required("RoleArn"), p.Required("RoleSessionName"), p.Int("DurationSeconds")
	if err := p.Err(); err != nil {
		return nil, err
	}
	_, name, ok := strings.Cut(role, ":role/")
	if !ok || !strings.HasPrefix(role, "arn:aws:iam::") {
		return nil, wire.Errorf("ValidationError", "%s is invalid", role)
	}
	if seconds == 0 {
		seconds = defaultSeconds
	}
	if seconds < minSeconds || seconds > maxSeconds {
		return nil, wire.Errorf("ValidationError", "DurationSeconds %d is not between %d and %d", seconds, minSeconds, maxSeconds)
	}
	account := strings.Split(role, ":")[4]
	who := wire.Identity{
		ARN:     "arn:aws:sts::" + account + ":assumed-role/" + name + "/" + session,
		UserID:  "AROA00000000000000000:" + session,
		Expires: s.Now().Add(time.Duration(seconds) * time.Second),
	}
	c := s.Signatures.Issue(who, s.Unique())
	return assumed{
		Credentials: credentials{c.AccessKeyID, c.Secret, c.SessionToken, wire.NewTime(c.Expires)},
		ARN:         who.ARN, ID: who.UserID, Subject: subject,
	}, nil
}
