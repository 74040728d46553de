package aws

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
)

// noCredentials is why a request could not be signed. It never went out.
type noCredentials struct{ error }

func (n noCredentials) Unwrap() error { return n.error }

// telling is a source of credentials whose failures say that they are about credentials.
type telling struct{ sdk.CredentialsProvider }

// Retrieve is part of sdk.CredentialsProvider.
func (t telling) Retrieve(ctx context.Context) (sdk.Credentials, error) {
	c, err := t.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = noCredentials{err}
	}
	return c, err
}

// tell marks the failures of a configuration's credentials.
func tell(cfg *sdk.Config) {
	if cfg.Credentials != nil {
		cfg.Credentials = telling{cfg.Credentials}
	}
}
